"""Checks of every request before anything else sees it: host name, other pages, token, size of what is sent."""

from __future__ import annotations

import hashlib
import hmac
from urllib.parse import parse_qsl, urlencode, urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import cookie_parser
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

EVERYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # with the address under which this machine reaches it
THIS_MACHINE = ("localhost", "127.0.0.1", "::1")
COOKIE = "search_token"
MOST_UPLOAD = 256 * 1024 * 1024  # bytes
SAFE = ("GET", "HEAD")
SENT_WITH_ALL = {
    # Browsers must not guess another type from the content, and no other page may show or frame what is served here.
    "X-Content-Type-Options": "nosniff",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "same-origin",
    "Content-Security-Policy": "default-src 'none'; img-src 'self' data: blob:; media-src 'self'; style-src 'self'; "
    "script-src 'self'; connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
}


def allowed_names(host: str) -> list[str]:
    """Return the host names that a request to a server at `host` may use; "*" for any."""
    return ["*"] if host in EVERYWHERE else [host.lower(), *THIS_MACHINE]


class Guards:
    """Refuse requests that another web page makes, or someone without the token.

    - A host name that is not the server's: a page can point a name of its own at 127.0.0.1 (DNS rebinding).
    - A request that the browser marks as made by another site, unless it is a visit; and anything but GET and HEAD with
      an `Origin` that is not this server.
    - A request without the token, where there is one: as `?token=`, which becomes a cookie, or as `Authorization:
      Bearer`.
    - A body of more than `MOST_UPLOAD` bytes.
    """

    def __init__(self, app: ASGIApp, host: str, token: str | None) -> None:
        self._app, self._token = app, token
        self._names = allowed_names(host)
        # Browsers keep one jar for all ports of a host: each server has a name of its own there.
        self._cookie = f"{COOKIE}_{hashlib.sha256((token or '').encode()).hexdigest()[:12]}"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Check a request and pass it on."""
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                await self._app(scope, receive, send)
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in SENT_WITH_ALL.items():
                    headers.setdefault(name, value)
            await send(message)

        refusal = self._refusal(scope)
        if refusal is not None:
            await refusal(scope, receive, send_with_headers)
        else:
            await self._app(scope, _limited(receive), send_with_headers)

    def _refusal(self, scope: Scope) -> Response | None:
        headers = Headers(scope=scope)
        host = headers.get("host", "")
        if "*" not in self._names and _name(host) not in self._names:
            return PlainTextResponse("this server does not answer under that name", 400)
        site = headers.get("sec-fetch-site", "none")
        if site not in ("none", "same-origin") and headers.get("sec-fetch-mode") != "navigate":
            return PlainTextResponse("other sites may not ask this server", 403)
        if scope["method"] not in SAFE:
            origin = headers.get("origin")
            if site not in ("none", "same-origin") or (origin is not None and urlsplit(origin).netloc != host):
                return PlainTextResponse("other sites may not send to this server", 403)
            if _length(headers) > MOST_UPLOAD:
                return PlainTextResponse(f"at most {MOST_UPLOAD // 2**20} MiB can be sent", 413)
        return self._without_token(scope, headers)

    def _without_token(self, scope: Scope, headers: Headers) -> Response | None:
        if self._token is None:
            return None
        fields = parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True)
        given = dict(fields).get("token")
        if given is not None and scope["method"] in SAFE and self._is_token(given):
            rest = urlencode([(name, value) for name, value in fields if name != "token"])
            # One slash: an address that begins with two would lead to another host.
            answer = RedirectResponse("/" + scope["path"].lstrip("/") + (f"?{rest}" if rest else ""), 303)
            answer.set_cookie(self._cookie, self._token, httponly=True, samesite="lax")
            return answer
        cookie = cookie_parser(headers.get("cookie", "")).get(self._cookie)
        bearer = headers.get("authorization", "")
        if (cookie is not None and self._is_token(cookie)) or (
            bearer.lower().startswith("bearer ") and self._is_token(bearer[7:].strip())
        ):
            return None
        return PlainTextResponse("open the address with the token that the server printed when it started", 401)

    def _is_token(self, given: str) -> bool:
        return hmac.compare_digest(given.encode(), (self._token or "").encode())


def _name(host: str) -> str:
    """Return the name in a Host header, without port and brackets."""
    if host.startswith("["):
        return host[1:].partition("]")[0].lower()
    return host.partition(":")[0].lower()


def _length(headers: Headers) -> int:
    given = headers.get("content-length", "0")
    return int(given) if given.isdigit() else 0


def _limited(receive: Receive) -> Receive:
    """Return `receive` that ends a body that is longer than it may be: without a length it is only known then."""
    read = 0

    async def limited() -> Message:
        nonlocal read
        message = await receive()
        if message["type"] == "http.request":
            read += len(message.get("body", b""))
            if read > MOST_UPLOAD:
                return {"type": "http.disconnect"}
        return message

    return limited
