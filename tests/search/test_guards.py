"""Requests that are refused before anything else sees them."""

from __future__ import annotations

import asyncio
import contextlib

import pytest
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from starlette.testclient import TestClient

from eaglenet_jax.search.page import guards
from eaglenet_jax.search.page.guards import Guards

pytestmark = pytest.mark.search


async def here(request: Request) -> PlainTextResponse:
    return PlainTextResponse(f"{request.url.query} {len(await request.body())}")


def client(host="127.0.0.1", token=None):
    app = Starlette(
        routes=[Route("/{rest:path}", here, methods=["GET", "POST"])],
        middleware=[Middleware(Guards, host=host, token=token)],
    )
    return TestClient(app, base_url="http://127.0.0.1:7860", follow_redirects=False)


@pytest.mark.parametrize("host", ["::1", "fe80::2", "FE80::A", "127.0.0.1", "My-Machine"])
def test_names_that_are_answered(host):
    shown = f"[{host}]" if ":" in host else host
    asked = client(host)
    names = {f"{shown}:7860": 200, shown: 200, "localhost:7860": 200, "LOCALHOST": 200, "[fe80::9]:7860": 400}
    for name, status in {**names, "evil.example": 400, "127.0.0.1.evil.example": 400, "": 400}.items():
        assert asked.get("/", headers={"Host": name}).status_code == status, name


def test_a_server_for_everyone_answers_under_any_name():
    assert client("0.0.0.0").get("/", headers={"Host": "my-machine:7860"}).status_code == 200


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),  # no browser: they say where a request comes from
        ({"Origin": "http://127.0.0.1:7860"}, 200),
        ({"Origin": "http://127.0.0.1:8000"}, 403),
        ({"Origin": "https://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"}, 403),
    ],
)
def test_what_other_pages_send_is_refused(headers, status):
    assert client().post("/upload", content=b"x", headers=headers).status_code == status


def test_other_pages_may_link_here_and_not_look():
    asked = client()
    link = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"}
    assert asked.get("/", headers=link).status_code == 200
    for mode in ("no-cors", "cors"):
        assert (
            asked.get("/thumbs/1.webp", headers={"Sec-Fetch-Site": "same-site", "Sec-Fetch-Mode": mode}).status_code
            == 403
        )
    answer = asked.get("/")
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert "frame-ancestors 'none'" in answer.headers["Content-Security-Policy"]


def test_nothing_is_shown_without_the_token():
    asked = client("0.0.0.0", "secret")
    for path in ("/", "/media/1", "/api/search?q=a", "/?token=wrong", "/?token="):
        assert asked.get(path).status_code == 401, path
    assert asked.post("/upload?token=secret", content=b"x").status_code == 401
    answer = asked.get("http://127.0.0.1:7860//evil.example/?q=a+dog&token=secret&page=2")
    assert (answer.status_code, answer.headers["location"]) == (303, "/evil.example/?q=a+dog&page=2")
    assert "HttpOnly" in answer.headers["set-cookie"] and "samesite=lax" in answer.headers["set-cookie"].lower()
    assert asked.get("/?q=a").status_code == 200  # the client keeps the cookie
    for given, status in {"Bearer secret": 200, "Bearer wrong": 401, "secret": 401}.items():
        assert client("0.0.0.0", "secret").get("/", headers={"Authorization": given}).status_code == status


def test_the_cookie_stands_among_others():
    jar = {}
    for token in ("secret", "another"):  # of two servers on one host, which share what a browser keeps
        answer = client("0.0.0.0", token).get(f"/?token={token}")
        name, _, value = answer.headers["set-cookie"].partition(";")[0].partition("=")
        jar[name] = value
    kept = "; ".join(f"{name}={value}" for name, value in jar.items())
    for token in ("secret", "another"):
        for others in (kept, f'prefs={{"a":1}}; {kept}', f"a[b]=1; c@d=2; =; {kept}; e"):
            assert client("0.0.0.0", token).get("/", headers={"Cookie": others}).status_code == 200, others
    assert client("0.0.0.0", "third").get("/", headers={"Cookie": kept}).status_code == 401


def test_a_token_that_is_no_ascii_is_wrong():
    assert client("0.0.0.0", "secret").get("/?token=%C3%A9").status_code == 401


def test_uploads_have_a_limit(monkeypatch):
    monkeypatch.setattr(guards, "MOST_UPLOAD", 1000)
    asked = client()
    assert asked.post("/", content=bytes(1000)).text.endswith(" 1000")
    assert asked.post("/", content=bytes(1001)).status_code == 413


def test_an_upload_without_a_length_ends_when_it_is_too_long(monkeypatch):
    monkeypatch.setattr(guards, "MOST_UPLOAD", 1000)
    read, sent = [], []

    async def receive():
        read.append(bytes(100))
        return {"type": "http.request", "body": read[-1], "more_body": len(read) < 50}

    async def send(message):
        sent.append(message)

    scope = {"type": "http", "method": "POST", "path": "/", "query_string": b"", "headers": [(b"host", b"127.0.0.1")]}
    with contextlib.suppress(ClientDisconnect):
        asyncio.run(client().app(scope, receive, send))
    statuses = [message["status"] for message in sent if message["type"] == "http.response.start"]
    assert 200 not in statuses and len(read) == 11  # the first piece beyond the limit is the last
