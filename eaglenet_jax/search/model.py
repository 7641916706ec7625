"""The model of an index: a trained model, with what search needs besides encoding and scoring."""

from __future__ import annotations

import dataclasses
import functools
import os
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from eaglenet_jax.data.frame_sampling import pick_frames
from eaglenet_jax.data.records import token_id
from eaglenet_jax.draws import Draws
from eaglenet_jax.errors import UserError
from eaglenet_jax.heads.interface import Head, TextFeatures, VideoFeatures
from eaglenet_jax.model import Model, model_fields
from eaglenet_jax.scoring.encoding import make_encode_text, make_encode_video
from eaglenet_jax.scoring.host import padded_rows, row_count, to_host
from eaglenet_jax.search.rows import StoreSettings

DEMO_ONLY = (
    "note: the demo model knows only MovingShapes (coloured shapes that move); what it finds in other videos is chance"
)
RERANK_BLOCK = 32  # candidates that the head scores at a time: one compiled program for every depth


@dataclasses.dataclass(frozen=True, eq=False)
class SearchModel(Model):
    """A model that encodes windows of videos and scores one query with stored windows."""

    @property
    def reranks(self) -> bool:
        """Whether the head needs nothing but the query's words and the frame features that an index keeps."""
        head = self.system.head
        return not (head.uses_patches or head.text_extra(1) or head.video_extra(1))

    def window_frames(self, pictures: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        """Choose the frames that the encoder reads of a window.

        Args:
            pictures: Its pictures, [size, size, 3] uint8 each.

        Returns:
            The frames, [M, size, size, 3] uint8 with zeros after the chosen ones, and which pictures these are,
            [at most M].
        """
        frames = np.zeros((self.system.max_frames, self.size, self.size, 3), np.uint8)
        picked = pick_frames(len(pictures), self.system.max_frames)
        frames[: len(picked)] = [pictures[position] for position in picked]
        return frames, picked

    def encode_windows(self, frames: np.ndarray, counts: Sequence[int]) -> VideoFeatures:
        """Encode windows; the same number of them runs the same compiled program.

        Args:
            frames: [B, M, size, size, 3] uint8.
            counts: Number of real frames of each window, which come first.

        Returns:
            Features on the device, B rows, without patches.
        """
        mask = np.arange(frames.shape[1]) < np.asarray(counts)[:, None]
        batch = {"video_id": np.arange(len(frames), dtype=np.uint32), "frames": frames, "frame_mask": mask}
        # An index keeps no patches; a head that needs them searches by its encoders alone.
        return dataclasses.replace(make_encode_video(self.system)(self.params, batch), patches=None)

    def encode_query(self, text: str) -> TextFeatures:
        """Encode one sentence.

        Returns:
            Features on the device, one row.

        Raises:
            UserError: It has no words.
        """
        codes = self.tokenizer.codes(text)
        if not codes:
            raise UserError(f"the query {text!r} has no words; describe what is to be seen")
        tokens = self.tokenizer.rows([codes])
        return make_encode_text(self.system)(
            self.params, {"text_id": np.array([token_id(tokens[0])], np.uint32), "tokens": tokens}
        )

    def words_cut(self, text: str) -> int:
        """Return the number of tokens at the end of a query that the model does not read."""
        return max(0, len(self.tokenizer.codes(text)) - (self.system.max_words - 2))

    def score_windows(self, query: TextFeatures, windows: VideoFeatures) -> tuple[np.ndarray, np.ndarray | None]:
        """Score one query with windows by the head, in blocks of one size, so that all N share a compiled program.

        Args:
            query: One row.
            windows: N rows.

        Returns:
            Similarities [N], and weights of the frames [N, M], None for a head without them.
        """
        prepare, score = _head_functions(self.system.head)
        count = row_count(windows)
        parts = []
        for start in range(0, count, RERANK_BLOCK):
            rows = padded_rows(start, RERANK_BLOCK, count)
            block = jax.tree.map(lambda leaf, rows=rows: leaf[rows], windows)
            parts.append(score(self.params["head"], query, prepare(self.params["head"], block), self.draws))
        similarity, *weights = (np.concatenate(leaves)[:count] for leaves in zip(*map(to_host, parts), strict=True))
        return similarity, weights[0] if weights else None


@functools.lru_cache(maxsize=4)
def _head_functions(head: Head) -> tuple[Any, Any]:
    """Return prepare(params, windows) → V and score(params, query, V, draws) → (similarity [N], weights [N, M] if any).

    Both are compiled once for each head.
    """

    def prepare(params: Any, windows: VideoFeatures) -> Any:
        return head.apply({"params": params}, windows, method="prepare_video")

    def score(params: Any, query: TextFeatures, videos: Any, draws: Draws) -> tuple[jax.Array, ...]:
        text = head.apply({"params": params}, query, method="prepare_text")
        scores: Any = head.apply({"params": params}, text, videos, draws, True, method="score")
        weights = scores.aux.get("frame_weights")
        return (scores.similarity[0],) if weights is None else (scores.similarity[0], weights[0])

    return jax.jit(prepare), jax.jit(score)


def mean_of_frames(frames: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Return the unit mean of unit frame features over real frames, CLIP4Clip's pooling.

    Its cosine with a text ranks all windows of an index, whatever the model.

    Args:
        frames: [N, M, d].
        mask: [N, M], true for real frames.

    Returns:
        [N, d] float32.
    """
    return unit(np.where(mask[..., None], unit(frames), 0).sum(axis=1))


def unit(x: np.ndarray) -> np.ndarray:
    """Return vectors [..., d] scaled to length 1, float32; zeros stay zeros."""
    x = np.asarray(x, np.float32)
    length = np.linalg.norm(x, axis=-1, keepdims=True)
    return x / np.where(length > 0, length, 1)


def open_model_of(settings: StoreSettings, uri: str, checkpoint: str) -> SearchModel:
    """Open the model of an existing index.

    Args:
        settings: Settings of the index.
        uri: The index, for the errors.
        checkpoint: Where its model is.

    Raises:
        UserError: The model cannot be opened, or is not that of the index.
    """
    try:
        model = open_model(checkpoint)
    except UserError as error:
        raise UserError(f"--checkpoint={checkpoint}, the model of {uri}, cannot be opened: {error}") from error
    if model.identity != settings.model_id:
        raise UserError(
            f"{uri} was made with the model {settings.model_id}, {checkpoint} holds {model.identity}; give the "
            "--checkpoint it was made with, or make a new index"
        )
    return model


def open_model(source: str | os.PathLike[str]) -> SearchModel:
    """Load a model for search; arguments and errors as of `eaglenet_jax.load`."""
    return SearchModel(**model_fields(source))
