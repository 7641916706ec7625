"""Every command that README and docs show in a block exists, with its flags, its configs and their fields."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from eaglenet_jax.command import CONFIG_FIELD
from eaglenet_jax.config.loading import load_config
from eaglenet_jax.errors import UserError
from eaglenet_jax.runs.sweep import expand
from tests.given_command import given_to

ROOT = Path(__file__).parents[1]
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
# Values that stand for one's own, in capitals, that a flag reads as a number.
STANDS_FOR = {"STEPS": "10", "N": "1", "I": "0"}


def commands_of(text: str) -> list[str]:
    """Commands `python -m …` of the shell blocks of a document, continued lines joined, comments left out."""
    found = []
    for block in re.findall(r"^```sh\n(.*?)^```", text, re.MULTILINE | re.DOTALL):
        for line in re.sub(r"\s*\\\n\s*", " ", block).splitlines():
            for part in re.split(r"\s&&\s", line.split(" #")[0]):
                words = part.strip().removeprefix("srun ")
                if words.startswith("python -m "):
                    found.append(words)
    return found


COMMANDS = [(path.name, command) for path in DOCUMENTS for command in commands_of(path.read_text())]


@pytest.mark.parametrize(("document", "command"), COMMANDS, ids=lambda value: re.sub(r"\W+", "_", value)[:60])
def test_a_command_of_a_document_can_be_given(document, command):
    flags, overrides = given_to(" ".join(STANDS_FOR.get(word, word) for word in command.split(" ")))
    assert all(word.startswith(CONFIG_FIELD) for word in overrides), document
    config = getattr(flags, "config", None)
    for asked in [config] if isinstance(config, str) else config or []:
        for _, each in expand([asked]):
            load_config(each, [word for word in overrides if "=" in word])


def test_commands_are_found_and_a_dead_one_is():
    assert commands_of(
        "```sh\npip install x && python -m a --b \\\n  --c  # why\n# python -m d\n```\n`python -m e`"
    ) == ["python -m a --b --c"]
    assert len(COMMANDS) > 40
    with pytest.raises(UserError, match="unknown argument '--tinyy'"):
        given_to("python -m benchmarks.one_query --tinyy")
    flags, overrides = given_to("python -m eaglenet_jax.train --config=demo --config.no_field=1")
    with pytest.raises(UserError):
        load_config(flags.config, overrides)
