"""Permitted content of a repository of the hub: names of files, and configs that name no code but ours."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from eaglenet_jax.errors import UserError
from eaglenet_jax.registry import HEADS
from eaglenet_jax.runs.export import CARD_FILE, PARAMETER_FILE, SETTINGS_FILE, exported_folder
from eaglenet_jax.runs.saved_config import CONFIG_FILE
from eaglenet_jax.runs.workdir import (
    CHECKPOINTS,
    EARLIER_STAGES,
    PICTURE_FILE,
    RANKS_FILE,
    REPORT_FILE,
    RESULT_FILE,
    has_checkpoints,
)

# Of a run; besides its best checkpoint.
RUN_FILES = (CONFIG_FILE, RESULT_FILE, RANKS_FILE, REPORT_FILE, PICTURE_FILE)
# Files of orbax have no suffix but these, so that none of them is a module of Python or a library.
_STATE = r"(?:state|metadata)/(?:ocdbt\.process_\d+/)?(?:\w+/)*(?:\w+|manifest\.ocdbt|commit_success\.txt)"
_STEP = rf"{CHECKPOINTS}/\d+/(?:SHA256SUMS|_CHECKPOINT_METADATA|commit_success\.txt|{_STATE})"
_RUN = rf"(?:{'|'.join(map(re.escape, RUN_FILES))}|{_STEP})"
_EXPORT = "|".join(map(re.escape, (PARAMETER_FILE, SETTINGS_FILE, CARD_FILE)))
_EXPECTED = re.compile(rf"{_EXPORT}|(?:(?:{'|'.join(EARLIER_STAGES)})/)*{_RUN}", re.ASCII)


def managed(paths: Iterable[str]) -> list[str]:
    """Select the paths of a repository that an exported model or a run has."""
    return [path for path in paths if _EXPECTED.fullmatch(path)]


def check_names(paths: Iterable[str], where: str) -> None:
    """Check that the folders of a run hold nothing but a run's files.

    Args:
        paths: Of the repository.
        where: Its name, for the message.

    Raises:
        UserError: One of them does not belong there.
    """
    folders = tuple(f"{name}/" for name in (CHECKPOINTS, *EARLIER_STAGES))
    strange = [path for path in paths if path.startswith(folders) and not _EXPECTED.fullmatch(path)]
    if strange:
        raise UserError(f"{where}: {strange[0]} is no file of a run or its checkpoints; remove it there")


def check_systems(folder: Path, where: str, trust: bool) -> None:
    """Check the systems that the configs in a folder name, nested ones too, before anything imports them.

    Args:
        folder: Of files that come from elsewhere.
        where: Where they come from, for the message.
        trust: Whether systems outside the registry are accepted.

    Raises:
        UserError: A config is damaged or names none, or names code of a package and is not trusted.
    """
    for file in sorted(folder.rglob(CONFIG_FILE)):
        place = f"{where}/{file.relative_to(folder).as_posix()}"
        try:
            systems = list(_values_of(json.loads(file.read_text()), "system"))
        except (ValueError, RecursionError) as error:
            raise UserError(f"{place} is damaged; push the model again") from error
        if not systems and (exported_folder(file.parent) is not None or has_checkpoints(file.parent)):
            raise UserError(f"{place} names no system, so it is damaged; push the model again")
        for system in systems:
            if not isinstance(system, str):
                raise UserError(f"{place} is damaged: its system is {system!r}; push the model again")
            if system not in HEADS and not trust:
                raise UserError(
                    f"{place}: system {system!r} is none of this program: it names code of a package, which opening "
                    "the model would run; pull with --trust if you trust its author"
                )


def _values_of(content: Any, name: str) -> Iterator[Any]:
    """Every value of a key, however deep."""
    if isinstance(content, dict) and name in content:
        yield content[name]
    if isinstance(content, dict | list):
        for part in content.values() if isinstance(content, dict) else content:
            yield from _values_of(part, name)
