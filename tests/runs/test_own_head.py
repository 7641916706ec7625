"""A head that lives outside the package trains, evaluates, reranks and scores a search without any change here."""

from __future__ import annotations

import contextlib
import io
import json

import jax
import numpy as np
import pytest

from eaglenet_jax import evaluate, train
from eaglenet_jax.config.loading import load_config
from eaglenet_jax.draws import Draws
from eaglenet_jax.errors import UserError
from eaglenet_jax.registry import HEADS
from eaglenet_jax.scoring.rerank import RerankOptions, rerank
from eaglenet_jax.search.model import open_model
from eaglenet_jax.system import build_system

SOURCE = '''
"""The frame that fits best, smoothly."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from eaglenet_jax.heads.interface import Head, PairScores


class BestFrame(Head):
    """Logarithm of the mean exponential of sharpness times the cosine, over valid frames."""

    width: int
    sharpness: float = 10.0

    def setup(self):
        self.matching_loss = self.make_matching_loss()
        self.scale = self.param("scale", lambda key: jnp.ones(self.width))

    def prepare_text(self, text):
        return text.pooled * self.scale / jnp.linalg.norm(text.pooled * self.scale, axis=-1, keepdims=True)

    def prepare_video(self, video):
        length = jnp.linalg.norm(video.frames, axis=-1, keepdims=True)
        return video.frames / jnp.where(length > 0, length, 1), self.valid_frames(video)

    def score(self, text, video, draws, aux=False):
        frames, mask = video
        cosines = jnp.einsum("td,vmd->tvm", text, frames)
        total = jax.nn.logsumexp(self.sharpness * cosines, axis=-1, where=mask[None])
        similarity = (total - jnp.log(jnp.sum(mask, axis=-1))) / self.sharpness
        weights = jax.nn.softmax(self.sharpness * cosines, axis=-1, where=mask[None])
        return PairScores(similarity, {"frame_weights": weights} if aux else {})
'''
SYSTEM = "their_package.best_frame:BestFrame"


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder on Python's path with a package of somebody else's."""
    folder = tmp_path_factory.mktemp("elsewhere")
    (folder / "their_package").mkdir()
    (folder / "their_package/__init__.py").touch()
    (folder / "their_package/best_frame.py").write_text(SOURCE)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(folder)
        yield folder


@pytest.fixture(scope="module")
def workdir(place):
    data = [f"--config.{stage}data.root={place / 'datasets'}" for stage in ("", "first_stage.")]
    with contextlib.redirect_stdout(io.StringIO()):
        train.main(
            ["--config=demo:tiny", f"--config.system={SYSTEM}", "--config.head.sharpness=5.0",
             f"--workdir={place / 'run'}", *data]
        )  # fmt: skip
    return place / "run"


def test_it_is_named_in_a_config_and_its_fields_are_options(place):
    for config in (
        load_config("demo:tiny", [f"--config.system={SYSTEM}", "--config.head.sharpness=5.0"]),
        load_config(f"demo:tiny,{SYSTEM}", ["--config.head.sharpness=5.0"]),
        load_config(f"msrvtt:b16,released,{SYSTEM}", ["--config.head.sharpness=5.0"]),
    ):
        head = build_system(config).head
        assert type(head).__name__ == "BestFrame" and head.sharpness == 5.0
        assert head.width == build_system(config).clip.config.embed_dim
        assert head.mask_padding == (config.preset != "released")
    with pytest.raises(UserError, match=r"sharpnes.*sharpness"):
        load_config("demo", [f"--config.system={SYSTEM}", "--config.head.sharpnes=5.0"])
    with pytest.raises(UserError, match="cannot be imported"):
        load_config("demo", ["--config.system=their_package.best_frame:Other"])
    with pytest.raises(UserError, match="exclude each other"):
        load_config("demo:xpool", [f"--config.system={SYSTEM}"])


def test_it_trains_and_evaluates(workdir, capsys):
    metrics = json.loads((workdir / "metrics.json").read_text())
    assert metrics["run"]["system"] == SYSTEM and (workdir / "report.html").is_file()
    evaluate.main([f"--workdir={workdir}", "--split=test", "--json"])
    again = json.loads(capsys.readouterr().out)["stages"][-1]["metrics"]["test"]
    assert again["t2v"] == metrics["test"]["t2v"]


def test_it_scores_a_search_and_reranks(workdir):
    model = open_model(workdir)
    assert model.reranks
    rng = np.random.default_rng(0)
    frames = rng.integers(0, 255, (3, model.system.max_frames, model.size, model.size, 3), np.uint8)
    windows = model.encode_windows(frames, [model.system.max_frames, 2, 1])
    query = model.encode_query("a red circle")
    similarity, weights = model.score_windows(query, windows)
    unit = [np.asarray(x) / np.linalg.norm(x, axis=-1, keepdims=True) for x in (query.pooled, windows.frames[0])]
    scale = np.asarray(model.params["head"]["scale"])
    text = unit[0][0] * scale / np.linalg.norm(unit[0][0] * scale)
    expected = np.log(np.mean(np.exp(5 * unit[1] @ text))) / 5
    np.testing.assert_allclose(similarity[0], expected, atol=1e-5)
    assert weights is not None
    np.testing.assert_allclose(weights.sum(axis=1), 1, atol=1e-5)
    ranked = rerank(
        None, model.system.head, model.params["head"], query, windows,
        draws=Draws(jax.random.key(0)), options=RerankOptions(top_k=3),
    )  # fmt: skip
    np.testing.assert_allclose(ranked[0], similarity, atol=1e-5)


def test_every_head_of_the_registry_is_one_line():
    for name, place in HEADS.items():
        module, _, attribute = place.partition(":")
        assert module.startswith("eaglenet_jax.heads.") and attribute and name.isidentifier()
