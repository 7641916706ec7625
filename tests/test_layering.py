"""How the rooms of the library stand on each other, and what only one of them does."""

from __future__ import annotations

import ast
import functools
import re
from collections.abc import Iterator

import pytest

from tests.test_conventions import (
    MODULES,
    PACKAGES,
    imported_names,
    package_of,
    room_of,
    runs_at_import,
    without_typing,
)

# The renderer of the demo's clips, and nothing else of data_prep.
LATE_IMPORTS = {
    "eaglenet_jax.runs.experiment": {"data_prep.demo", "data_prep.moving_shapes.events"},
    "eaglenet_jax.search.commands.demo": {"data_prep.moving_shapes.events", "data_prep.moving_shapes.render"},
}
# The registry imports heads by their names, and CrossTVR asks it for its first head: they stand on one level.
ONE_ROOM = {"eaglenet_jax.registry": "eaglenet_jax.heads"}


def named_objects(tree: ast.AST) -> Iterator[str]:
    """Modules that a syntax tree names in strings such as "package.module:Class", by which they are imported late."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            module, colon, _ = node.value.partition(":")
            if colon and re.fullmatch(r"[\w.]+:\w+", node.value) and module in MODULES:
                yield module


@functools.cache
def imported_by_module() -> dict[str, set[str]]:
    """Each module → the modules of this project that it imports, late and by name as well."""
    found = {}
    for name, path in MODULES.items():
        tree = without_typing(ast.parse(path.read_text()))
        targets = {*imported_names(tree, package_of(name)), *named_objects(tree)}
        found[name] = {target for target in targets if target.split(".")[0] in PACKAGES}
    return found


def rooms(one_room: dict[str, str] = ONE_ROOM) -> dict[str, set[str]]:
    """Each room of the library, configs and data_prep → the rooms that it imports."""
    imported: dict[str, set[str]] = {}
    for name, targets in imported_by_module().items():
        room = one_room.get(room_of(name), room_of(name))
        if room in ("eaglenet_jax", "benchmarks"):
            continue
        found = {one_room.get(room_of(target), room_of(target)) for target in targets}
        imported.setdefault(room, set()).update(found - {room, "eaglenet_jax"})
    return imported


def levels(imported: dict[str, set[str]]) -> dict[str, int]:
    """Each room → the longest chain of imports from it to the bottom, itself counted. ValueError for a ring."""
    found: dict[str, int] = {}

    def level(room: str, above: tuple[str, ...]) -> int:
        if room in above:
            raise ValueError(f"rooms that import each other: {' → '.join([*above[above.index(room) :], room])}")
        if room not in found:
            found[room] = 1 + max((level(lower, (*above, room)) for lower in imported[room]), default=0)
        return found[room]

    for room in imported:
        level(room, ())
    return found


def test_rooms_stand_on_at_most_nine_levels() -> None:
    found = levels(rooms())
    assert max(found.values()) <= 9, sorted(found.items(), key=lambda item: item[1])
    assert found["eaglenet_jax.search"] > found["eaglenet_jax.runs"] > found["eaglenet_jax.heads"] > 1


def test_heads_that_the_registry_imports_by_name_are_counted() -> None:
    assert "eaglenet_jax.heads" in rooms(one_room={})["eaglenet_jax.registry"]
    with pytest.raises(ValueError, match=r"eaglenet_jax\.registry"):
        levels(rooms(one_room={}))


def test_levels_are_those_of_the_longest_chain_and_a_ring_is_found() -> None:
    assert levels({"a": {"b", "c"}, "b": {"c"}, "c": set()}) == {"a": 3, "b": 2, "c": 1}
    with pytest.raises(ValueError, match="b → c → b"):
        levels({"a": {"b"}, "b": {"c"}, "c": {"b"}})


def test_the_library_takes_no_package_of_a_generic_name_at_import() -> None:
    """A user's own folder `configs` or `data_prep` must not take the place of ours."""
    wrong = []
    for name, path in MODULES.items():
        if name.split(".")[0] != "eaglenet_jax":
            continue
        tree = ast.parse(path.read_text())
        late = LATE_IMPORTS.get(name, set())
        for target in imported_names(tree, package_of(name)):
            if target.split(".")[0] in ("configs", "data_prep") and target not in late:
                wrong.append(f"{name} imports {target}")
        for target in imported_names(runs_at_import(tree), package_of(name)):
            if target in late:
                wrong.append(f"{name} imports {target} before it is needed")
    assert not wrong


def test_one_function_loads_the_parameters_of_checkpoints() -> None:
    """Whoever restores them alone can forget the moving average: `runs.workdir.load_checkpoint` does it for all."""
    calls = [
        name
        for name, path in MODULES.items()
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Attribute) and node.attr == "restore_params"
    ]
    assert calls == ["eaglenet_jax.runs.workdir"]
