"""Names and layouts of a PyTorch program's tensors against ours: one declarative table a source, read both ways.

A rule pairs names of the source with paths of our tree and an invertible change of layout. `{i}` in a name stands for a
number and is the same on both sides. Reading is strict: whatever is missing, left over or misshaped is listed in one
error, unless the table names it as unused.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from flax import traverse_util

from eaglenet_jax.errors import UserError
from eaglenet_jax.port.transforms import SAME, Transform

Tensors = Mapping[str, np.ndarray]  # names of the source → arrays in its layout
Tree = dict[str, Any]  # nested dicts of arrays, ours

LOGIT_SCALE = "head/matching_loss/logit_scale"  # where every head with a softmax loss keeps CLIP's logit scale


@dataclasses.dataclass(frozen=True)
class Rule:
    """`sources`, names in the PyTorch program, hold what is in `targets`, paths in our tree with / between parts."""

    sources: tuple[str, ...]
    targets: tuple[str, ...]
    transform: Transform = SAME

    def prefixed(self, source: str = "", target: str = "") -> Rule:
        """The same rule with `source` before its source names and `target` before its target paths."""
        sources = tuple(source + name for name in self.sources)
        return Rule(sources, tuple(target + path for path in self.targets), self.transform)


def rule(sources: str | tuple[str, ...], targets: str | tuple[str, ...], transform: Transform = SAME) -> Rule:
    """A rule; a single name needs no tuple."""
    return Rule(_as_tuple(sources), _as_tuple(targets), transform)


@dataclasses.dataclass(frozen=True)
class Table:
    """All rules of a source. unused: names that the source may hold and that nothing is computed from."""

    name: str
    rules: tuple[Rule, ...]
    unused: tuple[str, ...] = ()


def to_flax(table: Table, tensors: Tensors, expected: Tree) -> Tree:
    """The tensors of a source as our tree, floats as float32.

    expected: the tree to fill, leaves with a shape (`jax.eval_shape` of the model's init). UserError lists every name
    that is missing, left over or of another shape.
    """
    shapes = {path: tuple(leaf.shape) for path, leaf in _flat(expected).items()}
    filled: dict[str, np.ndarray] = {}
    used: set[str] = set()
    wrong: list[str] = []
    for instance in _instances(table, shapes):
        used.update(instance.sources)
        targets = [shapes[path] for path in instance.targets]
        needed = instance.transform.source_shapes(targets)
        fits = True
        for name, shape in zip(instance.sources, needed, strict=True):
            if name not in tensors:
                wrong.append(f"missing {name}")
            elif tensors[name].shape != shape:
                wrong.append(f"{name} has shape {tensors[name].shape}, not {shape}")
            else:
                continue
            fits = False
        if fits:
            arrays = instance.transform.to_flax([_float32(tensors[name]) for name in instance.sources], targets)
            filled.update(zip(instance.targets, arrays, strict=True))
    unused = [_pattern(name) for name in table.unused]
    left = [name for name in tensors if name not in used and not any(each.fullmatch(name) for each in unused)]
    wrong += [f"not known here: {name}" for name in left]
    if wrong:
        raise UserError(f"{table.name}: {len(wrong)} names do not fit the model: {'; '.join(wrong)}")
    return traverse_util.unflatten_dict(filled, sep="/")


def to_pytorch(table: Table, tree: Tree) -> dict[str, np.ndarray]:
    """Our tree under the source's names and in its layout, bit for bit. UserError lists paths that no rule names."""
    flat = {path: np.asarray(leaf) for path, leaf in _flat(tree).items()}
    tensors: dict[str, np.ndarray] = {}
    for instance in _instances(table, flat):
        arrays = instance.transform.to_pytorch([flat[path] for path in instance.targets])
        tensors.update(zip(instance.sources, (np.array(array, order="C") for array in arrays), strict=True))
    return tensors


def unused_tensors(table: Table, tensors: Tensors) -> dict[str, np.ndarray]:
    """The tensors of a source that its table names as unused."""
    patterns = [_pattern(name) for name in table.unused]
    return {name: value for name, value in tensors.items() if any(each.fullmatch(name) for each in patterns)}


def _instances(table: Table, paths: Iterable[str]) -> list[Rule]:
    """The rules that make up `paths`, with numbers in place of `{i}`, each once. UserError for paths without a rule."""
    compiled = [(each, [_pattern(target) for target in each.targets]) for each in table.rules]
    found: dict[tuple[str, ...], Rule] = {}
    homeless = []
    for path in paths:
        for each, patterns in compiled:
            match = next((m for m in (pattern.fullmatch(path) for pattern in patterns) if m), None)
            if match:
                numbers = match.groupdict()
                names = tuple(name.format(**numbers) for name in each.sources)
                targets = tuple(target.format(**numbers) for target in each.targets)
                found[targets] = Rule(names, targets, each.transform)
                break
        else:
            homeless.append(path)
    if homeless:
        raise UserError(f"{table.name}: no rule for {len(homeless)} parameters of the model: {'; '.join(homeless)}")
    return list(found.values())


def _pattern(name: str) -> re.Pattern[str]:
    """`{i}` matches a number, `*` anything."""
    parts = re.split(r"(\{\w+\}|\*)", name)
    return re.compile(
        "".join(
            ".*" if part == "*" else rf"(?P<{part[1:-1]}>\d+)" if part.startswith("{") else re.escape(part)
            for part in parts
        )
    )


def _flat(tree: Tree) -> dict[str, Any]:
    return traverse_util.flatten_dict(tree, sep="/")


def _float32(array: np.ndarray) -> np.ndarray:
    return array.astype(np.float32) if array.dtype != np.float32 else array


def _as_tuple(names: str | tuple[str, ...]) -> tuple[str, ...]:
    return (names,) if isinstance(names, str) else names
