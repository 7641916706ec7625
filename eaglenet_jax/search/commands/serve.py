"""`search serve`: serve the search page until Ctrl-C."""

from __future__ import annotations

import argparse
import socket

from eaglenet_jax.errors import UserError
from eaglenet_jax.search.index import SearchIndex
from eaglenet_jax.search.page import EVERYWHERE, make_app


def run(given: argparse.Namespace) -> int:
    """Serve until Ctrl-C."""
    index = SearchIndex.open(given.index, given.checkpoint)
    app = make_app(index, given.host)
    import uvicorn  # comes with Gradio

    listening = _listen(given.host, given.port)
    if len(index):
        index.query("a", top=1, rerank=int(index.model.reranks))  # compiles
    host, port = listening.getsockname()[:2]
    shown = "127.0.0.1" if host in EVERYWHERE else host
    print(f"{len(index)} windows to search at http://{f'[{shown}]' if ':' in shown else shown}:{port}", flush=True)
    uvicorn.Server(uvicorn.Config(app, log_level="warning")).run(sockets=[listening])
    return 0


def _listen(host: str, port: int) -> socket.socket:
    """Open the listening socket; port 0 takes any free one."""
    try:
        family, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        return socket.create_server(address[:2], family=family)
    except OSError as error:
        raise UserError(f"cannot listen on {host}:{port}: {error.strerror}; give another --host or --port") from error
