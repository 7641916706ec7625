"""Annotated videos → prepared folder: `manifest.json`, `captions/{split}.json`, `shards/`, and the `cache/` it came from."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

from data_prep.annotations import SHOWN, VideoEntry, check_entries
from data_prep.atomic import write_atomically
from data_prep.cache import FrameSettings, fill_cache, read_record, record_path
from data_prep.decode import DECODER
from eaglenet_jax.errors import UserError

FORMAT = 1


def fingerprint(entries: Sequence[VideoEntry], settings: FrameSettings) -> str:
    """Hash of all ids, splits, captions and settings."""
    content = [FORMAT, settings.as_dict(), [[e.split, e.video_id, e.captions] for e in entries]]
    return hashlib.blake2b(json.dumps(content).encode(), digest_size=16).hexdigest()


def read_manifest(out: Path) -> dict | None:
    """The manifest of a folder that is completely prepared, else None."""
    try:
        return json.loads((out / "manifest.json").read_text())
    except (FileNotFoundError, ValueError):
        return None


def prepare(
    entries: Sequence[VideoEntry],
    out: Path,
    *,
    dataset: str,
    fps: float = 1,
    size: int = 224,
    workers: int | None = None,
    progress: bool = True,
    allow_missing: bool = False,
) -> dict:
    """Decodes into `out/cache`, packs into `out/shards`, and returns the manifest, which is written last.

    Goes on where a killed run stopped, and does nothing when `out` already holds these entries at these settings. Videos
    that are missing or cannot be decoded are an error; with `allow_missing` they are left out and listed under "failed".
    Raises `UserError` for those and for everything `check_entries` refuses.
    """
    check_entries(entries)
    settings = FrameSettings(fps, size)
    mark = fingerprint(entries, settings)
    manifest = read_manifest(out)
    if manifest is not None and manifest["fingerprint"] == mark and (allow_missing or not manifest["failed"]):
        return manifest
    if not allow_missing:
        missing = {entry.video_id: "no such file" for entry in entries if not entry.path.is_file()}
        _refuse(missing, len(entries), "are missing", entries)
    cache_dir = out / "cache"
    failed = fill_cache(entries, cache_dir, settings, workers=workers, progress=progress)
    if not allow_missing:
        _refuse(failed, len(entries), "cannot be decoded", entries)
    splits: dict[str, list[VideoEntry]] = {}
    for entry in entries:
        if entry.video_id not in failed:
            splits.setdefault(entry.split, []).append(entry)
    if not splits:
        raise UserError(f"None of the {len(entries)} videos can be decoded, for example {_first_reason(failed)}.")
    from data_prep.pack import pack  # tensorflow-datasets takes a second to import; nothing else here needs it

    (out / "manifest.json").unlink(missing_ok=True)
    pack(splits, cache_dir, settings, out / "shards")
    _write_captions(splits, out, cache_dir, settings)
    manifest = {
        "format": FORMAT,
        "dataset": dataset,
        "settings": settings.as_dict(),
        "splits": {
            split: {"videos": len(videos), "captions": sum(len(video.captions) for video in videos)}
            for split, videos in splits.items()
        },
        "failed": failed,
        "decoder": DECODER,
        "fingerprint": mark,
    }
    write_atomically(out / "manifest.json", json.dumps(manifest, indent=1).encode())
    return manifest


def _refuse(failed: dict[str, str], total: int, what: str, entries: Sequence[VideoEntry]) -> None:
    if not failed:
        return
    paths = {entry.video_id: entry.path for entry in entries}
    listed = "; ".join(f"{paths[video_id]} ({reason})" for video_id, reason in list(failed.items())[:SHOWN])
    raise UserError(
        f"{len(failed)} of {total} videos {what}: {listed}{'; …' if len(failed) > SHOWN else ''}."
        " Replace the files, or leave these videos out with allow_missing."
    )


def _first_reason(failed: dict[str, str]) -> str:
    video_id, reason = next(iter(failed.items()))
    return f"{video_id} ({reason})"


def _write_captions(splits: dict[str, list[VideoEntry]], out: Path, cache_dir: Path, settings: FrameSettings) -> None:
    folder = out / "captions"
    folder.mkdir(exist_ok=True)
    for split, entries in splits.items():
        rows = [
            {
                "video_id": entry.video_id,
                "frames": len(read_record(record_path(cache_dir, entry, settings)).frames),
                "captions": [{"id": caption_id, "text": text} for caption_id, text in entry.captions],
            }
            for entry in entries
        ]
        write_atomically(folder / f"{split}.json", json.dumps(rows, indent=1).encode())
