"""What a program compiled for a GPU moves and computes, read from its text.

The text lists operations by computation. Each operation of the entry computation, and of the body of a loop as often as
the loop runs, is a kernel or a library call: it reads its operands from memory and writes its result to it. What is
inside a fusion stays in registers. So bytes and FLOP of a program are sums over operations.
"""

from __future__ import annotations

import dataclasses
import json
import math
import re
from collections.abc import Iterator
from typing import Any

SIZES = {"pred": 1, "s8": 1, "u8": 1, "s16": 2, "u16": 2, "f16": 2, "bf16": 2, "s32": 4, "u32": 4, "f32": 4}
SIZES |= {"s64": 8, "u64": 8, "f64": 8, "c64": 8}
ARRAY = re.compile(rf"\b({'|'.join(SIZES)})\[([\d,]*)\]")
OPERATION = re.compile(r"\s*(ROOT )?%?([\w.\-]+) = (.*)")
FREE = {"parameter", "get-tuple-element", "tuple", "bitcast", "constant", "after-all", "partition-id", "replica-id"}
COLLECTIVES = ("all-reduce", "all-gather", "reduce-scatter", "all-to-all", "collective-permute", "collective-broadcast")
PARTS = {"dynamic-slice", "slice", "gather"}


@dataclasses.dataclass(frozen=True)
class Operation:
    """One line of a computation.

    Attributes:
        name: Of its result.
        shape: Type and shape of the result, as text.
        kind: What it does, such as "fusion".
        operands: Names of what it reads.
        attributes: The rest of the line.
        root: Whether it is the result of its computation.
    """

    name: str
    shape: str
    kind: str
    operands: tuple[str, ...]
    attributes: str
    root: bool

    def calls(self, attribute: str) -> str:
        """Return the name of the computation that an attribute names, "" without one."""
        found = re.search(rf"\b{attribute}=%?([\w.\-]+)", self.attributes)
        return found[1] if found else ""

    @property
    def source(self) -> str:
        """Where it comes from in our code, as jax names it."""
        found = re.search(r'op_name="([^"]*)"', self.attributes)
        return found[1] if found else ""


@dataclasses.dataclass(frozen=True)
class Cost:
    """What one operation costs each time it runs.

    Attributes:
        operation: The operation.
        times: How often it runs.
        read: Bytes read from memory.
        written: Bytes written to memory.
        flops: FLOP of its products; other arithmetic is not counted.
    """

    operation: Operation
    times: int
    read: int
    written: int
    flops: float

    @property
    def moved(self) -> int:
        """Bytes read and written by all its runs."""
        return self.times * (self.read + self.written)

    def seconds(self, bytes_per_second: float, flops_per_second: float) -> float:
        """Return the seconds of all its runs: of memory or of arithmetic, whichever is longer."""
        return self.times * max((self.read + self.written) / bytes_per_second, self.flops / flops_per_second)


class Program:
    """The operations of a compiled program by computation."""

    def __init__(self, text: str) -> None:
        """Read the text of a compiled program."""
        self.computations: dict[str, dict[str, Operation]] = {}
        self.entry = ""
        current: dict[str, Operation] = {}
        for line in text.splitlines():
            if line.endswith("{") and " = " not in line.split("(")[0] and not line.startswith((" ", "HloModule")):
                name = line.removeprefix("ENTRY ").split()[0].lstrip("%")
                current = self.computations[name] = {}
                self.entry = name if line.startswith("ENTRY ") else self.entry
            elif found := OPERATION.match(line):
                operation = _operation(found)
                current[operation.name] = operation

    def costs(self, unknown_trips: int | None = None) -> list[Cost]:
        """Return the cost of every operation that is a kernel or a library call, dearest in bytes first.

        Args:
            unknown_trips: How often a loop runs where the compiler does not say it.

        Raises:
            ValueError: The compiler does not say how often a loop runs, and neither does the argument.
        """
        return sorted(self._costs(self.entry, 1, unknown_trips), key=lambda cost: -cost.moved)

    def collectives(self, unknown_trips: int | None = None) -> dict[str, list[Cost]]:
        """Return kind → the operations of that kind, whose operands a device sends. Arguments as of `costs`."""
        found: dict[str, list[Cost]] = {}
        for cost in self.costs(unknown_trips):
            kind = cost.operation.kind.removesuffix("-start")
            if kind in COLLECTIVES:
                found.setdefault(kind, []).append(cost)
        return found

    def _costs(self, name: str, times: int, unknown_trips: int | None) -> Iterator[Cost]:
        operations = self.computations[name]
        for operation in operations.values():
            kind = operation.kind
            if kind in FREE or kind.endswith(("-done", "-update")):
                continue
            if kind == "while":
                yield from self._costs(operation.calls("body"), times * _trips(operation, unknown_trips), unknown_trips)
            elif kind in ("call", "async-start"):
                yield from self._costs(operation.calls("to_apply") or operation.calls("calls"), times, unknown_trips)
            elif kind == "conditional":
                for branch in re.findall(r"%([\w.\-]+)", operation.attributes.split("branch_computations=", 1)[-1]):
                    if branch in self.computations:
                        yield from self._costs(branch, times, unknown_trips)
            else:
                read, written = self._moved(operation, operations)
                yield Cost(operation, times, read, written, self._flops(operation, operations))

    def _moved(self, operation: Operation, operations: dict[str, Operation]) -> tuple[int, int]:
        shapes = [operations[name].shape if name in operations else "" for name in operation.operands]
        if operation.kind == "custom-call":  # the workspace of a library is not read
            written = _bytes(re.sub(r"\bs8\[\d+\]", "", operation.shape))
        elif operation.kind.endswith("-start"):
            written = max(0, _bytes(operation.shape) - sum(map(_bytes, shapes)))
        else:
            written = _bytes(operation.shape)
        inside = self.computations.get(operation.calls("calls"))
        if operation.kind == "dynamic-update-slice":
            return _bytes(shapes[1]), _bytes(shapes[1])
        if operation.kind in PARTS:
            return _bytes(operation.shape), written
        if operation.kind != "fusion" or inside is None:
            return sum(map(_bytes, shapes)), written
        read = sum(_read_of_parameter(inside, index, shape) for index, shape in enumerate(shapes))
        root = next(each for each in inside.values() if each.root)
        while root.kind == "bitcast":
            root = inside[root.operands[0]]
        if root.kind == "dynamic-update-slice":
            written = _bytes(inside[root.operands[1]].shape)
        return read, written

    def _flops(self, operation: Operation, operations: dict[str, Operation]) -> float:
        if operation.kind == "fusion":
            inside = self.computations.get(operation.calls("calls"), {})
            return sum(self._flops(each, inside) for each in inside.values())
        if operation.kind == "dot":
            contracted = re.search(r"lhs_contracting_dims=\{([\d,]*)\}", operation.attributes)
            dims = contracted[1].split(",") if contracted else []
        elif operation.kind == "custom-call" and "__cublas$" in operation.attributes:
            config = _backend_config(operation)
            config = config.get("gemm_backend_config", config)
            dims = config["dot_dimension_numbers"]["lhs_contracting_dimensions"]
        elif operation.kind == "convolution" or "__cudnn$conv" in operation.attributes:
            return _convolution_flops(operation, operations)
        else:
            return 0.0
        given = _dims(operations[operation.operands[0]].shape)
        return 2.0 * math.prod(_dims(operation.shape)) * math.prod(given[int(dim)] for dim in dims if dim != "")


def _operation(found: re.Match[str]) -> Operation:
    root, name, rest = found.groups()
    rest = re.sub(r"/\*.*?\*/", "", rest)
    end = _closing(rest) if rest.startswith("(") else rest.index(" ")
    shape, rest = rest[:end], rest[end:].strip()
    kind, _, rest = rest.partition("(")
    end = _closing("(" + rest) - 1
    attributes = rest if kind == "parameter" else rest[end:]  # of a parameter its number
    return Operation(name, shape, kind, tuple(re.findall(r"%([\w.\-]+)", rest[:end])), attributes, bool(root))


def _closing(text: str) -> int:
    """Return the end of the bracket that the text starts with."""
    depth = 0
    for index, character in enumerate(text):
        depth += (character == "(") - (character == ")")
        if not depth:
            return index + 1
    raise ValueError(f"no closing bracket in {text[:80]!r}")


def _bytes(shape: str) -> int:
    return sum(SIZES[kind] * math.prod(map(int, filter(None, dims.split(",")))) for kind, dims in ARRAY.findall(shape))


def _dims(shape: str) -> list[int]:
    """Return the dimensions of the first array of a shape."""
    found = ARRAY.search(shape)
    return [int(dim) for dim in found[2].split(",") if dim] if found else []


def _trips(loop: Operation, unknown: int | None) -> int:
    found = re.search(r'known_trip_count"?:\{"?n"?:"?(\d+)', loop.attributes)
    if not found and unknown is not None:
        return unknown
    if not found:
        raise ValueError(f"the compiler does not say how often {loop.name} runs ({loop.source})")
    return int(found[1])


def _backend_config(operation: Operation) -> dict[str, Any]:
    text = operation.attributes.split("backend_config=", 1)[1]
    found: dict[str, Any] = json.JSONDecoder().raw_decode(text)[0]
    return found


def _read_of_parameter(inside: dict[str, Operation], index: int, shape: str) -> int:
    """Return the bytes that a fusion reads of an operand: of the parts it takes, if it takes no more."""
    views = {
        name for name, each in inside.items() if each.kind == "parameter" and each.attributes.startswith(f"{index})")
    }
    read = 0
    for each in inside.values():  # in order: a view stands before what reads it
        if not views.intersection(each.operands):
            continue
        if each.kind == "bitcast":
            views.add(each.name)
        elif each.kind in PARTS and each.operands[0] in views:
            read += _bytes(each.shape)
        elif each.kind == "dynamic-update-slice" and each.operands[0] in views:
            continue  # written in place
        else:
            return _bytes(shape)
    return min(read, _bytes(shape))


def _convolution_flops(operation: Operation, operations: dict[str, Operation]) -> float:
    """Count a convolution by its three sizes: each is a product of two of input, kernel and output."""
    shapes = [_dims(operations[name].shape) for name in operation.operands[:2]] + [_dims(operation.shape)]
    labels = re.search(r"dim_labels=(\w+)_(\w+)->(\w+)", operation.attributes)
    if not labels:
        raise ValueError(f"{operation.name} has no dimension labels")
    # Features are contracted, the window slides: out elements × what one of them sums.
    kernel = dict(zip(labels[2], shapes[1], strict=True))
    return 2.0 * math.prod(shapes[2]) * math.prod(shapes[1]) / kernel["o"]
