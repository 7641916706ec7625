"""Benchmark of one query: seconds to encode a gallery and to search it with a sentence (CrossTVR, tables 8 and 10).

    python -m benchmarks.one_query [--config=msrvtt:b32] [--systems=clip4clip,crosstvr,…] [--videos=1000] [--json]

Each system, with random parameters, encodes the frames of all videos, then the sentence, and ranks the videos for it;
everything is compiled before. CrossTVR encodes with one vision encoder (`_shared`) or with a second one of the same
size, and rescores the candidates of its first stage. Decoding of video files is not part of it. The papers' numbers are
of an A100; compare rows of one machine.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np

from benchmarks.measure import announce, interleaved, machine, median
from eaglenet_jax.clip.model import Clip
from eaglenet_jax.command import Parser, run_command
from eaglenet_jax.config.loading import load_config
from eaglenet_jax.config.systems import SYSTEMS as CONFIGURED
from eaglenet_jax.draws import Draws
from eaglenet_jax.errors import UserError
from eaglenet_jax.heads.interface import Head, TextFeatures, VideoFeatures
from eaglenet_jax.scoring.encoding import encode_all, make_encode_text, make_encode_video, make_reduce_video, reduce_all
from eaglenet_jax.scoring.gallery import score_gallery
from eaglenet_jax.scoring.rerank import RerankOptions, rerank
from eaglenet_jax.system import build_system

SUMMARY = "Seconds to encode a gallery of videos and to search it with one sentence, system by system."
SHARED = "_shared"
SYSTEMS = "clip4clip,crosstvr,crosstvr_shared,ts2net,crosstvr_ts2net,crosstvr_ts2net_shared,xpool,crosstvr_xpool"
TINY = {"config": "demo:tiny", "systems": "clip4clip,crosstvr,crosstvr_shared", "videos": 6, "batch": 4}


def draws() -> Draws:
    """Return the noise of all systems."""
    return Draws(jax.random.key(0))


@dataclasses.dataclass(frozen=True)
class Gallery:
    """Frames of random numbers: `videos` of them, `batch` at a time."""

    videos: int
    batch: int

    def batches(self, frames: int, size: int) -> list[dict[str, Any]]:
        """Make the batches; all have the same frames, which take as long as others."""
        shape = (self.batch, frames, size, size, 3)
        pixels = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
        rows = np.arange(-(-self.videos // self.batch) * self.batch, dtype=np.uint32).reshape(-1, self.batch)
        mask = np.ones(shape[:2], bool)
        return [{"video_id": row, "frames": pixels, "frame_mask": mask, "valid": row < self.videos} for row in rows]


def timed_parts(config: str, name: str, gallery: Gallery) -> dict[str, Callable[[], Any]]:
    """Build a system → its parts by name: "encode" all videos, "search" them with one sentence."""
    own_encoder = name.startswith("crosstvr") and not name.endswith(SHARED)
    settings = load_config(f"{config}{',' if ':' in config else ':'}{name.removesuffix(SHARED)}")
    clip = build_system(settings).clip
    if name.startswith("crosstvr"):
        sizes = clip.config
        tokens = {"source": "second", "count": sizes.patches + 1, "width": sizes.embed_dim}
        settings.head.tokens = tokens if own_encoder else {"source": "", "count": 0, "width": 0}
    system = build_system(settings)
    params = jax.jit(system.init)(jax.random.key(0))
    batches = gallery.batches(settings.max_frames, clip.config.image_size)
    second = jax.jit(lambda frames, mask: _tokens(clip, params["clip"], frames, mask)) if own_encoder else None
    encode_video, encode_text = make_encode_video(system), make_encode_text(system)
    reduce = make_reduce_video(system.head)

    def video_features(batch: dict[str, Any]) -> VideoFeatures:
        if second is not None:
            batch = batch | {"video_extra": {"tokens": second(batch["frames"], batch["frame_mask"])}}
        return encode_video(params, batch)

    def encode() -> VideoFeatures:
        features = encode_all(video_features, batches)
        return reduce_all(lambda video: reduce(params["head"], video, draws()), features, gallery.batch)

    videos = encode()
    words = np.ones((1, settings.max_words), np.int32)
    words[0, -1] = clip.config.vocab_size - 1

    def search() -> np.ndarray:
        text = jax.device_get(encode_text(params, {"text_id": np.zeros(1, np.uint32), "tokens": words}))
        return ranked(system.head, params["head"], text, videos)

    return {"encode": encode, "search": search}


def _tokens(clip: Clip, params: Any, frames: Any, mask: Any) -> jax.Array:
    found: Any = clip.apply({"params": params}, frames, mask, patches=True, method="encode_video")
    features, patches = found
    return jax.numpy.concatenate([features[:, :, None], patches], axis=2)


def ranked(head: Head, params: Any, text: TextFeatures, videos: VideoFeatures) -> np.ndarray:
    """Rank all videos for one text, best first, as an evaluation does it for texts."""
    first = head.candidate_scorer(params)
    if first is None:
        scores = score_gallery(head, params, text, videos, draws=draws())
    else:
        candidates = score_gallery(first.head, first.params, text, videos, draws=draws())
        options = RerankOptions(first.top_k, combine="add")
        scores = rerank(candidates, head, params, text, videos, draws=draws(), options=options)
    return np.argsort(-scores[0])


def measured(config: str, systems: Sequence[str], gallery: Gallery, rounds: int) -> list[dict[str, Any]]:
    """Return one row a system: median seconds of encoding, of searching, and of both."""
    rows = []
    for name in systems:  # one after the other: all of them do not fit into memory
        announce(name)
        seconds = {
            part: median(times) for part, times in interleaved(timed_parts(config, name, gallery), rounds).items()
        }
        total = sum(seconds.values())
        rows.append({"system": name, **{f"{part}_seconds": value for part, value in seconds.items()}, "seconds": total})
    return rows


def main(arguments: Sequence[str]) -> None:
    """Measure and print."""
    parser = Parser(prog="python -m benchmarks.one_query", description=SUMMARY)
    parser.add_argument("--config", default="msrvtt:b32", help="without a system, default %(default)s")
    parser.add_argument("--systems", default=SYSTEMS, help="with commas between them, default %(default)s")
    parser.add_argument("--videos", type=int, default=1000, help="default %(default)s")
    parser.add_argument("--batch", type=int, default=8, help="videos encoded at a time, default %(default)s")
    parser.add_argument("--rounds", type=int, default=3, help="default %(default)s; medians count")
    parser.add_argument("--tiny", action="store_true", help=f"{TINY['videos']} videos and tiny models, as a test")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    given = parser.parse_args(arguments)
    if given.tiny:
        parser.set_defaults(**TINY)  # what is given beside it counts
        given = parser.parse_args(arguments)
    names = given.systems.split(",")
    unknown = [name for name in names if name.removesuffix(SHARED) not in CONFIGURED]
    if unknown:
        known = f"{', '.join(CONFIGURED)}, or with {SHARED} behind it"
        raise UserError(f"--systems: {', '.join(unknown)} is none of {known}")
    gallery = Gallery(given.videos, given.batch)
    rows = measured(given.config, names, gallery, given.rounds)
    found = {"machine": machine(), "config": given.config, "videos": given.videos, "rows": rows}
    if given.json:
        print(json.dumps(found, indent=1))
        return
    print(f"{given.config}, {given.videos:,} videos, one sentence, on {json.dumps(found['machine'])}")
    print(f"{'':24}{'encoding, s':>13}{'searching, s':>14}{'both, s':>10}")
    for row in rows:
        print(f"{row['system']:24}{row['encode_seconds']:13.2f}{row['search_seconds']:14.3f}{row['seconds']:10.2f}")


if __name__ == "__main__":
    run_command(main)
