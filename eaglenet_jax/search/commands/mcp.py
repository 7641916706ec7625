"""`search mcp`: answer an assistant over stdin and stdout, in the Model Context Protocol."""

from __future__ import annotations

import argparse
import sys

from eaglenet_jax.search.index import SearchIndex
from eaglenet_jax.search.mcp_server import make_server
from eaglenet_jax.search.model import DEMO_ONLY


def run(given: argparse.Namespace) -> int:
    """Serve until stdin ends. The model is loaded first, so that what is wrong with it is said at once."""
    index = SearchIndex.open(given.index, given.checkpoint)
    server = make_server(index)
    if index.model.is_demo:
        print(DEMO_ONLY, file=sys.stderr)
    server.run("stdio")
    return 0
