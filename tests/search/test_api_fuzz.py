"""The JSON interface under requests that are made from its own description, right and wrong ones."""

from __future__ import annotations

import warnings

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import schemathesis
    from schemathesis.checks import not_a_server_error
    from schemathesis.specs.openapi import checks

from eaglenet_jax.search.page.api import openapi

pytestmark = pytest.mark.search

# All but that every request of the right form is accepted: that `q` or `like` is needed, that a moment of that id has
# to exist, and that `min` is at most `max`, cannot be said of single parameters.
CHECKS = [
    not_a_server_error,
    checks.status_code_conformance,
    checks.content_type_conformance,
    checks.response_schema_conformance,
    checks.negative_data_rejection,
    checks.unsupported_method,
]


@pytest.fixture
def described(address):
    description = schemathesis.openapi.from_dict(openapi())
    description.config.update(base_url=address)
    return description


schema = schemathesis.pytest.from_fixture("described")


@schema.parametrize()
@settings(
    max_examples=40,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
def test_requests_are_answered_as_described(case):
    case.call_and_validate(checks=CHECKS)


@settings(max_examples=60, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    place=st.sampled_from(["/media/{}", "/thumbs/{}.webp", "/frames/{}/0.webp", "/strips/{}.webp", "/moments/{}", "/"]),
    written=st.text(st.characters(min_codepoint=1, max_codepoint=0x2FF), max_size=12),
    fields=st.dictionaries(
        st.sampled_from(["q", "page", "m", "min", "from", "start", "end", "part", "file", "like", "depth"]),
        st.one_of(st.text(max_size=6), st.floats().map(str), st.integers().map(str)),
        max_size=3,
    ),
)
def test_no_address_is_an_error_of_the_server(ask, place, written, fields):
    from urllib.parse import quote, urlencode

    path = place.format(quote(written, safe="")) if "{}" in place else place
    query = urlencode(fields, errors="replace")
    status, _, _ = ask(f"{path}?{query}")
    assert status < 500
