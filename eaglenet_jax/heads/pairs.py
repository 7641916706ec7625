"""How the loss runs a method of a head over all pairs of a batch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol, runtime_checkable


@runtime_checkable
class Pairwise(Protocol):
    """Run a bound head method over all rows of texts; given by the training layer.

    pairwise(method, rows, columns, *shared) → method(rows, columns, *shared), where every leaf of `rows` and of the
    result has the texts as leading axis, while `columns` (videos) and `shared` (draws) are given whole to every block
    of rows.
    """

    def __call__(self, method: Callable[..., Any], rows: Any, columns: Any, *shared: Any) -> Any: ...


def whole(method: Callable[..., Any], rows: Any, columns: Any, *shared: Any) -> Any:
    """Run the method on all rows in one block: the simplest `Pairwise`."""
    return method(rows, columns, *shared)
