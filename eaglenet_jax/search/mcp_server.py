"""Server of the Model Context Protocol, through which an assistant searches an index."""

from __future__ import annotations

import contextlib
import dataclasses
from typing import TYPE_CHECKING

import eaglenet_jax
from eaglenet_jax.errors import UserError
from eaglenet_jax.search.index import SearchIndex

if TYPE_CHECKING:
    from mcp.server.mcpserver import MCPServer

MOST_MOMENTS = 50  # of an answer, which an assistant has to read


@dataclasses.dataclass(frozen=True)
class FoundMoment:
    """A moment of an answer: its file, start and end in seconds, and how sure it is: strong, possible or weak."""

    file: str
    start: float
    end: float
    confidence: str | None


def make_server(index: SearchIndex) -> MCPServer:
    """Return a server with one tool, `search_videos`.

    Args:
        index: What it searches.

    Raises:
        UserError: The package `mcp` is not installed.
    """
    try:
        from mcp.server.mcpserver import MCPServer
        from mcp.server.mcpserver.exceptions import ToolError
    except ImportError as error:
        raise UserError("the server needs the package mcp: pip install 'eaglenet_jax[mcp]'") from error

    def search_videos(query: str, number: int = 10) -> list[FoundMoment]:
        """Find the moments in the indexed videos that a sentence describes, best first.

        A confidence of "weak" says that random sentences fit as well: nothing in the videos may show it. Words such as
        "not" and "without" are not understood.

        Args:
            query: What is to be seen, as a sentence.
            number: Most moments, 1 to 50.
        """
        try:
            if not 1 <= number <= MOST_MOMENTS:
                raise UserError(f"number={number}: give 1 to {MOST_MOMENTS}")
            found = index.query(query, top=number, rerank=index.usual_rerank)
        except UserError as error:
            raise ToolError(str(error)) from error
        with contextlib.suppress(UserError, RuntimeError):  # RuntimeError is JAX's; the moments are the answer
            found = index.calibration.judged(found)
        return [
            FoundMoment(file=moment.path, start=moment.start, end=moment.end, confidence=moment.confidence)
            for moment in found
        ]

    server = MCPServer("eaglenet_jax search", version=eaglenet_jax.__version__, log_level="WARNING")
    server.tool()(search_videos)
    return server
