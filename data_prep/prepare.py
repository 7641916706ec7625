"""Preparation of annotated videos: `manifest.json`, `captions/{split}.json`, `shards/`, `cache/`.

`cache/` may be deleted once the manifest is written; it saves decoding again when captions or splits change.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

from data_prep.annotations import VideoEntry, check_entries, first_few
from data_prep.cache import PARTS, FillCache, FrameSettings, fill_cache, read_record, record_path
from data_prep.lock import alone_in
from eaglenet_jax.atomic import write_atomically
from eaglenet_jax.data.decode import DECODER, Provenance
from eaglenet_jax.data.video_clock import TICK_SECONDS
from eaglenet_jax.errors import UserError

FORMAT = 1


def fingerprint(entries: Sequence[VideoEntry], settings: FrameSettings) -> str:
    """Hash all ids, splits, captions, intervals and settings."""
    videos = [[e.split, e.video_id, e.captions, *_intervals(e), *_clip(e)] for e in entries]
    content = [FORMAT, settings.as_dict(), videos]
    return hashlib.blake2b(json.dumps(content).encode(), digest_size=16).hexdigest()


def _clip(entry: VideoEntry) -> list[list[float | str | None]]:
    """The part of the file, once; nothing for a whole file, so that older folders stay valid."""
    return [] if entry.clip is None else [[*entry.clip, PARTS]]


def _intervals(entry: VideoEntry) -> list[list[tuple[str, float, float]]]:
    """List the intervals in the order of the captions, once; nothing for none, so that older folders stay valid."""
    told = [
        (name, float(entry.intervals[name][0]), float(entry.intervals[name][1]))
        for name, _ in entry.captions
        if name in entry.intervals
    ]
    return [told] if told else []


def read_manifest(out: Path) -> dict | None:
    """Return the manifest of a folder that is completely prepared, else None."""
    try:
        return json.loads((out / "manifest.json").read_text())
    except (FileNotFoundError, ValueError):
        return None


@dataclasses.dataclass(frozen=True)
class Decoding:
    """How videos are decoded, which changes nothing in what comes out.

    Attributes:
        workers: Processes; None for one a core.
        progress: Whether a bar is shown.
        allow_missing: Leave out videos that are missing or cannot be decoded; they are an error otherwise.
        fill: Decodes into the cache.
    """

    workers: int | None = None
    progress: bool = True
    allow_missing: bool = False
    fill: FillCache = fill_cache

    def __call__(self, entries: Sequence[VideoEntry], cache_dir: Path, settings: FrameSettings) -> dict[str, str]:
        """Decode what the cache lacks → video id → reason, for each that cannot be decoded."""
        return self.fill(entries, cache_dir, settings, workers=self.workers, progress=self.progress)


def prepare(
    entries: Sequence[VideoEntry],
    out: Path,
    about: Mapping[str, Any],
    settings: FrameSettings,
    decoding: Decoding = Decoding(),
) -> dict:
    """Decode into `out/cache`, pack into `out/shards`, and write the manifest last.

    It resumes where a killed run stopped, and does nothing when `out` already holds these entries at these settings. A
    second process waits for the first one. Videos that are left out are listed under "failed" with the reason, and
    tried again by the next call. Files of which a part is lost are listed under "incomplete", those whose times were
    put right under "notes".

    Args:
        entries: Captioned videos.
        out: Folder to prepare.
        about: Into the manifest; "dataset" names the data.
        settings: Which frames are stored, and how.
        decoding: How they are decoded.

    Returns:
        The manifest.

    Raises:
        UserError: for unusable videos and for everything that `check_entries` refuses.
    """
    check_entries(entries)
    settings = dataclasses.replace(settings, fps=float(settings.fps))  # 1 and 1.0 are the same in JSON then
    mark = fingerprint(entries, settings)
    manifest = _current(out, mark, about)
    if manifest is not None and not manifest["failed"]:
        return manifest
    with alone_in(out):
        return _prepare(entries, out, about, settings, decoding)


def _prepare(
    entries: Sequence[VideoEntry], out: Path, about: Mapping[str, Any], settings: FrameSettings, decoding: Decoding
) -> dict:
    mark = fingerprint(entries, settings)
    cache_dir = out / "cache"
    for abandoned in cache_dir.glob("*/.*.tmp"):
        abandoned.unlink()
    manifest = _current(out, mark, about)  # the process that held the lock may have written it
    if manifest is not None:
        before = manifest["failed"]
        again = [entry for entry in entries if entry.video_id in before]
        if decoding(again, cache_dir, settings).keys() == before.keys():
            if not decoding.allow_missing:
                _refuse(before, entries)
            return manifest
    if not decoding.allow_missing:
        # Said before hours of decoding, not after.
        _refuse({entry.video_id: "no such file" for entry in entries if not entry.path.is_file()}, entries)
    failed = decoding(entries, cache_dir, settings)
    gone = (entry for entry in entries if entry.video_id not in failed and not entry.path.is_file())
    failed |= {entry.video_id: "the file vanished during the build" for entry in gone}
    if not decoding.allow_missing or len(failed) == len(entries):
        _refuse(failed, entries)
    splits: dict[str, list[VideoEntry]] = {}
    for entry in entries:
        if entry.video_id not in failed:
            splits.setdefault(entry.split, []).append(entry)

    from data_prep.pack import pack  # tensorflow-datasets takes a second to import; nothing else here needs it

    (out / "manifest.json").unlink(missing_ok=True)
    pack(splits, cache_dir, settings, out / "shards")
    incomplete, notes = _write_captions(splits, out / "captions", cache_dir, settings)
    manifest = {
        "format": FORMAT,
        **about,
        "settings": settings.as_dict(),
        "splits": {
            split: {"videos": len(videos), "captions": sum(len(video.captions) for video in videos)}
            for split, videos in splits.items()
        },
        "left_out": _left_out(entries, failed),
        "failed": failed,
        "incomplete": incomplete,
        "notes": notes,
        "states": _states(entries, failed, incomplete),
        "split_hashes": {split: split_hash(videos) for split, videos in splits.items()},
        "decoder": DECODER,
        "fingerprint": mark,
    }
    write_atomically(out / "manifest.json", json.dumps(manifest, indent=1).encode())
    return manifest


def _current(out: Path, mark: str, about: Mapping[str, Any]) -> dict | None:
    """Return the manifest if it has these values and a state of every video, which older versions did not write."""
    manifest = read_manifest(out)
    if manifest is None or "states" not in manifest or manifest["fingerprint"] != mark:
        return None
    return manifest if all(manifest.get(name) == value for name, value in about.items()) else None


def split_hash(entries: Sequence[VideoEntry]) -> str:
    """Hash the set of videos, regardless of their order and captions."""
    ids = "\n".join(sorted(entry.video_id for entry in entries))
    return hashlib.blake2b(ids.encode(), digest_size=8).hexdigest()


def _left_out(entries: Sequence[VideoEntry], failed: Mapping[str, str]) -> dict[str, dict[str, int]]:
    """Count videos and captions that are not in the shards, by split; an evaluation has to count them as misses."""
    gone: dict[str, dict[str, int]] = {}
    for entry in entries:
        if entry.video_id in failed:
            counts = gone.setdefault(entry.split, {"videos": 0, "captions": 0})
            counts["videos"] += 1
            counts["captions"] += len(entry.captions)
    return gone


def _states(
    entries: Sequence[VideoEntry], failed: Mapping[str, str], incomplete: Mapping[str, str]
) -> dict[str, dict[str, str]]:
    """Return split → video id → "complete", "incomplete: why" or "left out: why"."""
    states: dict[str, dict[str, str]] = {}
    for entry in entries:
        state = "complete"
        if entry.video_id in failed:
            state = f"left out: {failed[entry.video_id]}"
        elif entry.video_id in incomplete:
            state = f"incomplete: {incomplete[entry.video_id]}"
        states.setdefault(entry.split, {})[entry.video_id] = state
    return states


def _refuse(failed: Mapping[str, str], entries: Sequence[VideoEntry]) -> None:
    if not failed:
        return
    named = [f"{e.video_id} at {e.path} ({failed[e.video_id]})" for e in entries if e.video_id in failed]
    remedy = "Replace the files, or leave these videos out: data_prep.build without --strict, data_prep --allow-missing"
    if len(failed) == len(entries):
        remedy = "None is left: give the folder of the videos"
    raise UserError(
        f"{len(failed)} of {len(entries)} videos are missing or cannot be decoded: {first_few(named)}. {remedy}."
    )


def _write_captions(
    splits: Mapping[str, Sequence[VideoEntry]], folder: Path, cache_dir: Path, settings: FrameSettings
) -> tuple[dict[str, str], dict[str, str]]:
    """Write one JSON file a split, rows in the order of the records.

    Returns:
        Video id → what is missing of broken files, and video id → what was wrong with the times of others.
    """
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    incomplete, notes = {}, {}
    for split, entries in splits.items():
        rows = []
        for entry in entries:
            video = read_record(record_path(cache_dir, entry, settings))
            if video.provenance["incomplete"] is not None:
                incomplete[entry.video_id] = str(video.provenance["incomplete"])
            if video.provenance.get("notes") is not None:
                notes[entry.video_id] = str(video.provenance["notes"])
            captions: list[dict[str, Any]] = [{"id": caption_id, "text": text} for caption_id, text in entry.captions]
            row: dict[str, Any] = {"video_id": entry.video_id, "frames": len(video.frames), "captions": captions}
            for caption in captions:
                if caption["id"] in entry.intervals:
                    caption["interval"] = [float(second) for second in entry.intervals[caption["id"]]]
            row |= _clock(video.provenance, settings, exact=bool(entry.intervals))
            rows.append(row)
        write_atomically(folder / f"{split}.json", json.dumps(rows, indent=1).encode())
    return incomplete, notes


def _clock(provenance: Provenance, settings: FrameSettings, exact: bool) -> dict[str, Any]:
    """Return what says when a video's frames stand, nothing where frame k is at k / fps seconds.

    Args:
        provenance: Of the video.
        settings: As it was decoded.
        exact: Whether captions have intervals, so that less than half a step matters.
    """
    times, step = cast(list[float], provenance["times"]), 1 / settings.fps
    most = TICK_SECONDS if exact else step / 2
    is_even = all(abs(time - number * step) <= most for number, time in enumerate(times))
    return {} if is_even else {"times": times}
