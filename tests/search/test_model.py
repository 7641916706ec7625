"""The model behind an index: opening, exporting, scoring; without a store."""

from __future__ import annotations

import dataclasses

import jax
import numpy as np
import pytest
from PIL import Image

from configs import demo
from eaglenet_jax.clip import Clip
from eaglenet_jax.config.loading import load_config
from eaglenet_jax.draws import Draws
from eaglenet_jax.errors import UserError
from eaglenet_jax.heads.interface import VideoFeatures
from eaglenet_jax.port.files import read_tensors, write_tensors
from eaglenet_jax.port.load import save_clip
from eaglenet_jax.runs.export import model_card, read_export, write_export
from eaglenet_jax.runs.model_formats import CLIP_FRAMES, model_settings
from eaglenet_jax.scoring.gallery import score_gallery
from eaglenet_jax.scoring.rerank import mean_pooled_cosine
from eaglenet_jax.search import model as models
from eaglenet_jax.search.query import find, image_query, text_query, video_query
from eaglenet_jax.search.rows import StoredWindow, StoreSettings
from eaglenet_jax.search.windows import WindowRule
from eaglenet_jax.system import build_system
from tests.clip.sizes import TINY, random_params
from tests.search.clips import write_shapes

SENTENCE = "a large red circle moves left on a black background"


@pytest.fixture(scope="module")
def model():
    return models.open_model("demo")


@pytest.fixture(scope="module")
def features(model):
    rng = np.random.default_rng(0)
    frames = rng.normal(size=(40, 12, model.width)).astype(np.float16).astype(np.float32)
    mask = np.arange(12) < rng.integers(1, 13, 40)[:, None]
    return VideoFeatures(rng.integers(0, 2**32, 40, dtype=np.uint32), frames * mask[..., None], None, mask)


class FakeStore:
    """Rows in memory, compared one by one."""

    def __init__(self, features: VideoFeatures) -> None:
        self.settings = StoreSettings("", "", features.frames.shape[2], features.frames.shape[1], WindowRule())
        self.pooled = models.mean_of_frames(features.frames, features.mask)
        self.rows = [
            StoredWindow(f"{row}", f"/v/{row}.mp4", 0.0, 2.0, tuple(np.flatnonzero(mask) * 1.0), b"", frames=frames)
            for row, (frames, mask) in enumerate(zip(features.frames, features.mask, strict=True))
        ]

    def nearest(self, vector, limit, frames=False):
        scores = self.pooled @ vector
        return [dataclasses.replace(self.rows[r], score=float(scores[r])) for r in np.argsort(-scores)[:limit]]


def test_scores_of_blocks_are_those_of_the_gallery(model, features):
    query = model.encode_query(SENTENCE)
    scores, weights = model.score_windows(query, features)
    expected = score_gallery(model.system.head, model.params["head"], query, features, draws=Draws(jax.random.key(0)))
    assert scores.shape == (40,) and np.allclose(scores, expected[0], atol=1e-5)
    assert np.allclose(weights.sum(axis=1), 1, atol=1e-5) and not weights[~features.mask].any()


def test_first_stage_is_the_cosine_of_the_mean(model, features):
    query = text_query(model, SENTENCE)
    assert np.allclose(
        models.mean_of_frames(features.frames, features.mask) @ query.vector,
        mean_pooled_cosine(query.text, features)[0],
        atol=1e-6,
    )


def test_reranked_moments_stand_first_by_the_heads_score(model, features):
    store, query = FakeStore(features), text_query(model, SENTENCE)
    plain, found = find(store, model, query, top=40), find(store, model, query, top=40, rerank=10)
    assert [m.rank for m in found] == list(range(1, 41))
    assert [m.reranked for m in found] == [True] * 10 + [False] * 30
    assert {m.id for m in found[:10]} == {m.id for m in plain[:10]}
    assert [m.id for m in found[10:]] == [m.id for m in plain[10:]]
    scores = [m.score for m in found[:10]]
    assert scores == sorted(scores, reverse=True)
    assert all(len(m.weights) == len(m.times) for m in found[:10]) and found[10].weights is None


def test_reranking_all_gives_the_heads_ranking_whatever_is_asked_for(model, features):
    store, query = FakeStore(features), text_query(model, SENTENCE)
    one = find(store, model, query, top=1, rerank=40)
    assert one[0].id == find(store, model, query, top=40, rerank=40)[0].id


@pytest.mark.parametrize(("text", "message"), [("", "no words"), ("   ", "no words")])
def test_queries_without_words_are_refused(model, text, message):
    with pytest.raises(UserError, match=message):
        text_query(model, text)


def test_words_that_are_not_read_are_counted(model):
    assert model.words_cut("red " * 46) == 12 and model.words_cut("red") == 0


def test_numbers_that_make_no_sense_are_refused(model, features):
    with pytest.raises(UserError):
        find(FakeStore(features), model, text_query(model, SENTENCE), top=0)


def test_pictures_and_videos_as_queries(model, features, tmp_path):
    write_shapes(tmp_path, 1)
    (file,) = tmp_path.glob("*.mp4")
    query = video_query(model, file)
    assert query.vector.shape == (model.width,) and np.linalg.norm(query.vector) == pytest.approx(1, abs=1e-5)
    Image.new("RGBA", (90, 60), (255, 0, 0, 255)).save(tmp_path / "picture.png")
    image_query(model, tmp_path / "picture.png")
    with pytest.raises(UserError, match="sentence"):
        find(FakeStore(features), model, query, top=1, rerank=5)
    for kind in (video_query, image_query):
        with pytest.raises(UserError, match="nothing"):
            kind(model, tmp_path / "nothing.mp4")
        (tmp_path / "text.jpg").write_text("no picture")
        with pytest.raises(UserError, match="text"):
            kind(model, tmp_path / "text.jpg")


def test_a_head_that_needs_patches_is_not_asked_to_rerank(model, features, monkeypatch):
    monkeypatch.setattr(type(model.system.head), "uses_patches", True)
    with pytest.raises(UserError, match="patches"):
        find(FakeStore(features), model, text_query(model, SENTENCE), top=1, rerank=5)


OWN_ENCODER = ("source=an/encoder", "count=5", "width=24")  # not there: an index reads no token of it


@pytest.mark.parametrize("overrides", [(), OWN_ENCODER], ids=["shared_encoder", "own_encoder"])
def test_a_second_stage_is_searched_by_its_encoders_and_does_not_rerank(tmp_path, overrides):
    config = load_config("demo:crosstvr,tiny", [f"--config.head.tokens.{field}" for field in overrides])
    settings = model_settings(config)
    write_export(tmp_path, settings, some_params(settings), "", "float32", None)
    model = models.open_model(tmp_path)
    frames = np.random.default_rng(0).integers(0, 256, (3, 6, model.size, model.size, 3), np.uint8)
    windows = jax.tree.map(np.asarray, model.encode_windows(frames, [6, 2, 4]))
    query = text_query(model, SENTENCE)
    found = find(FakeStore(windows), model, query, top=3)
    pooled = models.mean_of_frames(windows.frames, windows.mask)
    assert [moment.id for moment in found] == [str(row) for row in np.argsort(-(pooled @ query.vector))]
    with pytest.raises(
        UserError, match=r"^CrossTvr needs patches or other features .* without reranking \(rerank=0\)$"
    ):
        find(FakeStore(windows), model, query, top=1, rerank=2)


def some_params(settings):
    shapes = build_system(settings).shapes()
    rng = np.random.default_rng(0)
    return jax.tree.map(lambda leaf: rng.normal(size=leaf.shape).astype(np.float32), shapes)


def test_export_and_open_again(tmp_path):
    config = demo.get_config("clip4clip,tiny")
    settings = model_settings(config)
    params = some_params(settings)
    write_export(tmp_path / "all", settings, params, model_card(settings, {}, "", ""), "float32", None)
    write_export(
        tmp_path / "some", settings, params, model_card(settings, {}, "", ""), "float16", {0, 320, 49406, 49407}
    )
    whole, some = models.open_model(tmp_path / "all"), models.open_model(tmp_path / "some")
    same = jax.tree.map(lambda a, b: bool((np.asarray(a) == np.asarray(b)).all()), params, whole.params)
    assert all(jax.tree.leaves(same)) and whole.identity != some.identity
    assert whole.identity == models.open_model(tmp_path / "all").identity
    table, kept = (np.asarray(m.params["clip"]["text"]["token_embedding"]) for m in (whole, some))
    assert np.flatnonzero(kept.any(axis=1)).tolist() == [0, 320, 49406, 49407]
    assert np.allclose(kept[320], table[320], atol=1e-3)
    assert (tmp_path / "some/parameters.safetensors").stat().st_size < 300_000


def test_damaged_exports_say_so(tmp_path):
    settings = model_settings(demo.get_config("clip4clip,tiny"))
    params = some_params(settings)
    write_export(tmp_path, settings, params, "", "float16", {0})
    (tmp_path / "parameters.safetensors").write_bytes(b"half")
    with pytest.raises(UserError, match="truncated"):
        models.open_model(tmp_path)
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(UserError, match="config"):
        read_export(tmp_path)
    with pytest.raises(UserError):
        models.open_model(tmp_path / "nowhere")


def test_damaged_tables_of_words_say_so(tmp_path):
    settings = model_settings(demo.get_config("clip4clip,tiny"))
    params, file = some_params(settings), tmp_path / "parameters.safetensors"
    write_export(tmp_path, settings, params, "", "float16", {0, 5})
    tensors = read_tensors(file)
    rows, values = (f"clip/text/token_embedding@{part}" for part in ("rows", "values"))
    for damaged in (
        {name: tensor for name, tensor in tensors.items() if name != values},
        {**tensors, rows: tensors[rows] + 49407},
        {**tensors, values: tensors[values][:, :3]},
    ):
        write_tensors(file, damaged)
        with pytest.raises(UserError, match="damaged"):
            read_export(tmp_path)
    (tmp_path / "config.json").write_text('{"format": 1}')
    with pytest.raises(UserError, match="is missing or damaged"):
        read_export(tmp_path)


@pytest.mark.parametrize("error", [Image.DecompressionBombError("large"), SyntaxError("broken"), ValueError("odd")])
def test_whatever_pillow_makes_of_a_damaged_picture_is_one_line(model, tmp_path, monkeypatch, error):
    Image.new("RGB", (9, 9)).save(tmp_path / "picture.png")

    def fail(*unused):
        raise error

    monkeypatch.setattr(Image.Image, "convert", fail)
    with pytest.raises(UserError, match="cannot be read as a picture"):
        image_query(model, tmp_path / "picture.png")


def test_any_clip_searches_by_the_mean_of_frames(tmp_path):
    clip = Clip(dataclasses.replace(TINY, vocab_size=49408, shift_blocks=()))
    save_clip(tmp_path, clip.config, {"clip": random_params(clip)}, np.float32(1.5))
    model = models.open_model(tmp_path)
    assert model.identity.startswith("clip4clip-") and model.system.max_frames == CLIP_FRAMES
    frames = np.random.default_rng(0).integers(0, 256, (2, 12, 16, 16, 3), np.uint8)
    features = model.encode_windows(frames, [12, 3])
    query = model.encode_query("a dog")
    scores, weights = model.score_windows(query, features)
    pooled = models.mean_of_frames(np.asarray(features.frames), np.asarray(features.mask))
    assert weights is None and np.allclose(scores, pooled @ models.unit(np.asarray(query.pooled[0])), atol=1e-5)
