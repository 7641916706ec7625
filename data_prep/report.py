"""Report that a build writes next to its manifest: which videos are in the folder and which are not."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any


def report(manifest: Mapping[str, Any], out: Path) -> str:
    """Return the report as Markdown.

    Args:
        manifest: The manifest that `build` wrote.
        out: Its folder.
    """
    settings = manifest["settings"]
    lines = [
        f"# {manifest['dataset']}, variant {manifest['variant']}",
        "",
        f"Protocol: {manifest['protocol']}. {settings['fps']:g} frames a second by"
        f" {'their own times' if settings.get('timestamps') else 'the frame rate'}, {settings['size']} pixels square,"
        f" {'as players show them' if settings.get('as_shown') else 'as the released programs read them'},"
        f" JPEG quality {settings['jpeg_quality']}. Decoder: {manifest['decoder']}.",
    ]
    if "first_seconds" in settings:
        lines.append(f"Of every video only the first {settings['first_seconds']:g} s.")
    if manifest["held_out"]:
        splits = " and ".join(f"`{split}`" for split in manifest.get("held_out_splits", ["val"]))
        lines.append(f"The annotations have no such split: {splits} held out of `train` by the ids' hash.")
    if manifest["is_fake"]:
        lines.append("**Drawn clips under the dataset's ids, made by `data_prep.fake`. Not the dataset.**")
    lines += [
        "",
        "| split | listed | here | left out | incomplete | captions | split hash |",
        "|---|---|---|---|---|---|---|",
    ]
    for split, listed in manifest["listed"].items():
        counts = manifest["splits"].get(split, {"videos": 0, "captions": 0})
        states = manifest["states"].get(split, {}).values()
        left = [
            sum(state.startswith("left out") for state in states) + len(listed["uncaptioned"]),
            sum(state.startswith("incomplete") for state in states),
        ]
        cells = [split, listed["videos"], counts["videos"], *left, counts["captions"]]
        lines.append(f"| {' | '.join(map(str, cells))} | {manifest['split_hashes'].get(split, '')} |")
    used = sum(path.stat().st_size for path in (out / "shards").iterdir())
    lines += ["", f"Size of the shards: {used / 1e6:.1f} MB. `cache/` may be deleted.", ""]
    if manifest["left_out"]:
        lines += [
            "Videos that are left out are in no gallery and no training batch. Their captions are queries without an"
            " answer: an evaluation that is to be compared with others counts them as misses.",
            "",
        ]
    for split, states in manifest["states"].items():
        lines += [f"- {split} {video_id}: {state}" for video_id, state in states.items() if state != "complete"]
    lines += [f"- {video_id}: {what}" for video_id, what in manifest.get("notes", {}).items()]
    for split, listed in manifest["listed"].items():
        lines += [f"- {split} {video_id}: left out: no caption" for video_id in listed["uncaptioned"]]
    return "\n".join(lines) + "\n"
