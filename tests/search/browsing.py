"""A server of this process and what axe-core says, for the tests in a browser."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator

from tests.waiting import until

RULES = {"runOnly": {"type": "tag", "values": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]}}


@contextlib.contextmanager
def serving(answers) -> Iterator[str]:
    """Serve the page of an index while the block runs; gives its address."""
    import uvicorn

    from eaglenet_jax.search.commands.serve import _listen
    from eaglenet_jax.search.page.app import make_app

    with _listen("127.0.0.1", 0) as listening:
        server = uvicorn.Server(uvicorn.Config(make_app(answers), log_level="warning"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        until(lambda: server.started)
        try:
            yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join(30)


def walk(page, selector: str, most: int = 60) -> None:
    """Press Tab until an element that a selector describes has the focus."""
    for _ in range(most):
        page.keyboard.press("Tab")
        if page.evaluate("selector => document.activeElement.matches(selector)", selector):
            return
    raise AssertionError(f"{most} times Tab do not lead to {selector}")


def faults(page) -> list[tuple[str, list[str]]]:
    """What axe-core finds against WCAG AA on a page: rule and elements."""
    from axe_playwright_python.sync_playwright import Axe

    found = Axe().run(page, options=RULES).response["violations"]
    return [(fault["id"], [node["html"][:160] for node in fault["nodes"]]) for fault in found]
