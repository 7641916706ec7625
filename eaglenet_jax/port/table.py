"""Tables that map names and layouts of a PyTorch program's tensors to ours, used in both directions.

A rule pairs names of the source with paths of our tree and an invertible change of layout. `{i}` in a name stands for a
number and is the same on both sides. Reading is strict: all names that are missing, left over or of another shape are
listed in one error, unless the table names them as unused.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from flax import traverse_util

from eaglenet_jax.errors import UserError
from eaglenet_jax.port.transforms import LINEAR, SAME, Transform

Tensors = Mapping[str, np.ndarray]  # names of the source → arrays in its layout
Tree = dict[str, Any]  # nested dicts of arrays, ours

LOGIT_SCALE = "head/matching_loss/logit_scale"  # where every head with a softmax loss keeps CLIP's logit scale


# Buffers that any program may have stored: the causal mask, numbers of positions, counts of a profiler, the bias of a
# sigmoid loss (it is the same for all pairs, so no ranking changes).
EXTRA = ("attn_mask", "position_ids", "total_ops", "total_params", "num_batches_tracked", "logit_bias")


@dataclasses.dataclass(frozen=True)
class Rule:
    """Pairing of names of the source with paths of our tree.

    Attributes:
        sources: Names in the PyTorch program.
        targets: Paths in our tree, with / between parts.
        transform: Change of layout.
    """

    sources: tuple[str, ...]
    targets: tuple[str, ...]
    transform: Transform = SAME

    def prefixed(self, source: str = "", target: str = "") -> Rule:
        """Return the same rule with `source` before its source names and `target` before its target paths."""
        sources = tuple(source + name for name in self.sources)
        return Rule(sources, tuple(target + path for path in self.targets), self.transform)


def rule(sources: str | tuple[str, ...], targets: str | tuple[str, ...], transform: Transform = SAME) -> Rule:
    """Build a rule; a single name needs no tuple."""
    return Rule(_as_tuple(sources), _as_tuple(targets), transform)


def linear_rules(source: str, target: str) -> tuple[Rule, Rule]:
    """Build the rules of a linear layer with bias."""
    return rule(f"{source}.weight", f"{target}/kernel", LINEAR), rule(f"{source}.bias", f"{target}/bias")


def norm_rules(source: str, target: str) -> tuple[Rule, Rule]:
    """Build the rules of a layer normalisation."""
    return rule(f"{source}.weight", f"{target}/scale"), rule(f"{source}.bias", f"{target}/bias")


@dataclasses.dataclass(frozen=True)
class Table:
    """All rules of a source.

    Attributes:
        name: Name of the source, for errors.
        rules: Its rules.
        unused: Names that the source may contain and that nothing is computed from.
    """

    name: str
    rules: tuple[Rule, ...]
    unused: tuple[str, ...] = ()


def to_flax(table: Table, tensors: Tensors, expected: Tree) -> Tree:
    """Convert the tensors of a source to our tree, floats as float32.

    Args:
        table: Table of the source.
        tensors: Tensors of the source.
        expected: The tree to fill, leaves with a shape (`jax.eval_shape` of the model's init).

    Raises:
        UserError: Lists every name that is missing, left over, of another shape or not finite.
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
            elif not np.isfinite(_float32(tensors[name])).all():
                wrong.append(f"{name} holds a value that is not finite")
            else:
                continue
            fits = False
        if fits:
            arrays = instance.transform.to_flax([_float32(tensors[name]) for name in instance.sources], targets)
            filled.update(zip(instance.targets, arrays, strict=True))
    unused = _unused(table)
    left = [name for name in tensors if name not in used and not any(pattern.fullmatch(name) for pattern in unused)]
    wrong += [f"not known here: {name}" for name in left]
    if wrong:
        raise UserError(f"{table.name}: {len(wrong)} names do not fit the model: {'; '.join(wrong)}")
    return traverse_util.unflatten_dict(filled, sep="/")


def to_pytorch(table: Table, tree: Tree) -> dict[str, np.ndarray]:
    """Convert our tree to the source's names and layout, bit for bit.

    Raises:
        UserError: Lists the paths without a rule.
    """
    flat = {path: np.asarray(leaf) for path, leaf in _flat(tree).items()}
    tensors: dict[str, np.ndarray] = {}
    for instance in _instances(table, flat):
        arrays = instance.transform.to_pytorch([flat[path] for path in instance.targets])
        tensors.update(zip(instance.sources, (np.array(array, order="C") for array in arrays), strict=True))
    return tensors


def unused_tensors(table: Table, tensors: Tensors) -> dict[str, np.ndarray]:
    """Return the tensors of a source that its table names as unused."""
    patterns = _unused(table)
    return {name: value for name, value in tensors.items() if any(pattern.fullmatch(name) for pattern in patterns)}


def _unused(table: Table) -> list[re.Pattern[str]]:
    return [_pattern(name) for name in (*table.unused, *EXTRA, *(f"*.{name}" for name in EXTRA))]


def share_known(table: Table, tensors: Tensors) -> float:
    """Return which share of a table's unnumbered names the tensors have; 0 if they have names that it does not know."""
    names = [name for rule in table.rules for name in rule.sources]
    patterns = [*(_pattern(name) for name in names), *_unused(table)]
    if not all(any(pattern.fullmatch(name) for pattern in patterns) for name in tensors):
        return 0.0
    fixed = [name for name in names if "{" not in name]
    return sum(name in tensors for name in fixed) / len(fixed)


def _instances(table: Table, paths: Iterable[str]) -> list[Rule]:
    """Return the rules that make up `paths`, numbers in place of `{i}`, each once; UserError for paths without one."""
    compiled = [(rule, [_pattern(target) for target in rule.targets]) for rule in table.rules]
    found: dict[tuple[str, ...], Rule] = {}
    unmatched = []
    for path in paths:
        for rule, patterns in compiled:
            match = next((m for m in (pattern.fullmatch(path) for pattern in patterns) if m), None)
            if match:
                numbers = match.groupdict()
                names = tuple(name.format(**numbers) for name in rule.sources)
                targets = tuple(target.format(**numbers) for target in rule.targets)
                found[targets] = Rule(names, targets, rule.transform)
                break
        else:
            unmatched.append(path)
    if unmatched:
        raise UserError(f"{table.name}: no rule for {len(unmatched)} parameters of the model: {'; '.join(unmatched)}")
    return list(found.values())


def _pattern(name: str) -> re.Pattern[str]:
    """Compile a name: `{i}` matches a number, `*` anything."""
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
