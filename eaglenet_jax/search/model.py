"""The model behind an index: encoders and head of a checkpoint, whichever form it has."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import traverse_util

from eaglenet_jax.config.loading import as_plain
from eaglenet_jax.data.frame_sampling import pick_frames
from eaglenet_jax.data.records import token_id
from eaglenet_jax.data.tokenizer import Tokenizer
from eaglenet_jax.draws import Draws
from eaglenet_jax.errors import UserError
from eaglenet_jax.heads.interface import Head, TextFeatures, VideoFeatures
from eaglenet_jax.port.load import load_clip
from eaglenet_jax.registry import head_class
from eaglenet_jax.runs.start import check_shapes
from eaglenet_jax.runs.workdir import has_checkpoints, load_checkpoint
from eaglenet_jax.scoring.encoding import make_encode_text, make_encode_video
from eaglenet_jax.scoring.host import padded_rows, row_count, to_host
from eaglenet_jax.search.export import PARAMETER_FILE, read_export
from eaglenet_jax.system import System, build_system

DEMO, DEMO_MODEL = "demo", Path(__file__).parent / "demo_model"  # its name as a checkpoint, and where it is
DEMO_ONLY = (
    "note: the demo model knows only MovingShapes (coloured shapes that move); what it finds in other videos is chance"
)
CLIP_FRAMES = 12  # a window, for a CLIP that was trained on pictures alone
RERANK_BLOCK = 32  # candidates that the head scores at a time: one compiled program for every depth

# The part of a config that says how a query and a window are encoded and scored.
SETTINGS = ("name", "system", "preset", "clip", "head", "max_words", "max_frames")


@dataclasses.dataclass(frozen=True)
class SearchModel:
    """Encoders and head with their parameters.

    settings: what `model_settings` takes from a config. params: float32, on the device. source: where it was opened.
    identity: the system's name and a hash of settings and parameters; features of another identity do not compare.
    """

    settings: Mapping[str, Any]
    system: System
    params: Any
    source: str
    identity: str

    @property
    def width(self) -> int:
        """d, of the features."""
        return self.system.clip.config.embed_dim

    @property
    def fps(self) -> float:
        """Pictures a second that windows are sampled with."""
        return float(self.settings["fps"])

    @property
    def is_demo(self) -> bool:
        """Whether it is the model of MovingShapes that ships with the package."""
        return self.source == DEMO

    @property
    def size(self) -> int:
        """Pixels of a picture's side."""
        return self.system.clip.config.image_size

    @property
    def reranks(self) -> bool:
        """Whether the head needs nothing but the query's words and the frame features that an index keeps."""
        head = self.system.head
        return not (head.uses_patches or head.text_extra(1) or head.video_extra(1))

    @functools.cached_property
    def tokenizer(self) -> Tokenizer:
        """CLIP's, with the length of row that the model was trained with."""
        return Tokenizer(self.system.max_words)

    def window_frames(self, pictures: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        """What the encoder sees of a window's pictures: [M, size, size, 3] uint8, and which are taken, [≤ M]."""
        frames = np.zeros((self.system.max_frames, self.size, self.size, 3), np.uint8)
        picked = pick_frames(len(pictures), self.system.max_frames)
        frames[: len(picked)] = [pictures[position] for position in picked]
        return frames, picked

    def encode_windows(self, frames: np.ndarray, counts: Sequence[int]) -> VideoFeatures:
        """Features of windows on the device. frames: [B, M, size, size, 3] uint8, of which the first `counts` are real.

        The same B runs the same compiled program.
        """
        mask = np.arange(frames.shape[1]) < np.asarray(counts)[:, None]
        batch = {"video_id": np.arange(len(frames), dtype=np.uint32), "frames": frames, "frame_mask": mask}
        # An index keeps no patches; a head that needs them searches by its encoders alone.
        return dataclasses.replace(make_encode_video(self.system)(self.params, batch), patches=None)

    def encode_query(self, text: str) -> TextFeatures:
        """Features of one query, rows [1, …]. UserError for one without a word."""
        codes = self.tokenizer.codes(text)
        if not codes:
            raise UserError(f"the query {text!r} has no words; describe what is to be seen")
        tokens = self.tokenizer.rows([codes])
        return make_encode_text(self.system)(
            self.params, {"text_id": np.array([token_id(tokens[0])], np.uint32), "tokens": tokens}
        )

    def words_cut(self, text: str) -> int:
        """How many byte-pair codes at the end of a query the model does not read."""
        return max(0, len(self.tokenizer.codes(text)) - (self.system.max_words - 2))

    def score(self, query: TextFeatures, windows: VideoFeatures) -> tuple[np.ndarray, np.ndarray | None]:
        """The head's similarity of one query with windows, [N], and its weights of their frames, [N, M], or None.

        Windows are scored in blocks of one size, so depths share a compiled program.
        """
        prepare, score = _head_functions(self.system.head)
        draws = Draws(jax.random.key(self.settings["evaluation"]["seed"]), noise=self.settings["evaluation"]["noise"])
        count = row_count(windows)
        parts = []
        for start in range(0, count, RERANK_BLOCK):
            rows = padded_rows(start, RERANK_BLOCK, count)
            block = jax.tree.map(lambda leaf, rows=rows: leaf[rows], windows)
            parts.append(score(self.params["head"], query, prepare(self.params["head"], block), draws))
        similarity, *weights = (np.concatenate(leaves)[:count] for leaves in zip(*map(to_host, parts), strict=True))
        return similarity, weights[0] if weights else None


@functools.lru_cache(maxsize=4)
def _head_functions(head: Head) -> tuple[Any, Any]:
    """(prepare(params, windows) → V, score(params, query, V, draws) → (similarity [N], weights [N, M] if any))."""

    def prepare(params: Any, windows: VideoFeatures) -> Any:
        return head.apply({"params": params}, windows, method="prepare_video")

    def score(params: Any, query: TextFeatures, videos: Any, draws: Draws) -> tuple[jax.Array, ...]:
        text = head.apply({"params": params}, query, method="prepare_text")
        scores: Any = head.apply({"params": params}, text, videos, draws, True, method="score")
        weights = scores.aux.get("frame_weights")
        return (scores.similarity[0],) if weights is None else (scores.similarity[0], weights[0])

    return jax.jit(prepare), jax.jit(score)


def mean_of_frames(frames: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """The unit mean of unit frame features over real frames: [N, M, d], [N, M] → [N, d] float32. CLIP4Clip's pooling;
    the cosine with a text is the first stage of every model here.
    """
    return unit(np.where(mask[..., None], unit(frames), 0).sum(axis=1))


def unit(x: np.ndarray) -> np.ndarray:
    """Vectors [..., d] at length 1, float32; zeros stay."""
    x = np.asarray(x, np.float32)
    length = np.linalg.norm(x, axis=-1, keepdims=True)
    return x / np.where(length > 0, length, 1)


def model_settings(config: Any, fps: float = 1.0) -> dict[str, Any]:
    """What search keeps of a run's config, as JSON holds it. fps: frames a second of the data it was trained on."""
    plain = as_plain(config)
    evaluation = {name: plain["evaluation"][name] for name in ("noise", "seed")}
    return {**{name: plain[name] for name in SETTINGS}, "evaluation": evaluation, "fps": fps}


def open_model(source: str | os.PathLike[str]) -> SearchModel:
    """A work directory of a run (its best checkpoint), a folder of `search export`, "demo" for the model of
    MovingShapes that ships with the package, or a Hugging Face CLIP as folder or name, which searches by CLIP4Clip's
    mean. UserError for what is none of them or does not fit.
    """
    folder = Path(source)
    if str(source) == DEMO and not folder.exists():
        folder = DEMO_MODEL
    if has_checkpoints(folder):
        settings, params = read_workdir(folder)
    elif (folder / PARAMETER_FILE).is_file():
        settings, params = read_export(folder)
    else:
        settings, params = _clip_alone(str(source))
    system = build_system(settings)
    check_shapes(jax.eval_shape(system.init, jax.random.key(0)), params, f"--checkpoint={source}")
    where = str(folder.absolute()) if folder.exists() else str(source)
    where = DEMO if folder == DEMO_MODEL else where
    identity = _identity(settings, params)
    params = jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float32), params)
    return SearchModel(settings, system, params, where, identity)


def read_workdir(folder: Path) -> tuple[dict[str, Any], Any]:
    """Settings and parameters of a run's best checkpoint."""
    loaded = load_checkpoint(folder)
    # Older runs did not note it: the demo's config has it, other data have one frame a second by default.
    fps = loaded.config.data.get("fps", 1.0) if loaded.fps is None else loaded.fps
    return model_settings(loaded.config, fps), loaded.params


def _clip_alone(source: str) -> tuple[dict[str, Any], Any]:
    clip, params, logit_scale = load_clip(source)
    settings = {
        "name": Path(source).name,
        "system": "clip4clip",
        "preset": "ours",
        "clip": as_plain(dataclasses.asdict(clip)),
        "head": head_class("clip4clip").options(),
        "max_words": clip.context_length,
        "max_frames": CLIP_FRAMES,
        "evaluation": {"noise": "per_text", "seed": 0},
        "fps": 1.0,
    }
    return settings, {"clip": params["clip"], "head": {"matching_loss": {"logit_scale": np.reshape(logit_scale, ())}}}


def _identity(settings: Mapping[str, Any], params: Any) -> str:
    """The system's name and a hash that changes with anything that changes features or scores."""
    computed = {name: value for name, value in settings.items() if name not in ("name", "preset")}
    digest = hashlib.blake2b(json.dumps(computed, sort_keys=True).encode(), digest_size=6)
    for name, leaf in sorted(traverse_util.flatten_dict(params, sep="/").items()):
        values = np.ascontiguousarray(leaf, np.float32)
        digest.update(f"{name} {values.shape}".encode())
        digest.update(values.tobytes())
    return f"{settings['system']}-{digest.hexdigest()}"
