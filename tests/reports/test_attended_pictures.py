"""Pictures of what a head looks at, and the words that they are of."""

from __future__ import annotations

import base64
import io
from types import SimpleNamespace

import jax.numpy as jnp
import numpy as np
from PIL import Image

from eaglenet_jax.data.tokenizer import Tokenizer, clean_text
from eaglenet_jax.draws import Draws
from eaglenet_jax.heads.interface import Head, TextFeatures, VideoFeatures
from eaglenet_jax.reports.attended_pictures import DIM, attended_pictures, brightened, word_pictures
from eaglenet_jax.reports.pair_explanations import ExplainedSplit, explainer
from eaglenet_jax.runs.page import caption_words

FRAMES = np.stack([np.full((32, 32, 3), 40 * (1 + i), np.uint8) for i in range(3)])
MASK = np.array([True, True, True, False])
WORDS = {"verbs": ["runs"], "nouns": ["dog", "park"]}


def pixels(uri: str) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2]))), int)


def chosen() -> dict[str, np.ndarray]:
    verbs, nouns = np.zeros((2, 4)), np.zeros((3, 4, 4))
    verbs[0, [0, 2]], verbs[1] = 0.5, 0.25  # the second node stands for no word
    nouns[0, 1] = [0, 0, 0.75, 0.25]
    nouns[1, 3] = 1.0  # padding alone
    return {"verb_frames": verbs, "noun_patches": nouns}


def test_patches_are_bright_by_their_weight() -> None:
    found = brightened(FRAMES[2], np.array([0, 1, 2, 4.0]))
    share = DIM + (1 - DIM) * np.array([[0, 0.25], [0.5, 1]])
    np.testing.assert_array_equal(found[::16, ::16, 0], np.round(120 * share))
    assert not (brightened(FRAMES[2], np.zeros(4)) > 120 * DIM).any()


def test_words_show_the_frames_and_patches_that_count() -> None:
    verb, noun = word_pictures(chosen(), WORDS, MASK, FRAMES)
    assert (verb.kind, verb.word, noun.kind, noun.word) == ("verb", "runs", "noun", "dog")
    assert [round(pixels(each).mean() / 40) for each in verb.pictures] == [1, 3]
    (picture,) = noun.pictures
    corners = pixels(picture)[8::16, 8::16, 0]
    np.testing.assert_allclose(corners, 80 * (DIM + (1 - DIM) * np.array([[0, 0], [1, 1 / 3]])), atol=6)


def test_a_second_stage_is_bright_where_it_looks_more_than_at_the_rest_of_the_frame() -> None:
    patches = np.full((4, 4), 0.2)
    patches[1, 3], patches[3] = 0.5, 9  # the last is padding
    first, second, _ = attended_pictures(patches, MASK, FRAMES)
    np.testing.assert_allclose(first, 40 * DIM, atol=1)
    np.testing.assert_allclose(second[::16, ::16, 0], 80 * np.array([[DIM, DIM], [DIM, 1]]), atol=1)


class Said(Head):
    """A head that explains itself by given numbers."""

    def explain(self, text, video, draws):
        return {name: jnp.asarray(values)[None, None] for name, values in chosen().items()} | {
            "frame_weights": jnp.asarray([[[0.5, 0.3, 0.2, 0.0]]]),
            "radius_length": jnp.asarray([[2.5]]),
        }


class Attending(Head):
    """A second stage."""

    def explain(self, text, video, draws):
        frames = jnp.asarray([0.1, 0.6, 0.3, 0.0])
        return {"attended_frames": frames[None, None], "attended_patches": jnp.ones((1, 1, 4, 4))}


def test_an_explanation_of_a_pair_holds_all_that_the_head_says() -> None:
    texts = TextFeatures(np.zeros(1, np.uint32), np.zeros((1, 2)), None, np.ones((1, 1), bool))
    videos = VideoFeatures(np.zeros(1, np.uint32), np.zeros((1, 4, 2)), None, MASK[None])

    def explained(head: Head):
        split = ExplainedSplit(lambda _: FRAMES, words_of=lambda _: WORDS)
        explain = explainer(head, {}, texts, videos, Draws(None), split)
        return explain(0, [0])[0]

    found = explained(Said())
    assert found.radius == 2.5 and [row.word for row in found.words] == ["runs", "dog"] and not found.attended
    assert [round(frame.weight, 3) for frame in found.frames] == [0.5, 0.3, 0.2]
    found = explained(Attending())
    assert found.attended and found.radius is None and not found.words
    assert [round(frame.weight, 3) for frame in found.frames] == [0.1, 0.6, 0.3]


def test_words_are_those_that_the_nodes_were_made_of() -> None:
    caption, tokenizer = "A brown DOG is jumping over two fences", Tokenizer(16)
    text = clean_text(caption)
    places = {word: (text.index(word), text.index(word) + len(word)) for word in ("dog", "jumping", "fences")}
    spans = {word: tokenizer.spans(text, [place])[0] for word, place in places.items()}

    def rows(words: list[str], most: int) -> np.ndarray:
        found = np.zeros((1, most, 2), np.int32)
        for place, word in enumerate(words):
            found[0, place] = np.array(spans[word]) + 1  # after the start token
        return found

    def stage(verbs: list[str]):
        syntax = {"verbs": rows(verbs, 3), "nouns": rows(["dog", "fences"], 4)}
        encoded = SimpleNamespace(
            texts=SimpleNamespace(extra={"syntax": syntax}), captions=SimpleNamespace(texts=[caption])
        )
        experiment = SimpleNamespace(tokenizer=tokenizer)
        return SimpleNamespace(evaluation=SimpleNamespace(encoded=encoded), experiment=experiment)

    assert caption_words(stage(["jumping"]), 0) == {"verbs": ["jumping"], "nouns": ["dog", "fences"]}
    assert caption_words(stage([]), 0)["verbs"] == ["(no verb)"]
    plain = stage([])
    plain.evaluation.encoded.texts.extra = {}
    assert caption_words(plain, 0) == {"verbs": [], "nouns": []}
