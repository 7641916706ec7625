"""The JSON interface of the page, and its description."""

from __future__ import annotations

import json

import pytest

from eaglenet_jax.search.page.asked import Asked

pytestmark = pytest.mark.search


def test_the_interface_answers_as_python_does(ask, page_index):
    caption = page_index[1]["test_0000.mp4"]
    status, _, content = ask(f"/api/search?{Asked(caption).address()[2:]}&top=3")
    answer = json.loads(content)
    expected = page_index[0].query(caption, top=3, rerank=100, merge=True)
    assert status == 200 and answer["query"] == caption
    assert [(m["id"], m["start"]) for m in answer["results"]] == [(m.id, m.start) for m in expected]
    assert answer["results"][0]["confidence"] in ("strong", "possible") and "thumbnail" not in answer["results"][0]
    status = json.loads(ask("/api/status")[2])
    assert status["videos"] == 6 and status["waiting"] is None
    assert status["measured"] and not status["measuring"]


def test_what_is_like_a_moment_is_numbered_from_one(ask, page_index):
    first = page_index[0].query("a star", top=1)[0]
    results = json.loads(ask(f"/api/search?like={first.id}&top=3")[2])["results"]
    assert [moment["rank"] for moment in results] == [1, 2, 3] and first.id not in [moment["id"] for moment in results]


@pytest.mark.parametrize(
    "query", ["", "q=a&top=0", "q=a&top=x", "q=a&top=999999999999", "q=a&what=1", "q=a&min=x", "like=0"]
)
def test_what_the_interface_refuses_it_explains(ask, query):
    status, _, content = ask(f"/api/search?{query}")
    assert status == 422 and json.loads(content)["error"]


def test_answers_are_as_described(ask):
    description = json.loads(ask("/openapi.json")[2])
    assert description["openapi"].startswith("3.1")
    shapes = description["components"]["schemas"]
    for path, operations in description["paths"].items():
        shape = operations["get"]["responses"]["200"]["content"]["application/json"]["schema"]["$ref"].rpartition("/")[
            2
        ]
        answer = json.loads(ask(f"{path}{'?q=a+star' if 'search' in path else ''}")[2])
        assert sorted(answer) == sorted(shapes[shape]["required"]) == sorted(shapes[shape]["properties"])
        for moment in answer.get("results", []):
            assert sorted(moment) == sorted(shapes["Moment"]["required"])
    given = [parameter["name"] for parameter in description["paths"]["/api/search"]["get"]["parameters"]]
    known = ask("/api/search?nonsense=1")[2].decode()
    assert all(name in known for name in given)
