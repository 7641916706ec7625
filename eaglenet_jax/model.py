"""A trained model to use: load it, encode texts and videos, score them."""

from __future__ import annotations

import dataclasses
import functools
import os
import warnings
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import jax
import numpy as np
from flax import traverse_util

from eaglenet_jax.data.decode import Sampling
from eaglenet_jax.data.records import example_ids, token_id
from eaglenet_jax.data.single_video import FrameRule, Video, VideoFrames, read_video
from eaglenet_jax.data.syntax import Syntax, cut_report, syntax_arrays, word_counts
from eaglenet_jax.data.tokenizer import Tokenizer
from eaglenet_jax.draws import Draws
from eaglenet_jax.errors import UserError
from eaglenet_jax.heads.interface import TextFeatures, VideoFeatures
from eaglenet_jax.runs.initial_parameters import as_float32
from eaglenet_jax.runs.model_formats import DEMO, read_model
from eaglenet_jax.scoring.both_directions import score_both_ways
from eaglenet_jax.scoring.encoding import encode_all, make_encode_text, make_encode_video
from eaglenet_jax.scoring.host import padded_rows
from eaglenet_jax.system import System, build_system

TEXT_BATCH, VIDEO_BATCH = 64, 8  # the most that are encoded at a time
READERS = 4  # threads that decode files

# How to make what a head reads of a text or video besides its words and frames.
EXTRA_HINTS = {
    "syntax": "extra={'syntax': parse_captions(texts, parser)} with data_prep.syntax.storing.parse_captions and a "
    "parser of data_prep.syntax.parsing (load_spacy, or grammar_parser for MovingShapes)",
    "tokens": "extra={'tokens': …}, an array of the tokens of the vision encoder that the head names (second_encoder)",
}


@dataclasses.dataclass(frozen=True, eq=False)
class Model:
    """Encoders and head with their parameters; `load` opens one.

    Attributes:
        settings: The part of the config that says how texts and videos are encoded and scored, as
            `runs.stored_model.model_settings` takes it.
        system: Encoders and head.
        params: Their parameters {"clip": …, "head": …}, float32, on the device.
        source: Where the model was loaded from.
        identity: The system's name and a hash of settings and parameters. Features of models with different identities
            do not compare.
    """

    settings: Mapping[str, Any]
    system: System
    params: Any = dataclasses.field(repr=False)
    source: str
    identity: str

    @property
    def width(self) -> int:
        """Size d of the features."""
        return self.system.clip.config.embed_dim

    @property
    def fps(self) -> float:
        """Frames a second that are taken of a video file."""
        return float(self.settings["fps"])

    @property
    def size(self) -> int:
        """Height and width of the frames that the encoder reads, in pixels."""
        return self.system.clip.config.image_size

    @property
    def is_demo(self) -> bool:
        """Whether it is the MovingShapes model that ships with the package."""
        return self.source == DEMO

    @functools.cached_property
    def tokenizer(self) -> Tokenizer:
        """CLIP's tokenizer, with rows of the length that the model was trained with."""
        return Tokenizer(self.system.max_words)

    @property
    def draws(self) -> Draws:
        """The noise of an evaluation, by the settings' seed."""
        evaluation = self.settings["evaluation"]
        return Draws(jax.random.key(evaluation["seed"]), noise=evaluation["noise"])

    def encode_text(
        self,
        texts: str | Sequence[str],
        *,
        ids: Sequence[str] | None = None,
        extra: Mapping[str, Any] | None = None,
    ) -> TextFeatures:
        """Encode texts.

        Batches are filled up to a power of two, so few programs are compiled for any number of texts.

        Args:
            texts: B texts; a single one is a list of one. Warns of texts with more than max_words token codes, which
                are cut.
            ids: B dataset ids, all different, which key the noise of a head that draws noise: with the ids of a dataset
                scores are those of its evaluation. By default a text's noise is keyed by its token codes.
            extra: What the head reads of a text besides its words, by the names of `Head.text_extra`: arrays [B, …],
                or, as "syntax", B parses of `data_prep.syntax.storing.parse_captions`.

        Returns:
            Features in host memory, B rows: `pooled` [B, d] float32, not normalised; `words` [B, L, d] if the head
            reads them.

        Raises:
            UserError: There is no text, one is no string or has no words, or ids or extra do not fit.
        """
        texts = [texts] if isinstance(texts, str) else list(texts)
        if wrong := [text for text in texts if not isinstance(text, str)]:
            raise UserError(f"{wrong[0]!r} is no text; give a string or a list of strings")
        codes = [self.tokenizer.codes(text) for text in texts]
        wordless = [position for position, code in enumerate(codes) if not code]
        if not texts or wordless:
            what = f"text {wordless[0]} ({texts[wordless[0]]!r}) has no words" if wordless else "there is no text"
            raise UserError(f"{what}; describe what is to be seen")
        if cut := self.tokenizer.count_truncated(codes):
            warnings.warn(
                f"{cut} of {len(texts)} texts have more than the {self.system.max_words - 2} token codes that the "
                "model reads; the rest is cut",
                stacklevel=2,
            )
        tokens = self.tokenizer.rows(codes)
        rows: dict[str, Any] = {"text_id": _ids(ids, len(texts), "texts"), "tokens": tokens}
        if ids is None:
            rows["text_id"] = np.array([token_id(row) for row in tokens], np.uint32)
        wanted = self.system.head.text_extra(len(texts))
        given = dict(extra or {})
        if "syntax" in wanted and _are_parses(given.get("syntax")):
            parses = given["syntax"]
            given["syntax"] = syntax_arrays(parses, wanted["syntax"], self.system.max_words)
            if cut_words := cut_report(word_counts(parses, self.system.max_words), given["syntax"]):
                warnings.warn(f"of the texts, {cut_words} are cut", stacklevel=2)
        if wanted or given:
            rows["text_extra"] = _checked_extra(given, wanted, f"{self.settings['system']}: a text")
        encode = make_encode_text(self.system)
        return encode_all(
            functools.partial(encode, self.params),
            (
                jax.tree.map(lambda leaf, where=where: leaf[where], rows) | {"valid": valid}
                for where, valid in _batches(len(texts), TEXT_BATCH)
            ),
        )

    def encode_video(
        self,
        videos: Video | Sequence[Video],
        *,
        ids: Sequence[str] | None = None,
        extra: Mapping[str, Any] | None = None,
    ) -> VideoFeatures:
        """Encode videos.

        Files are sampled as the model's training data were: `fps` frames a second, resized and cropped to CLIP's
        input, at most max_frames spread over the video. Warns of a damaged file: what can be
        decoded is encoded.

        Args:
            videos: A video file, an array of frames [M, H, W, 3] uint8 RGB, or a sequence of B files and arrays (each
                with its own M, H, W). Frames of another size are resized; of more than max_frames some are taken.
            ids: B dataset ids, all different; needed only where noise belongs to the pair (`evaluation.noise` is
                "per_pair"). By default of the file's name or the array's content.
            extra: What the head reads of a video besides its frames, by the names of `Head.video_extra`: arrays [B, …].

        Returns:
            Features in host memory, B rows: `frames` [B, max_frames, d] float32, not normalised; `mask`
            [B, max_frames], False for padding; `patches` [B, max_frames, P, p] if the head reads them.

        Raises:
            UserError: There is no video, one cannot be read or has another shape or type, or ids or extra do not fit.
        """
        listed = _listed(videos)
        if not listed:
            raise UserError("there is no video; give a file, an array of frames, or a list of them")
        given_ids = _ids(ids, len(listed), "videos")
        wanted = self.system.head.video_extra(len(listed))
        given = _checked_extra(dict(extra or {}), wanted, f"{self.settings['system']}: a video")
        incomplete: list[str] = []

        def batches() -> Iterator[dict[str, Any]]:
            with ThreadPoolExecutor(READERS) as pool:
                for where, valid in _batches(len(listed), VIDEO_BATCH):
                    read = list(pool.map(self._read, [listed[row] for row in where[valid]]))
                    incomplete.extend(video.incomplete for video in read if video.incomplete is not None)
                    batch = self._video_batch(read, where, valid)
                    if ids is not None:
                        batch["video_id"] = given_ids[where]
                    if given:
                        batch["video_extra"] = jax.tree.map(lambda leaf, where=where: leaf[where], given)
                    yield batch

        encode = make_encode_video(self.system)
        features = encode_all(functools.partial(encode, self.params), batches())
        for reason in incomplete:
            warnings.warn(f"{reason}; what can be decoded is encoded", stacklevel=2)
        return features

    def score(self, texts: TextFeatures, videos: VideoFeatures, *, direction: str = "t2v") -> np.ndarray:
        """Score every text with every video by the head.

        The program is compiled once for every pair of counts.

        Args:
            texts: Nt texts, of `encode_text`.
            videos: Nv videos, of `encode_video`.
            direction: "t2v" to rank videos for each text, "v2t" to rank texts for each video. The scores differ only
                for a head that reranks the best candidates of another (CrossTVR).

        Returns:
            Similarities [Nt, Nv], in promote_types(dtype, float32): higher is a better match. They are those of
            `evaluate` for the same videos and texts with the same ids.

        Raises:
            UserError: These are no features, or the direction is unknown.
        """
        if not isinstance(texts, TextFeatures) or not isinstance(videos, VideoFeatures):
            raise UserError("score takes the features that encode_text and encode_video return, in this order")
        if direction not in ("t2v", "v2t"):
            raise UserError(f"direction {direction!r} is unknown; give 't2v' or 'v2t'")
        both = score_both_ways(self.system.head, self.params["head"], texts, videos, draws=self.draws)
        return both.t2v if direction == "t2v" else both.v2t

    def _read(self, video: Video) -> VideoFrames:
        more = {
            name: self.settings[name] for name in ("first_seconds", "timestamps", "as_shown") if name in self.settings
        }
        return read_video(video, FrameRule(self.size, self.system.max_frames, Sampling(self.fps, **more)))

    def _video_batch(self, read: Sequence[VideoFrames], where: np.ndarray, valid: np.ndarray) -> dict[str, Any]:
        """A batch of the videos that were read; the last one fills it up."""
        frames = np.zeros((len(where), self.system.max_frames, self.size, self.size, 3), np.uint8)
        mask = np.zeros(frames.shape[:2], bool)
        filled = [*read, *[read[-1]] * (len(where) - len(read))]
        for row, video in enumerate(filled):
            frames[row, : len(video.frames)], mask[row, : len(video.frames)] = video.frames, True
        ids = np.array([video.id for video in filled], np.uint32)
        return {"video_id": ids, "frames": frames, "frame_mask": mask, "valid": valid}


def _batches(count: int, most: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """(rows [b], which of them are no repetition [b]) of all rows, b a power of two or `most`."""
    for start in range(0, count, most):
        rows = min(most, count - start)
        size = min(most, 1 << (rows - 1).bit_length())
        yield padded_rows(start, size, count), np.arange(size) < rows


def _listed(videos: Video | Sequence[Video]) -> list[Video]:
    if isinstance(videos, str | os.PathLike):
        return [videos]
    if hasattr(videos, "ndim"):  # an array of NumPy or jax: of one video, or with several as its first axis
        array = np.asarray(videos)
        return list(array) if array.ndim == 5 else [array]
    return list(videos)


def _ids(ids: Sequence[str] | None, count: int, of: str) -> np.ndarray:
    """[count] uint32; zeros where no ids are given."""
    if ids is None:
        return np.zeros(count, np.uint32)
    if isinstance(ids, str) or len(ids) != count:
        raise UserError(f"ids={ids!r:.60} for {count} {of}; give a list with one id for each")
    return example_ids(ids)


def _are_parses(syntax: Any) -> bool:
    return isinstance(syntax, Sequence) and all(isinstance(parse, Syntax) for parse in syntax)


def _checked_extra(given: Mapping[str, Any], wanted: Mapping[str, Any], of: str) -> dict[str, Any]:
    """The arrays given, in the form of those wanted. UserError where one is missing, left over or of another shape."""
    missing = sorted(wanted.keys() - given.keys())
    if missing:
        hint = EXTRA_HINTS.get(missing[0], f"extra={{{missing[0]!r}: …}}")
        raise UserError(f"{of} needs {missing[0]!r} besides what CLIP reads; give {hint}")
    left_over = sorted(given.keys() - wanted.keys())
    if left_over:
        raise UserError(f"{of} has no extra {', '.join(map(repr, left_over))}; leave it out")
    like, found = (traverse_util.flatten_dict(dict(tree), sep="/") for tree in (wanted, given))
    for name in sorted(like.keys() | found.keys()):
        shapes = [list(np.shape(tree[name])) if name in tree else "nothing" for tree in (found, like)]
        if shapes[0] != shapes[1]:
            raise UserError(f"{of}: extra {name} is {shapes[0]} and should be {shapes[1]}")
    arrays = {name: np.asarray(leaf, like[name].dtype) for name, leaf in found.items()}
    return traverse_util.unflatten_dict(arrays, sep="/")


def load(source: str | os.PathLike[str]) -> Model:
    """Load a trained model.

    Args:
        source: A work directory of a run, of which the best checkpoint is taken; a folder of
            `python -m eaglenet_jax.search export`; "demo" for the MovingShapes model that ships with the package; or a
            Hugging Face CLIP as a folder or a name on the hub, which scores by CLIP4Clip's mean of frames.

    Returns:
        The model, its parameters on the device.

    Raises:
        UserError: The source is none of these, cannot be read, or its parameters do not fit its config.
    """
    return Model(**model_fields(source))


def model_fields(source: str | os.PathLike[str]) -> dict[str, Any]:
    """Load the fields of a `Model`, also for a class that adds to it. Arguments and errors as of `load`."""
    stored = read_model(source)
    return {
        "settings": stored.settings,
        "system": build_system(stored.settings),
        "params": jax.tree.map(as_float32, stored.params),
        "source": stored.source,
        "identity": stored.identity,
    }
