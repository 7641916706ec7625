"""The config of a work directory: written, read back with today's names and defaults, and compared with another."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import ml_collections

from eaglenet_jax.atomic import write_atomically
from eaglenet_jax.config import overrides
from eaglenet_jax.config.clip_sizes import CLIP_SIZES
from eaglenet_jax.config.defaults import defaults
from eaglenet_jax.config.loading import as_plain, is_free
from eaglenet_jax.errors import UserError, near_path
from eaglenet_jax.registry import head_class
from eaglenet_jax.runs.data_name import DEMO_DATA

CONFIG_FILE = "config.json"
FIRST_STAGES = "first_stages"  # folder of a sweep with the first stages that several of its runs start from
# Fields of configs that were written before these were renamed: old name → new name.
RENAMED = {old: new for old, new in overrides.RENAMED.items() if "." not in old}
RENAMED_IN_OPTIMIZER = {
    old.removeprefix("optimizer."): new.removeprefix("optimizer.")
    for old, new in overrides.RENAMED.items()
    if old.startswith("optimizer.")
}
REMOVED = ("claimed",)  # what papers claim stands in reports/claims.py now, by the row that `claim` names


def save_config(config: Any, workdir: Path) -> None:
    """Write the config of a work directory as JSON, whole or not at all.

    Folders of data become absolute, so that they are found from any current folder.
    """

    def anchored(part: dict[str, Any]) -> dict[str, Any]:
        data = {
            key: str(Path(value).absolute()) if key in ("root", "prepared") and value else value
            for key, value in part.get("data", {}).items()
        }
        first_stage = part.get("first_stage") or {}
        return {**part, "data": data, "first_stage": anchored(first_stage) if first_stage else {}}

    workdir.mkdir(parents=True, exist_ok=True)
    write_atomically(workdir / CONFIG_FILE, json.dumps(anchored(as_plain(config)), indent=1).encode())


def has_config(workdir: Path) -> bool:
    """Whether a folder holds the config of a run."""
    return (Path(workdir) / CONFIG_FILE).is_file()


def saved_config(workdir: Path) -> ml_collections.ConfigDict:
    """Read the config of a work directory. Lists come back as tuples, as they were.

    A renamed field is read by its old name as well. A field that was added to the project later gets its default,
    which is what the older program did. A shared first stage that moved with its sweep is found where it is now.

    Raises:
        UserError: there is no config, or it cannot be read, or it is damaged.
    """

    def revived(value: Any) -> Any:
        if isinstance(value, dict):
            return ml_collections.ConfigDict({key: revived(item) for key, item in value.items()})
        return tuple(revived(item) for item in value) if isinstance(value, list) else value

    file = Path(workdir) / CONFIG_FILE
    try:
        content = json.loads(file.read_text())
        if not isinstance(content, dict) or "system" not in content:
            raise ValueError("it is no config")
        config = _with_defaults(_with_new_names(content))
        return revived({**config, "init_from": _relocated_first_stage(config["init_from"], file.parent)})
    except FileNotFoundError as error:
        told = f"{file.parent} is no work directory: it has no {file.name}; train one with eaglenet_jax.train"
        if not file.parent.exists():
            told = f"there is no work directory {file.parent}; train one with eaglenet_jax.train"
        raise UserError(told + near_path(file.parent, folders=True)) from error
    except OSError as error:
        raise UserError(f"{file} cannot be read: {error.strerror}; is {file.parent} a work directory?") from error
    except (ValueError, AttributeError) as error:
        raise UserError(f"{file} is damaged ({error}); restore it or train into a new --workdir") from error


def differences(old: Any, new: Any, name: str = "") -> list[str]:
    """List the fields in which two configs, as plain dicts, compute different things, with both values.

    Args:
        old: The config that is there already.
        new: The config that is asked for.
        name: The field that both are the value of, with its dots; empty for whole configs.
    """
    if isinstance(old, dict) and isinstance(new, dict):
        same_data = name.split(".")[-1] == "data" and _renamed_data(old, new)
        keys = sorted((old.keys() | new.keys()) - ({"dataset"} if same_data else set()))
        return [line for key in keys for line in differences(old.get(key), new.get(key), f"{name}.{key}".lstrip("."))]
    same = old == new or is_free(name)
    return [] if same else [f"{name}: {old!r} there, {new!r} now"]


def _renamed_data(old: dict[str, Any], new: dict[str, Any]) -> bool:
    """Whether a run on own data has the demo's name of them: `data_name.named_after_data` gives them their own."""
    folders = [Path(data["prepared"]).absolute() for data in (old, new) if data.get("prepared")]
    return old.get("dataset") == DEMO_DATA and len(folders) == 2 and folders[0] == folders[1]


def _with_new_names(saved: dict[str, Any]) -> dict[str, Any]:
    """A saved config and its first stages with every renamed field under its new name, without removed ones."""

    def renamed(part: dict[str, Any], names: dict[str, str]) -> dict[str, Any]:
        return {names.get(key, key): value for key, value in part.items() if key not in REMOVED}

    config = renamed(saved, RENAMED)
    if isinstance(config.get("optimizer"), dict):
        config["optimizer"] = renamed(config["optimizer"], RENAMED_IN_OPTIMIZER)
    if config.get("first_stage"):
        config["first_stage"] = _with_new_names(config["first_stage"])
    if saved.get("claimed") and "claim" not in saved:
        config["claim"] = _claim_of(saved)
    return config


def _claim_of(saved: dict[str, Any]) -> str:
    """The row of the claims that a config was compared with when it held the numbers themselves."""
    clip = saved.get("clip", {}).get("name", "")
    size = next((short for short, name in CLIP_SIZES.items() if name == clip), "")
    return f"{saved['data']['dataset']}/{size}/{saved['system']}" if size else ""


def _with_defaults(saved: dict[str, Any]) -> dict[str, Any]:
    """A saved config and its first stages with every field that a config has today."""
    every_field = as_plain(defaults())

    def filled(default: dict[str, Any], given: dict[str, Any]) -> dict[str, Any]:
        both = {**default, **given}
        # The fields of these dicts depend on the system, the dataset or the stage.
        open_fields = ("head", "clip", "data", "first_stage")
        return {
            key: filled(default[key], value)
            if isinstance(value, dict) and isinstance(default.get(key), dict) and key not in open_fields
            else value
            for key, value in both.items()
        }

    config = filled(every_field, saved)
    config["head"] = _with_options(config["system"], config["head"])
    if config["first_stage"]:
        config["first_stage"] = _with_defaults(config["first_stage"])
    return config


def _with_options(system: str, saved: dict[str, Any]) -> dict[str, Any]:
    """Saved options of a head with every option that it has today, those of a head inside it as well."""
    try:
        head = head_class(system)
        known = head.options() | head.older_options(saved)
    except UserError:
        return saved  # a head of a package that is not installed here: its results can still be listed

    def filled(default: Any, given: Any) -> Any:
        if not isinstance(default, dict) or not isinstance(given, dict):
            return given
        if given.keys() == {"system", "head"}:
            return {**given, "head": _with_options(given["system"], given["head"])}
        return {**default, **{key: filled(default.get(key), value) for key, value in given.items()}}

    return filled(known, saved)


def with_older_options(system: str, saved: dict[str, Any]) -> dict[str, Any]:
    """Add `Head.older_options` to the saved options of a head and of a head inside it, and no other options."""
    try:
        older = head_class(system).older_options(saved)
    except UserError:
        return saved  # as in `_with_options`
    inside = {
        key: {**value, "head": with_older_options(value["system"], value["head"])}
        if isinstance(value, dict) and value.keys() == {"system", "head"}
        else value
        for key, value in saved.items()
    }
    return older | inside


def _relocated_first_stage(init_from: str, workdir: Path) -> str:
    """Where a shared first stage lies now, if the folder of its sweep was moved; else `init_from` as it is."""
    name = Path(init_from).name
    if not name or Path(init_from).exists():
        return init_from
    near = (folder / FIRST_STAGES / name for folder in workdir.absolute().parents)
    return next((str(folder) for folder in near if folder.is_dir()), init_from)
