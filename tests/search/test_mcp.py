"""The server for assistants, asked through the protocol by the client of its library."""

from __future__ import annotations

import asyncio

import pytest
from mcp import Client

from eaglenet_jax.search.confidence import Calibration, Levels
from eaglenet_jax.search.index import SearchIndex
from eaglenet_jax.search.mcp_server import make_server

pytestmark = pytest.mark.search


def called(index, **arguments):
    """The tools that the server offers, and what `search_videos` answers."""

    async def ask():
        async with Client(make_server(index)) as client:
            return (await client.list_tools()).tools, await client.call_tool("search_videos", arguments)

    return asyncio.run(ask())


def test_an_assistant_finds_what_python_finds(page_index, monkeypatch):
    monkeypatch.setattr(SearchIndex, "calibration", Calibration(Levels(-1e9, -1e9), Levels(-1e9, -1e9)))
    index, captions, _ = page_index
    (tool,), answer = called(index, query=captions["test_0000.mp4"], number=3)
    assert tool.name == "search_videos" and set(tool.input_schema["properties"]) == {"query", "number"}
    expected = index.query(captions["test_0000.mp4"], top=3, rerank=100)
    assert not answer.is_error and answer.structured_content["result"] == [
        {"file": moment.path, "start": moment.start, "end": moment.end, "confidence": "strong"} for moment in expected
    ]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"query": "a star", "number": 0}, "number=0: give 1 to 50"),
        ({"query": "a star", "number": 51}, "number=51: give 1 to 50"),
        ({"query": " "}, "has no words"),
        ({"number": 3}, "query"),
    ],
)
def test_what_it_refuses_it_explains(page_index, arguments, words):
    _, answer = called(page_index[0], **arguments)
    assert answer.is_error and words in answer.content[0].text
