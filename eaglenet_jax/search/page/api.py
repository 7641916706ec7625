"""JSON interface: /api/search, /api/status, and their description at /openapi.json."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

import eaglenet_jax
from eaglenet_jax.errors import UserError
from eaglenet_jax.search.page.answers import MOST_MOMENTS, Answers
from eaglenet_jax.search.page.asked import DEPTHS, LONGEST_TEXT, read_asked

DEFAULT_TOP = 10
_NUMBER = {"type": "number", "minimum": 0}
_PARAMETERS: dict[str, tuple[str, dict[str, Any]]] = {
    "q": ("a sentence; this or `like` is needed", {"type": "string", "minLength": 1, "maxLength": LONGEST_TEXT}),
    "like": ("id of a moment: find what looks like it", {"type": "string", "minLength": 1}),
    "top": ("most moments", {"type": "integer", "minimum": 1, "maximum": MOST_MOMENTS, "default": DEFAULT_TOP}),
    "depth": ("how many candidates the head scores again", {"type": "string", "enum": [*DEPTHS], "default": "normal"}),
    "folder": ("only videos in this folder, at any depth", {"type": "string", "minLength": 1}),
    "min": ("least length of the video in seconds", _NUMBER),
    "max": ("greatest length of the video in seconds", _NUMBER),
    "from": ("first day on which the file was changed", {"type": "string", "format": "date"}),
    "to": ("last day on which the file was changed", {"type": "string", "format": "date"}),
}
_MOMENT = {
    "rank": {"type": "integer", "minimum": 1},
    "score": {"type": "number"},
    "reranked": {"type": "boolean"},
    "confidence": {"type": ["string", "null"], "enum": ["strong", "possible", "weak", None]},
    "id": {"type": "string"},
    "path": {"type": "string"},
    "start": {"type": "number", "description": "seconds"},
    "end": {"type": "number", "description": "seconds"},
    "times": {"type": "array", "items": {"type": "number"}, "description": "seconds of the frames"},
    "weights": {"type": ["array", "null"], "items": {"type": "number"}, "description": "how much each frame counted"},
}
_ANSWER = {
    "query": {"type": "string"},
    "model": {"type": "string"},
    "seconds": {"type": "number"},
    "notes": {"type": "array", "items": {"type": "string"}},
    "results": {"type": "array", "items": {"$ref": "#/components/schemas/Moment"}},
}
_STATUS = {
    "waiting": {"type": ["string", "null"], "description": "what the first query waits for"},
    "measured": {"type": "boolean", "description": "whether answers have words of confidence"},
    "measuring": {"type": "boolean", "description": "whether they have none yet, but soon will"},
    "videos": {"type": "integer"},
    "seconds": {"type": "number"},
    "model": {"type": "string"},
}
_ERROR = {"error": {"type": "string"}}


class Api:
    """Routes of the JSON interface."""

    def __init__(self, answers: Answers) -> None:
        self._answers = answers
        self.routes = [
            Route("/api/search", self.search),
            Route("/api/status", self.status),
            Route("/openapi.json", self.description),
        ]

    def search(self, request: Request) -> JSONResponse:
        """Answer a query."""
        fields = request.query_params
        try:
            _check(fields.multi_items())
            given = fields.get("top", str(DEFAULT_TOP))
            if not (given.isascii() and given.isdigit() and 1 <= int(given[:9]) <= MOST_MOMENTS):
                raise UserError(f"top={given}: give 1 to {MOST_MOMENTS}")
            asked = read_asked({name: value for name, value in fields.items() if name != "top"})
            if asked.is_empty:
                raise UserError("nothing to search for; give q, a sentence, or like, the id of a moment")
            if self._answers.waiting is not None:
                return JSONResponse({"error": f"not ready: {self._answers.waiting}"}, 503, {"Retry-After": "2"})
            answer = self._answers.answer(asked)
        except UserError as error:
            return JSONResponse({"error": str(error)}, 422)
        return JSONResponse(
            {
                "query": asked.text or asked.like,
                "model": self._answers.index.store.settings.model_id,
                "seconds": round(answer.seconds, 4),
                "notes": list(answer.notes),
                "results": [moment.as_json() for moment in answer.moments[: int(given)]],
            }
        )

    def status(self, request: Request) -> JSONResponse:
        """Say what is in the index and whether queries are answered."""
        library = self._answers.index.library
        return JSONResponse(
            {
                "waiting": self._answers.waiting,
                "measured": self._answers.measured,
                "measuring": self._answers.measuring,
                "videos": len(library.videos),
                "seconds": round(library.seconds, 3),
                "model": library.model,
            }
        )

    def description(self, request: Request) -> JSONResponse:
        """Describe the interface as OpenAPI 3.1."""
        return JSONResponse(openapi())


def _check(given: Sequence[tuple[str, str]]) -> None:
    """Raise UserError for what the page lets pass: unknown, empty and repeated fields, and too long sentences."""
    names = [name for name, _ in given]
    for name, value in given:
        if name not in _PARAMETERS:
            raise UserError(f"unknown parameter {name}; there are {', '.join(_PARAMETERS)}")
        if names.count(name) > 1:
            raise UserError(f"{name} is given {names.count(name)} times; give it once")
        if not value:
            raise UserError(f"{name} is empty; leave it out, or give a value")
        if name == "q" and len(value) > LONGEST_TEXT:
            raise UserError(f"the query has {len(value)} characters; {LONGEST_TEXT} are the most")


def openapi() -> dict[str, Any]:
    """Return the OpenAPI 3.1 description."""

    def content(name: str) -> dict[str, Any]:
        return {"application/json": {"schema": {"$ref": f"#/components/schemas/{name}"}}}

    search = {
        "operationId": "search",
        "summary": "Find the moments that a sentence describes, best first",
        "parameters": [
            {"name": name, "in": "query", "required": False, "description": said, "schema": schema}
            for name, (said, schema) in _PARAMETERS.items()
        ],
        "responses": {
            "200": {"description": "the moments", "content": content("Answer")},
            "422": {"description": "the query cannot be answered", "content": content("Error")},
            "503": {"description": "the model is not loaded yet", "content": content("Error")},
        },
    }
    status = {
        "operationId": "status",
        "summary": "Say what is in the index and whether queries are answered",
        "responses": {"200": {"description": "the state", "content": content("Status")}},
    }
    shapes: dict[str, dict[str, Any]] = {"Answer": _ANSWER, "Moment": _MOMENT, "Status": _STATUS, "Error": _ERROR}
    return {
        "openapi": "3.1.0",
        "info": {"title": "eaglenet_jax search", "version": eaglenet_jax.__version__},
        "paths": {"/api/search": {"get": search}, "/api/status": {"get": status}},
        "components": {
            "schemas": {
                name: {"type": "object", "required": [*fields], "properties": fields} for name, fields in shapes.items()
            }
        },
    }
