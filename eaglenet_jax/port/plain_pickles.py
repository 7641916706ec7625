"""Objects that a pickle may hold next to tensors: NumPy's numbers and arrays, and Python's own that run nothing.

Each entry is what a name in a pickle stands for when it is read. NumPy's own functions are not among them: they trust
the pickle with the flags of a type, and with them arrays of objects.
"""

from __future__ import annotations

import argparse
import codecs
import datetime
import decimal
import fractions
import os
import pathlib
import pickle
import types
from typing import Any

import numpy as np


class PlainType:
    """A type of numbers, texts or times, in place of numpy.dtype."""

    def __init__(self, name: Any, *_: Any) -> None:
        """Take the name of such a type; anything else is refused."""
        self.dtype: np.dtype[Any] = np.dtype(name if isinstance(name, str) else object)
        if self.dtype.kind not in "biufcSUMm":
            raise pickle.UnpicklingError(f"GLOBAL numpy.dtype.{name} is no type of numbers, texts or times")

    def __setstate__(self, state: Any) -> None:
        """Take the order of the bytes, and nothing else, from the state of a numpy.dtype."""
        self.dtype = self.dtype.newbyteorder(state[1])


class PlainArray(np.ndarray):
    """An array of a `PlainType`, in place of numpy.ndarray."""

    def __setstate__(self, state: Any) -> None:
        """Fill the array from the state of a numpy.ndarray: version, shape, type, order and bytes."""
        version, shape, kind, fortran, content = state
        if type(kind) is not PlainType or not isinstance(content, bytes):
            raise pickle.UnpicklingError("GLOBAL numpy.ndarray of objects")
        super().__setstate__((version, shape, kind.dtype, fortran, content))


def _empty_array(*_: Any) -> PlainArray:
    return np.empty(0, np.uint8).view(PlainArray)


def _number(kind: Any, content: Any) -> Any:
    if type(kind) is not PlainType:
        raise pickle.UnpicklingError("GLOBAL numpy.scalar of objects")
    return np.frombuffer(content, kind.dtype, count=1)[0]


def _dict(*_: Any) -> dict[Any, Any]:
    return {}


def _list(*_: Any) -> list[Any]:
    return []


def _no_bytes() -> bytes:
    return b""


def plain_globals() -> list[Any]:
    """List what the names in a pickle may stand for, as `torch.serialization.safe_globals` takes it."""
    numpy: list[Any] = [
        (function, f"numpy.{core}.multiarray.{name}")
        for core in ("core", "_core")  # of NumPy 1 and 2
        for name, function in (("scalar", _number), ("_reconstruct", _empty_array))
    ]
    numpy += [(PlainType, "numpy.dtype"), (PlainArray, "numpy.ndarray")]
    path = pathlib.PosixPath if os.name == "posix" else pathlib.PurePosixPath
    paths = [(path, f"pathlib.{module}PosixPath") for module in ("", "_local.")]
    plain: list[Any] = [argparse.Namespace, types.SimpleNamespace, frozenset, slice, range]
    plain += [datetime.datetime, datetime.date, datetime.timedelta, datetime.timezone]
    plain += [decimal.Decimal, fractions.Fraction]
    # PyTorch fills dicts and lists only, not what is derived from them.
    numpy += [(_dict, "collections.defaultdict"), (_list, "collections.deque")]
    builtin = [list, dict, tuple, int, float, complex, bool, str]
    # Bytes are pickled as text to encode; if there are none, as a call of bytes.
    numpy += [(_no_bytes, f"{module}.bytes") for module in ("builtins", "__builtin__")]
    return [codecs.encode, PlainType, PlainArray, *numpy, *paths, *plain, *builtin]
