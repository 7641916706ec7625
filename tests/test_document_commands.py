"""Every command that pages, model cards and docstrings show exists, with its flags, its configs and their fields."""

from __future__ import annotations

import ast
import importlib.util
import re
from pathlib import Path

import pytest

from eaglenet_jax.command import CONFIG_FIELD
from eaglenet_jax.config.loading import load_config
from eaglenet_jax.config.printing import config_lines
from eaglenet_jax.config.systems import SYSTEMS
from eaglenet_jax.errors import UserError
from eaglenet_jax.runs.sweep import expand
from tests.given_command import given_to

ROOT = Path(__file__).parents[1]
PAGES = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md")),
    *sorted(set((ROOT / "docs").glob("*.md")) - {ROOT / "docs/coverage.md"}),  # of that: tests/test_coverage.py
    *sorted((ROOT / "eaglenet_jax" / "shipped").glob("*/README.md")),
]
PARTS = ("configs", "benchmarks", "data_prep", "eaglenet_jax")
MODULES = [path for part in PARTS for path in sorted((ROOT / part).rglob("*.py"))]
# Words in capitals that stand for one's own, where a flag reads a number or a field's name.
STANDS_FOR = {"STEPS": "10", "N": "1", "I": "0", "--config.FIELD=VALUE": "--config.seed=1"}


def commands_of(text: str) -> list[str]:
    """Commands `python -m …` of a page: of its shell blocks, continued lines joined, comments left out; of its text."""
    found = []
    for block in re.findall(r"^```sh\n(.*?)^```", text, re.MULTILINE | re.DOTALL):
        for line in re.sub(r"\s*\\\n\s*", " ", block).splitlines():
            for part in re.split(r"\s&&\s", line.split(" #")[0]):
                words = part.strip().removeprefix("srun ")
                if words.startswith("python -m "):
                    found.append(words)
    prose = re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL)
    return found + [" ".join(each.split()) for each in re.findall(r"`(python -m [^`]+)`", prose)]


def commands_of_docstring(text: str) -> list[str]:
    """Commands of a docstring: between backticks, or the rest of a line, continued by lines that begin with a flag."""
    joined = re.sub(r"\s*\\?\n\s+(?=\[?--)", " ", text)
    lines = re.findall(r"^\s*(?:\w+: )?(python -m [^`\n]+)$", joined, re.MULTILINE)
    return [" ".join(each.split()) for each in [*lines, *re.findall(r"`(python -m [^`]+)`", joined)]]


def as_given(command: str) -> str:
    """A command with the marks of its form replaced: `[--a]`, `a|b`, `…`, and capitals that stand for a number."""
    words = [word.strip("[]…") for word in command.split(" ")]
    return " ".join(STANDS_FOR.get(word, re.sub(r"\|\w+", "", word)) for word in words if word)


def _shown() -> dict[str, str]:
    """Command → the first file that shows it."""
    found: dict[str, str] = {}
    for path in [*PAGES, *MODULES]:
        text = path.read_text()
        is_page = path.suffix == ".md"
        commands = commands_of(text) if is_page else commands_of_docstring(ast.get_docstring(ast.parse(text)) or "")
        for command in map(as_given, commands):
            found.setdefault(command, str(path.relative_to(ROOT)))
    return found


SHOWN = _shown()


@pytest.mark.parametrize("command", SHOWN, ids=lambda command: re.sub(r"\W+", "_", command)[:60])
def test_a_command_that_is_shown_can_be_given(command):
    document, name = SHOWN[command], command.split(" ")[2]
    if name.startswith("tests.") or command == f"python -m {name}":  # a program of the tests; a command by its name
        assert importlib.util.find_spec(name), document
        return
    flags, overrides = given_to(command)
    assert all(word.startswith(CONFIG_FIELD) for word in overrides), document
    config = getattr(flags, "config", None)
    for asked in [config] if isinstance(config, str) else config or []:
        for _, each in expand([asked]):
            load_config(each, [word for word in overrides if "=" in word])


def fields_of(text: str) -> set[str]:
    """Fields of a config that a page names: `--config.FIELD=…`, or in a table `SECTION.FIELD`."""
    named = re.findall(r"--config\.([a-z_]\w*(?:\.[a-z_]\w*)*)", text)
    rows = "\n".join(line for line in text.splitlines() if line.startswith("|"))
    return {*named, *re.findall(r"`((?:clip|data|evaluation|head|optimizer)\.[a-z_]\w*(?:\.[a-z_]\w*)*)(?=[`=])", rows)}


def test_fields_that_pages_name_exist():
    known = {"system"}
    for name in (*(f"msrvtt:{system}" for system in SYSTEMS), "msrvtt:crosstvr,vitg", "demo"):
        known |= {line.partition(" = ")[0] for line in config_lines(load_config(name))}
    known |= {".".join(field.split(".")[:depth]) for field in set(known) for depth in (1, 2, 3)}  # sections too
    unknown = {path.name: fields_of(path.read_text()) - known for path in PAGES}
    assert not {page: fields for page, fields in unknown.items() if fields}
    assert fields_of("`--config.a.b=1`\n| `head.graph.heads`, `optimizer.lr=1` |") == {
        "a.b",
        "head.graph.heads",
        "optimizer.lr",
    }


def test_commands_are_found_and_a_dead_one_is():
    assert commands_of(
        "```sh\npip install x && python -m a --b \\\n  --c  # why\n# python -m d\n```\n`python -m e\n--f`, python -m g"
    ) == ["python -m a --b --c", "python -m e --f"]
    docstring = (
        "`python -m a --b`: do.\nCommand: python -m c [--d=1|2]\n    --e=N\nSee python -m f.\n    python -m g H…"
    )
    found = [as_given(each) for each in commands_of_docstring(docstring)]
    assert found == ["python -m c --d=1 --e=N", "python -m g H", "python -m a --b"]
    assert as_given("python -m a --every STEPS") == "python -m a --every 10"
    for where, least in {"README.md": 10, "docs/": 80, "configs/": 25, "benchmarks/": 15, "data_prep/": 6}.items():
        assert sum(document.startswith(where) for document in SHOWN.values()) >= least, where
    with pytest.raises(UserError, match="unknown argument '--tinyy'"):
        given_to("python -m benchmarks.one_query --tinyy")
    flags, overrides = given_to("python -m eaglenet_jax.train --config=demo --config.no_field=1")
    with pytest.raises(UserError):
        load_config(flags.config, overrides)
