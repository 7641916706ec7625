"""Examination of a dataset's files before hours are spent on building it."""

from __future__ import annotations

import dataclasses
import itertools
import math
import shutil
import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import numpy as np

from data_prep.annotations import VideoEntry, entry_faults, first_few
from data_prep.assemble import Assembly
from data_prep.cache import FrameSettings, decode_entry
from data_prep.parallel import map_in_processes
from data_prep.probe import Probe, probe
from eaglenet_jax.data.decode import DecodeError
from eaglenet_jax.wording import caption_key, counted

TRIAL_VIDEOS = 8
# Every frame is in the cache and in the shards until the cache is deleted.
COPIES_ON_DISK = 2
# Slow-motion cameras record 240; higher values come from headers that state a clock instead of a rate.
HIGHEST_RATE = 240
MOST_OFF = 1.0  # seconds; counting frames at an even rate is off by less in nearly all short videos


@dataclasses.dataclass(frozen=True)
class Finding:
    """One result of the examination.

    Attributes:
        what: One line for the user.
        changes_results: Whether numbers would differ from those of the complete dataset.
        split: The split, if it concerns one.
        ids: Videos, captions or files that it concerns.
    """

    what: str
    changes_results: bool
    split: str = ""
    ids: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True)
class SplitState:
    """Counts of one split.

    Attributes:
        expected: Videos that its annotations name, of which the following are parts.
        captions: Captions.
        present: Videos with a file.
        missing: Videos without a file.
        undecodable: Videos whose file cannot be decoded.
        too_short: Videos that give only one frame.
    """

    expected: int
    captions: int
    present: int
    missing: int
    undecodable: int
    too_short: int


@dataclasses.dataclass(frozen=True)
class Estimate:
    """Cost of building.

    Attributes:
        video_hours: Hours of video.
        frames: Frames to store.
        bytes_needed: On disk.
        bytes_free: On disk.
        seconds: Time with `workers` processes.
        workers: Processes.
    """

    video_hours: float
    frames: int
    bytes_needed: int
    bytes_free: int
    seconds: float
    workers: int


@dataclasses.dataclass(frozen=True)
class Examination:
    """Everything that the doctor reports.

    Attributes:
        annotated: Videos by split, before any are held out.
        splits: Counts by split, after that.
        facts: Further counts by name.
        findings: Results of all checks.
        estimate: Cost of building, None without a usable video.
    """

    annotated: Mapping[str, int]
    splits: Mapping[str, SplitState]
    facts: Mapping[str, int]
    findings: tuple[Finding, ...]
    estimate: Estimate | None

    @property
    def is_sound(self) -> bool:
        """Whether nothing would change results."""
        return not any(finding.changes_results for finding in self.findings)


def examine(
    assembly: Assembly, settings: FrameSettings, out: Path, *, workers: int, progress: bool = True
) -> Examination:
    """Read every file's header and first frame, and decode a few files completely to time it."""
    present = [entry for entry in assembly.entries if entry.path.is_file()]
    results = map_in_processes(_probe, present, workers=workers, title="Looking at videos", progress=progress)
    probes = dict(results)
    usable = [(entry, probes[entry.video_id]) for entry in present if probes[entry.video_id].reason is None]
    spans = {entry.video_id: _span(entry, found, settings) for entry, found in usable}
    splits = {}
    findings = [*annotation_findings(assembly)]
    if assembly.entries and not present:
        folders = sorted({str(entry.path.parent) for entry in assembly.entries})
        findings.append(Finding(f"none of the videos is in {first_few(folders)}: is it the right --videos?", True))
    for split, videos in assembly.splits.items():
        entries = [entry for entry in assembly.entries if entry.split == split]
        missing = [e.video_id for e in entries if e.video_id not in probes]
        found = {e.video_id: probes[e.video_id] for e in entries if e.video_id in probes}
        broken = {name: p.reason for name, p in found.items() if p.reason is not None}
        steps = {name: round((spans[name][1] - spans[name][0]) * settings.fps, 6) for name in found if name in spans}
        short = [name for name, count in steps.items() if 0 < count < 1]
        behind = [name for name in steps if spans[name][0] >= spans[name][1] > 0]
        fast = [name for name, p in found.items() if p.rate > HIGHEST_RATE]
        captions = sum(len(video.captions) for video in videos)
        splits[split] = SplitState(len(videos), captions, len(found), len(missing), len(broken), len(short))
        if missing:
            findings.append(Finding(f"{counted(len(missing), 'missing video')}", True, split, tuple(missing)))
        if broken:
            ids = tuple(f"{name} ({reason})" for name, reason in broken.items())
            findings.append(Finding(f"{counted(len(broken), 'video')} cannot be decoded", True, split, ids))
        if short:
            findings.append(Finding(f"{counted(len(short), 'video')} of one frame only", False, split, tuple(short)))
        if behind:
            text = f"{counted(len(behind), 'video')} whose part begins at or after the stated end of the file"
            findings.append(Finding(text, True, split, tuple(behind)))
        if fast:
            text = f"{counted(len(fast), 'video')} with a stated rate above {HIGHEST_RATE} frames a second"
            if not settings.timestamps:
                findings.append(Finding(f"{text}: leave out --released-frames", True, split, tuple(fast)))
        findings += _clock_findings(split, found, settings)
    if assembly.several_files:
        text = f"{counted(len(assembly.several_files), 'video')} with several files; the first readable one is taken"
        taken = tuple(f"{name} ({files[0]})" for name, files in assembly.several_files.items())
        findings.append(Finding(text, False, "", taken))
    if assembly.unreadable:
        text = f"{counted(len(assembly.unreadable), 'folder')} cannot be read: passed over"
        findings.append(Finding(text, True, "", tuple(f"{n} ({why})" for n, why in assembly.unreadable.items())))
    if assembly.unused:
        text = f"{counted(len(assembly.unused), 'video file')} of no video of these splits"
        findings.append(Finding(text, False, "", tuple(path.name for path in assembly.unused)))
    estimate = _estimate([(entry, spans[entry.video_id]) for entry, _ in usable], settings, out, workers)
    if estimate and estimate.bytes_needed > estimate.bytes_free:
        text = f"{estimate.bytes_needed / 1e9:.1f} GB are needed, {estimate.bytes_free / 1e9:.1f} GB are free at {out}"
        findings.append(Finding(text, True))
    facts = dict(assembly.annotations.facts)
    facts["groups of identical captions in test"] = len(_shared_captions(assembly))
    annotated = {split: len(videos) for split, videos in assembly.annotations.splits.items()}
    return Examination(annotated, splits, facts, tuple(findings), estimate)


def annotation_findings(assembly: Assembly) -> Iterator[Finding]:
    """Generate the findings from the annotation files alone."""
    found = assembly.annotations
    for split, names in found.absent.items():
        yield Finding(f"no {names}", True, split)
    for split, ids in found.repeated.items():
        yield Finding(f"{counted(len(ids), 'id')} listed more than once; the first is taken", True, split, ids)
    if found.wordless:
        yield Finding(f"{counted(len(found.wordless), 'caption')} without a word, left out", True, "", found.wordless)
    for split, ids in assembly.uncaptioned.items():
        yield Finding(f"{counted(len(ids), 'listed video')} without a caption, left out", True, split, ids)
    for split, (videos, captions) in {} if assembly.is_fake else assembly.variant.expected.items():
        if split not in found.splits:
            if split not in found.absent:
                yield Finding("the split is missing", True, split)
            continue
        counts = (len(found.splits[split]), sum(len(video.captions) for video in found.splits[split]))
        for count, expected, what in zip(counts, (videos, captions), ("videos", "captions"), strict=True):
            if expected is not None and count != expected:
                yield Finding(f"{count} {what} in the annotations, the complete files have {expected}", True, split)
    for first, second in itertools.combinations(assembly.splits, 2):
        both = {v.video_id for v in assembly.splits[first]} & {v.video_id for v in assembly.splits[second]}
        if both:
            text = f"{counted(len(both), 'video')} in {first} and in {second}; build refuses that"
            yield Finding(text, True, "", tuple(sorted(both)))
    shared = _shared_captions(assembly)
    if shared:
        text = f"{counted(len(shared), 'caption')} of two or more videos, which no system can distinguish"
        yield Finding(text, False, "test", tuple(shared))
    for split in assembly.held_out:
        held = len(assembly.splits[split])
        yield Finding(f"{counted(held, 'training video')} held out as {split}, by the hash of the id", False, split)
    for split in ("train", "val") if assembly.spec.is_table else ():
        if split not in assembly.splits:
            yield Finding(f"there is no {split}, which training needs", True, split)
    for fault in entry_faults(assembly.entries):
        yield Finding(f"build refuses this: {fault}", True)


def _shared_captions(assembly: Assembly) -> list[str]:
    """Return the captions of the test split that several videos have, each as it stands first."""
    owners: dict[str, dict[str, str]] = {}
    for video in assembly.splits.get("test", ()):
        for _, text in video.captions:
            owners.setdefault(caption_key(text), {}).setdefault(video.video_id, text)
    return [next(iter(videos.values())) for videos in owners.values() if len(videos) > 1]


def _probe(entry: VideoEntry) -> tuple[str, Probe]:
    return entry.video_id, probe(entry.path, all_times=True)


def _clock_findings(split: str, found: Mapping[str, Probe], settings: FrameSettings) -> Iterator[Finding]:
    """Say how many videos have a rate that varies, how far counting frames is off, and where pictures begin late."""
    taken = "frames are taken by their times" if settings.timestamps else "frames are counted, as released"
    kinds = {
        "of a variable frame rate": {name: p.counting_off for name, p in found.items() if p.varies},
        "of an even rate that is no whole number": {
            name: p.counting_off for name, p in found.items() if not p.varies and p.counting_off > MOST_OFF
        },
    }
    for what, off in kinds.items():
        if off:
            amount = (
                f"by up to {max(off.values()):.1f} s, by {float(np.median(list(off.values()))):.1f} s in the median"
            )
            videos = counted(len(off), "video")
            ids = tuple(f"{name} ({off[name]:.1f} s)" for name in sorted(off, key=lambda name: -off[name]))
            yield Finding(f"{videos} {what}: counting frames is off {amount}; {taken}", False, split, ids)
    late = {name: p.begins for name, p in found.items() if p.begins > MOST_OFF}
    if late:
        ids = tuple(f"{name} ({late[name]:.1f} s)" for name in sorted(late, key=lambda name: -late[name]))
        yield Finding(f"{counted(len(late), 'video')} with pictures that begin later than the sound", False, split, ids)


def _span(entry: VideoEntry, found: Probe, settings: FrameSettings) -> tuple[float, float]:
    """Return the seconds of its file at which a video starts and ends; the end is 0 where nothing states it."""
    start, end = entry.clip or (0.0, None)
    stated = [second for second in (found.seconds, end) if second]
    return start, min(*stated, settings.first_seconds or math.inf) if stated else 0.0


def _estimate(
    usable: list[tuple[VideoEntry, tuple[float, float]]], settings: FrameSettings, out: Path, workers: int
) -> Estimate | None:
    """Extrapolate from a few videos that are decoded as build does, chosen evenly by the second at which they end.

    A file is read from its start to that second, of which the time is made; None without a usable video.
    """
    if not usable:
        return None
    by_end = sorted(usable, key=lambda pair: pair[1][1])
    step = max(1, len(by_end) // TRIAL_VIDEOS)
    trial = by_end[step // 2 :: step][:TRIAL_VIDEOS]
    spent, read, sizes = 0.0, 0.0, []
    for entry, (_, end) in trial:
        start = time.perf_counter()
        sizes += [len(frame) for frame in _trial_frames(entry, settings)]
        spent += time.perf_counter() - start
        read += end
    frames = sum(_frames_within(span, settings.fps) for _, span in usable)
    mean_bytes = sum(sizes) / len(sizes) if sizes else 0.0
    more = sum(end for _, (_, end) in usable) / read if read else len(usable) / len(trial)
    free = shutil.disk_usage(next(folder for folder in (out, *out.absolute().parents) if folder.is_dir())).free
    hours = sum(max(0.0, end - start) for _, (start, end) in usable) / 3600
    return Estimate(hours, frames, int(frames * mean_bytes * COPIES_ON_DISK), free, spent * more / workers, workers)


def _frames_within(span: tuple[float, float], fps: float) -> int:
    """Count the seconds k / fps from a start to an end; at least one, since a short video gives one frame."""
    first, behind = (math.ceil(round(second * fps, 6)) for second in span)
    return max(1, behind - first)


def _trial_frames(entry: VideoEntry, settings: FrameSettings) -> Iterable[bytes]:
    try:
        return decode_entry(entry, settings).frames
    except DecodeError:
        return ()
