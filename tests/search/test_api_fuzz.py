"""The JSON interface under requests made from its own description, right and wrong ones; and all other addresses."""

from __future__ import annotations

import warnings
from urllib.parse import quote, urlencode

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

DESCRIBED = schemathesis.openapi.from_dict(openapi())
# All but that every request of the right form is accepted: that `q` or `like` is needed, that a moment of that id has
# to exist, and that `min` is at most `max`, cannot be said of single parameters.
CHECKS = [
    not_a_server_error,
    checks.status_code_conformance,
    checks.content_type_conformance,
    checks.response_schema_conformance,
    checks.negative_data_rejection,
]
BOUNDED = settings(
    max_examples=40,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.function_scoped_fixture],
)


@pytest.mark.parametrize(
    ("path", "mode"), [("/api/search", "positive"), ("/api/search", "negative"), ("/api/status", "positive")]
)
def test_requests_are_answered_as_described(address, path, mode):
    statuses = set()

    @BOUNDED
    @given(case=DESCRIBED[path].as_strategy(generation_mode=schemathesis.GenerationMode(mode)))
    def ask(case):
        statuses.add(case.call_and_validate(base_url=address, checks=CHECKS).status_code)

    ask()
    assert statuses & ({422} if mode == "negative" else {200})


@pytest.mark.parametrize("path", ["/api/search", "/api/status", "/openapi.json"])
def test_other_methods_are_refused(ask, path):
    for method in ("POST", "PUT", "DELETE", "OPTIONS"):
        status, headers, _ = ask(path, method=method)
        assert status == 405 and "GET" in headers["Allow"]


@pytest.mark.parametrize(
    "fields",
    [
        *("q=a&q=b", "q=a&depth=", "q=a&min=", "q=a&min=1_0", "q=a&min=%D9%A1", "q=a&from=20260131"),
        *("q=a&to=2026-W05-6", f"q=a{'+' * 2000}b"),
    ],
)
def test_forms_that_the_description_does_not_have_are_refused(ask, fields):
    assert ask(f"/api/search?{fields}")[0] == 422


@BOUNDED
@given(
    place=st.sampled_from(["/media/{}", "/thumbs/{}.webp", "/frames/{}/0.webp", "/strips/{}.webp", "/moments/{}", "/"]),
    written=st.text(st.characters(min_codepoint=1, max_codepoint=0x2FF), max_size=12),
    fields=st.dictionaries(
        st.sampled_from(["q", "page", "m", "min", "from", "start", "end", "part", "file", "like", "depth"]),
        st.one_of(st.text(st.characters(codec="utf-8"), max_size=6), st.floats().map(str), st.integers().map(str)),
        max_size=3,
    ),
)
def test_no_address_is_an_error_of_the_server(ask, place, written, fields):
    path = place.format(quote(written, safe="")) if "{}" in place else place
    assert ask(f"{path}?{urlencode(fields)}")[0] < 500
