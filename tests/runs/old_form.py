"""Work directories as they were before `pretrain` became `first_stage` and `optimizer.lr` became `head_lr`.

Some options of heads were no options then, and what a paper claims stood in the config.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

NEW_OPTIONS = ("initial_logit_scale",)


def _old_options(options: dict[str, Any]) -> dict[str, Any]:
    return {
        name: _old_options(value) if isinstance(value, dict) else value
        for name, value in options.items()
        if name not in NEW_OPTIONS
    }


def config_in_old_form(config: dict[str, Any]) -> dict[str, Any]:
    """A saved config, and its first stages, under the old names."""
    old = dict(config)
    old["optimizer"] = {"lr" if key == "head_lr" else key: value for key, value in config["optimizer"].items()}
    old["head"] = _old_options(config["head"])
    old["claimed"] = {"source": "a paper", "t2v": {"R@1": 51.0}}
    del old["claim"]
    old["pretrain"] = old.pop("first_stage")
    if old["pretrain"]:
        old["pretrain"] = config_in_old_form(old["pretrain"])
    return old


def bring_into_old_form(workdir: Path) -> None:
    """Renames what a work directory and those of its first stages hold."""
    file = workdir / "config.json"
    file.write_text(json.dumps(config_in_old_form(json.loads(file.read_text()))))
    results = workdir / "metrics.json"
    if results.is_file():
        content = json.loads(results.read_text())
        del content["run"]["selection_note"]
        results.write_text(json.dumps(content))
    if (workdir / "first_stage").is_dir():
        (workdir / "first_stage").rename(workdir / "pretrain")
        bring_into_old_form(workdir / "pretrain")
