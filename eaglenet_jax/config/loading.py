"""Configs by name or path, with arguments and overrides: `--config=configs/msrvtt.py:b32,released
--config.batch_size=32`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import ml_collections
from absl import flags
from ml_collections import config_flags

from eaglenet_jax.config.overrides import check_names, check_used, stages_and_field
from eaglenet_jax.errors import UserError, did_you_mean, first_line


def config_folder() -> Path:
    """Where the configs that ship with the package lie: next to it, whatever else is called `configs`."""
    folder = Path(__file__).parents[2] / "configs"
    if not folder.is_dir():
        raise UserError(
            f"the configs of eaglenet_jax are not in {folder}; install it again or give --config the path of a file"
        )
    return folder


def config_names() -> list[str]:
    """Names of the configs that ship with the package, as `demo` or `ablations/graph`."""
    folder = config_folder()
    files = (path.relative_to(folder).with_suffix("") for path in folder.rglob("*.py"))
    return sorted(path.as_posix() for path in files if path.stem != "__init__")


def resolve(name: str) -> str:
    """The file of a config, with its argument: `demo`, `demo:ours` and `configs/demo.py` all work, anywhere."""
    path, colon, argument = name.partition(":")
    if not Path(path).name:
        raise UserError(
            f"--config={name}: give the name or the file of a config; there are: {', '.join(config_names())}"
        )
    if Path(path).is_file():
        if Path(path).suffix != ".py":
            raise UserError(f"--config={name}: {path} is no Python file; there are also: {', '.join(config_names())}")
        return name
    bare = Path(path).with_suffix("").as_posix().removeprefix("configs/")
    shipped = config_folder() / f"{bare}.py"
    if shipped.is_file() and bare in config_names():
        return f"{shipped}{colon}{argument}"
    hint = did_you_mean(bare, config_names(), f"there are: {', '.join(config_names())}")
    raise UserError(f"--config: no file {path!r} and no config of that name; {hint}")


def load_config(name: str, overrides: Sequence[str] = (), *, shared: bool = False) -> ml_collections.ConfigDict:
    """The config called `name`, with overrides as on the command line, such as "--config.batch_size=32".

    shared: The overrides are for several configs, of which this one need not read all (`overrides.check_used`).
    """
    _check_overrides(overrides)
    name, overrides = _with_arguments(name, overrides)
    argv = ["", f"--config={resolve(name)}", *overrides]
    values = flags.FlagValues()
    config_flags.DEFINE_config_file("config", flag_values=values, sys_argv=argv, lock_config=True)
    try:
        values(argv)
        if stages := _stages_before(values.config):
            values = flags.FlagValues()
            argv += [
                line for number in range(stages) for line in _for_first_stage(overrides, "first_stage." * (number + 1))
            ]
            config_flags.DEFINE_config_file("config", flag_values=values, sys_argv=argv, lock_config=True)
            values(argv)
        config = values.config
        # A file that fails to load gives an object that raises its error when it is first used.
        config.lock()
        if not shared:
            check_used(overrides, [config])
    except UserError:
        raise
    except (AttributeError, KeyError) as error:
        _refuse_missing_stage(name, overrides)
        raise UserError(_unknown_field(error) or f"--config={name}: {first_line(error)}") from error
    except (flags.Error, ValueError, TypeError, SyntaxError, ImportError) as error:
        raise UserError(f"--config={name}: {_reason(error)}") from error
    return config


def _reason(error: Exception) -> str:
    """Return the first line of an error; of a value that is no number, what is wanted instead of Python's words."""
    reason = first_line(error)
    for words, wanted in {
        "invalid literal for int()": "a whole number",
        "could not convert string to": "a number",
    }.items():
        if words in reason:
            return f"{reason.partition(f': {words}')[0]}: give {wanted}"
    return reason


def _refuse_missing_stage(name: str, overrides: Sequence[str]) -> None:
    """Raise UserError for an override of a first stage that the config does not have."""
    of_first = [override for override in overrides if _field(override).startswith("first_stage.")]
    if (
        of_first
        and not load_config(name, [each for each in overrides if each not in of_first], shared=True).first_stage
    ):
        raise UserError(f"{of_first[0]}: {name} trains one stage; leave this out, or drop first_stage from it")


def _unknown_field(error: AttributeError | KeyError) -> str:
    """Describe a field that a config does not have; "" for an error that is not ml_collections' own."""
    (cause,) = error.args if len(error.args) == 1 else ("",)
    if not isinstance(cause, KeyError):  # ml_collections wraps one, Python's errors hold a text
        return ""
    field, *hints = str(cause.args[0]).splitlines()
    if field == "'workdir'":
        return "the work directory is no field of the config: give it as --workdir=DIR"
    return f"the config has no field {field}. {hints[0] if hints else 'eaglenet_jax/config/defaults.py lists them'}"


# What the stages of a run share: an override of one of these holds for the stages before as well.
SHARED_FIELDS = ("seed", "data", "clip", "max_words", "max_frames", "queries", "selection")
# What a word behind the config's colon decides, with everything that follows from it.
ARGUMENT_FIELDS = ("system", "preset")


def _field(override: str) -> str:
    return override.partition("=")[0].removeprefix("--config.")


def _check_overrides(overrides: Sequence[str]) -> None:
    check_names(overrides)
    for override in overrides:
        if not override.startswith("--config.") or "=" not in override:
            raise UserError(f"unknown argument {override!r}; fields of the config are set as --config.batch_size=32")
        *before, field = stages_and_field(_field(override))
        if field == "name" or (before and field in ARGUMENT_FIELDS):
            raise UserError(
                f"{override}: other fields follow from this one; write what is wanted behind the config's colon, as in "
                "--config=demo:xpool,released"
            )
        if field == "claim":
            raise UserError(
                f"{override}: the published numbers that results are compared with follow from the dataset, the CLIP "
                "size and the system; choose these behind the config's colon, as in --config=msrvtt:b16,xpool"
            )


def config_words(name: str, overrides: Sequence[str] = ()) -> list[str]:
    """The words that choose the variant of a config, in their order; arguments are those of `load_config`."""
    words = _with_arguments(name, overrides)[0].partition(":")[2].split(",")
    return list(filter(None, dict.fromkeys(word.strip() for word in words)))


def _with_arguments(name: str, overrides: Sequence[str]) -> tuple[str, list[str]]:
    """The config's name with --config.system and --config.preset as words behind its colon, and the other overrides."""
    words = [override.partition("=")[2] for override in overrides if _field(override) in ARGUMENT_FIELDS]
    rest = [override for override in overrides if _field(override) not in ARGUMENT_FIELDS]
    if not words:
        return name, rest
    file, _, argument = name.partition(":")
    return f"{file}:{','.join([*filter(None, [argument]), *words])}", rest


def _stages_before(config: Any) -> int:
    """How many runs are trained before this one."""
    before = config.get("first_stage")
    return 1 + _stages_before(before) if before else 0


def _for_first_stage(overrides: Sequence[str], prefix: str) -> list[str]:
    """The overrides of shared fields, said again for the stage at `prefix` where nothing else was said for it."""
    given = {_field(override) for override in overrides}
    return [
        f"--config.{prefix}{override.removeprefix('--config.')}"
        for override in overrides
        if _field(override).split(".")[0] in SHARED_FIELDS and f"{prefix}{_field(override)}" not in given
    ]


def as_plain(config: Any) -> Any:
    """A config as nested dicts and lists that JSON can hold."""
    if isinstance(config, Mapping | ml_collections.ConfigDict):
        return {key: as_plain(value) for key, value in config.items()}
    if isinstance(config, tuple | list):
        return [as_plain(value) for value in config]
    return config


# Fields that do not change what is computed. A stopped run may continue with other values of these.
FREE_FIELDS = (
    "claim",
    "name",
    "clip.attention",
    "data.workers",
    "data.root",
    "data.prepared",
    "evaluation.memory_budget",
    "checkpoints",
    "profile",
    "compilation_cache",
    "sharding",
    "distributed",
)


def is_free(field: str) -> bool:
    """Whether a field, named with its dots, is one of `FREE_FIELDS` or within, of this stage or one before it."""
    while field.startswith("first_stage."):
        field = field.removeprefix("first_stage.")
    return any(field == free or field.startswith(f"{free}.") for free in FREE_FIELDS)


def without_free_fields(config: Any) -> dict[str, Any]:
    """Return what a config computes: its values as `as_plain` gives them, without the fields that are free."""

    def kept(part: Any, prefix: str = "") -> Any:
        if not isinstance(part, dict):
            return part
        return {key: kept(value, f"{prefix}{key}.") for key, value in part.items() if not is_free(f"{prefix}{key}")}

    return kept(as_plain(config))


def config_hash(config: Any) -> str:
    """Ten hexadecimal digits that change when any value of the config does that changes what is computed."""
    text = json.dumps(without_free_fields(config), sort_keys=True)
    return hashlib.blake2b(text.encode(), digest_size=5).hexdigest()
