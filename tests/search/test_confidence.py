"""Words of confidence, and the facts and filters of an index; without a model."""

from __future__ import annotations

import datetime

import numpy as np
import pytest

from eaglenet_jax.errors import UserError
from eaglenet_jax.search.confidence import Calibration, Levels, Probe, calibrate, negation
from eaglenet_jax.search.library import Filter, Library, VideoFacts, model_name
from eaglenet_jax.search.moments import Moment

DAY = datetime.date(2026, 1, 31)


def moment(score, path="a.mp4", reranked=False):
    return Moment(0, score, reranked, path, path, 0, 1, b"")


def test_levels_are_those_of_a_normal_distribution():
    scores = np.random.default_rng(0).normal(0.2, 0.03, 20_000)
    levels = Levels.of(scores)
    assert np.mean(scores >= levels.possible) == pytest.approx(0.10, abs=0.01)
    assert np.mean(scores >= levels.strong) == pytest.approx(0.01, abs=0.003)
    assert [levels.word(score) for score in (0.2, 0.25, 0.28)] == ["weak", "possible", "strong"]


def test_sentences_that_fit_do_not_raise_the_levels():
    scores = np.random.default_rng(0).normal(0.2, 0.03, 1000)
    fitting = np.where(scores > 0.22, scores + 0.5, scores)  # the upper quarter describes what is there
    found, plain = Levels.of(fitting), Levels.of(scores)
    assert fitting.max() > 0.7 and found.possible == pytest.approx(plain.possible, abs=0.005)
    assert found.strong == pytest.approx(plain.strong, abs=0.01)


def test_scores_that_saturate_do_not_raise_the_levels():
    scores = np.minimum(np.random.default_rng(0).normal(0.80, 0.1, 1000), 0.803)
    levels = Levels.of(scores)
    assert 0.85 < levels.possible < 0.91 and levels.possible < levels.strong < 1.0


def test_a_query_like_any_other_is_weak_and_what_fits_is_an_example():
    there = {"a dog": 0.9, "the sea": 0.8, "a cat": 0.7}

    def probe(text):
        score = there.get(text, 0.2 + 0.05 * (len(text) % 2))
        return Probe(score, score + 10, "a dog.mp4" if text == "a cat" else f"{text}.mp4")

    measured = calibrate(probe, demo=False)
    assert measured.examples[:2] == ("a dog", "the sea")
    assert "a cat" not in measured.examples  # it is in the dog's video
    judged = measured.judged([moment(10.9, reranked=True), moment(10.22, reranked=True), moment(0.9), moment(0.22)])
    assert [each.confidence for each in judged] == ["strong", "weak", "strong", "weak"]


@pytest.mark.parametrize("there", [(), ("a dog",), ("a dog", "the sea")])
def test_where_little_fits_there_are_as_few_examples(there):
    measured = calibrate(
        lambda text: Probe(0.9 if text in there else 0.2 + 0.1 * (len(text) % 2), None, f"{text}.mp4"), demo=False
    )
    assert measured.head is None and measured.examples == there and measured.cosine.word(0.3) == "weak"


def test_an_empty_index_has_no_levels():
    asked = []
    measured = calibrate(asked.append, demo=False)
    assert len(asked) == 1  # the others would find nothing either
    assert measured == Calibration(None, None) and not measured.is_measured
    assert measured.judged([moment(1.0)])[0].confidence is None


@pytest.mark.parametrize(
    ("text", "word"),
    [("a street without people", "without"), ("no one", "no one"), ("it doesn't move", "doesn't"), ("a knot", None),
     ("a notebook on a table", None)],
)  # fmt: skip
def test_negative_words(text, word):
    assert negation(text) == word


def test_facts_of_an_index():
    videos = {f"/v/{k}.mp4": VideoFacts(f"{k}", 24.0, DAY, 2) for k in range(36)}
    written = datetime.datetime(2026, 1, 31, 12)
    library = Library(videos, written, model_name("openai/clip-vit-base-patch32"))
    assert library.facts(DAY) == "36 videos, 14 minutes, model ViT-B/32, indexed today"
    assert library.facts(datetime.date(2026, 2, 1)).endswith("indexed yesterday")
    assert library.facts(datetime.date(2026, 2, 4)).endswith("indexed 4 days ago")
    assert library.facts(datetime.date(2027, 2, 4)).endswith("indexed on 2026-01-31")
    assert Library({"/a.mp4": VideoFacts("", 59.6, DAY, 1)}, written, "x").facts(DAY).startswith("1 video, 60 seconds,")


def test_folders_go_up_to_the_one_that_holds_all():
    paths = ("/v/a/b/1.mp4", "/v/a/2.mp4", "/v/c/3.mp4")
    library = Library(dict.fromkeys(paths, VideoFacts("", 1.0, DAY, 1)), datetime.datetime.now(), "")
    assert library.folders == ["/v", "/v/a", "/v/a/b", "/v/c"]
    assert Library({}, datetime.datetime.now(), "").folders == []


@pytest.mark.parametrize("place", [("openai/clip-vit-large-patch14", "ViT-L/14"), ("runs/mine/", "mine"),
                                   ("demo", "demo (MovingShapes)")])  # fmt: skip
def test_names_of_models(place):
    assert model_name(place[0]) == place[1]


def test_conditions_of_filters():
    facts = {"/v/it's.mp4": VideoFacts("", 5.0, DAY, 1), "/w/b.mp4": VideoFacts("", 50.0, datetime.date(2026, 2, 2), 1)}
    library = Library(facts, datetime.datetime.now(), "")
    assert Filter().condition(library) is None and Filter(longest=60).condition(library) is None
    assert Filter(folder="/v/").condition(library) == "starts_with(path, '/v/')"
    assert Filter(longest=5).condition(library) == "path IN ('/v/it''s.mp4')"
    assert Filter(after=datetime.date(2026, 2, 1)).condition(library) == "path IN ('/w/b.mp4')"
    assert Filter(before=DAY, shortest=6).condition(library) == "false"
    with pytest.raises(UserError, match="longer than 9 s and shorter"):
        Filter(shortest=9, longest=1)
    with pytest.raises(UserError, match="changed after"):
        Filter(after=DAY, before=datetime.date(2026, 1, 1))
