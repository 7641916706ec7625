"""NumPy's part of a pickle is read by functions of our own, which take numbers only."""

from __future__ import annotations

import io
import pickle

import numpy as np
import pytest

from eaglenet_jax.port.plain_pickles import PlainArray, PlainType, plain_globals


class Reader(pickle.Unpickler):
    """Reads with the names of `plain_globals` alone, as PyTorch's own reader does."""

    def find_class(self, module, name):
        named = {entry[1]: entry[0] for entry in plain_globals() if isinstance(entry, tuple)}
        named |= {f"{each.__module__}.{each.__qualname__}": each for each in plain_globals() if callable(each)}
        if f"{module}.{name}" not in named:
            raise pickle.UnpicklingError(f"GLOBAL {module}.{name}")
        return named[f"{module}.{name}"]


def read(value):
    return Reader(io.BytesIO(pickle.dumps(value, protocol=2)), encoding="latin1").load()


@pytest.mark.parametrize(
    "array",
    [
        np.arange(6, dtype=np.float32).reshape(2, 3),
        np.arange(6).reshape(2, 3).T,
        np.arange(3, dtype=">i2"),
        np.array([True, False]),
        np.zeros((0, 4)),
        np.array(["text"]),
    ],
)
def test_arrays_of_numbers_are_read(array):
    found = read(array)
    np.testing.assert_array_equal(found, array)
    assert found.dtype == array.dtype.newbyteorder("=") and found.shape == array.shape


@pytest.mark.parametrize("number", [np.float32(1.5), np.int64(-3), np.float16(2), np.bool_(True), np.complex64(1j)])
def test_numbers_are_read(number):
    found = read(number)
    assert found == number and found.dtype == number.dtype


@pytest.mark.parametrize(
    "value",
    [
        np.array([object], dtype=object),
        np.array([(1, 2.0)], dtype=[("a", int), ("b", float)]),
        np.dtype("O"),
        np.array([b"ab"], dtype="V2"),
    ],
)
def test_nothing_that_may_hold_objects_is_read(value):
    with pytest.raises(pickle.UnpicklingError, match="GLOBAL"):
        read(value)


def test_the_state_of_a_type_sets_the_order_of_bytes_only():
    kind = PlainType("f8")
    fields = {"a": (np.dtype("O"), 0)}
    kind.__setstate__((3, ">", None, ("a",), fields, 8, 8, 63))
    assert kind.dtype == np.dtype(">f8") and kind.dtype.fields is None and not kind.dtype.hasobject
    with pytest.raises(pickle.UnpicklingError, match="of objects"):
        np.empty(0).view(PlainArray).__setstate__((1, (1,), np.dtype("O"), False, [object]))
    with pytest.raises(ValueError):
        np.empty(0).view(PlainArray).__setstate__((1, (100,), kind, False, b"short"))
