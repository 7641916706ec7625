"""A head that lives outside the package trains, evaluates, reranks and scores a search without any change here."""

from __future__ import annotations

import contextlib
import io
import json

import jax
import numpy as np
import pytest

from eaglenet_jax import evaluate, train
from eaglenet_jax.clip.model import Clip
from eaglenet_jax.config.loading import load_config
from eaglenet_jax.draws import Draws
from eaglenet_jax.errors import UserError
from eaglenet_jax.port.load import save_clip
from eaglenet_jax.registry import HEADS, head_class
from eaglenet_jax.runs.experiment import open_experiment
from eaglenet_jax.runs.plan import plan_run
from eaglenet_jax.runs.vision_tokens import make_tokens
from eaglenet_jax.scoring.rerank import RerankOptions, rerank
from eaglenet_jax.search.model import open_model
from eaglenet_jax.system import build_system
from eaglenet_jax.training.optimizer import parameter_rates
from tests.clip.sizes import random_params

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
TWO_STAGES = '''
"""A head whose candidates another one chooses; none of its options are called as CrossTVR's are."""

import jax.numpy as jnp
import numpy as np

from eaglenet_jax.heads.interface import CandidateScorer, Head, PairScores
from eaglenet_jax.registry import head_class


class Rescored(Head):
    """Scores of the first head, times a learned weight of every pair's first token."""

    chooser: Head
    frames: int
    encoder: str = ""
    count: int = 0
    width: int = 0

    first_system = "xpool"
    frozen_by_first_stage = "(clip|head/chooser)/.*"

    @classmethod
    def decided_fields(cls, clip, frames):
        return {"frames": frames, "chooser": None}

    @classmethod
    def options(cls):
        return {"chosen_by": {"system": "xpool", "head": head_class("xpool").options()}, **super().options()}

    @classmethod
    def options_on(cls, first_system, first_options):
        return {"chosen_by": {"system": first_system, "head": dict(first_options)}}

    @classmethod
    def own_encoder_options(cls, source, count, width):
        return {"encoder": source, "count": count, "width": width}

    @classmethod
    def from_config(cls, options, clip, frames):
        options = dict(options)
        first = options.pop("chosen_by")
        chooser = head_class(first["system"]).from_config(first["head"], clip, frames)
        return cls(chooser=chooser, frames=frames, **options)

    def second_encoder(self):
        return self.encoder

    def video_extra(self, videos):
        shape = (videos, self.frames, self.count, self.width)
        return {"tokens": np.zeros(shape, np.float16)} if self.encoder else {}

    def setup(self):
        self.weight = self.param("weight", lambda key: jnp.ones(()))
        self.matching_loss = self.make_matching_loss()

    def candidate_scorer(self, params):
        return CandidateScorer(self.chooser, params.get("chooser", {}), 3)

    def start_from_head(self, params, head, trained):
        return {**params, "chooser": {name: trained[name] for name in params["chooser"]}}

    def prepare_text(self, text):
        return self.chooser.prepare_text(text)

    def prepare_video(self, video):
        return self.chooser.prepare_video(video)

    def score(self, text, video, draws, aux=False):
        return PairScores(self.weight * self.chooser.score(text, video, draws).similarity)
'''
RESCORED = "their_package.rescored:Rescored"


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder on Python's path with a package of somebody else's."""
    folder = tmp_path_factory.mktemp("elsewhere")
    (folder / "their_package").mkdir()
    (folder / "their_package/__init__.py").touch()
    (folder / "their_package/best_frame.py").write_text(SOURCE)
    (folder / "their_package/rescored.py").write_text(TWO_STAGES)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(folder)
        yield folder


@pytest.fixture(scope="module")
def workdir(place, demo_datasets):
    data = [f"--config.{stage}data.root={demo_datasets}" for stage in ("", "first_stage.")]
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


def test_a_head_of_two_stages_is_configured_by_its_name(place):
    """What is trained first, what it keeps and which other encoder it reads are said by the head."""
    for name in (f"demo:tiny,{RESCORED}", f"msrvtt:b32,{RESCORED},paper"):
        config = load_config(name)
        assert config.first_stage.system == "xpool" and config.first_stage.preset == config.preset
        assert config.head.chosen_by.to_dict() == {"system": "xpool", "head": config.first_stage.head.to_dict()}
        assert config.optimizer.freeze == "(clip|head/chooser)/.*" and not config.init_from
        assert type(build_system(config).head.chooser).__name__ == "XPool"
    assert config.head.encoder == "openai/clip-vit-base-patch32" and config.head.count == 50
    with pytest.raises(UserError, match="BestFrame trains nothing first"):
        head_class(SYSTEM).options_on("xpool", {})


def test_its_tokens_are_those_that_it_names(place, workdir, demo_datasets):
    config = load_config(f"demo:tiny,{RESCORED}", [f"--config.data.root={demo_datasets}"])
    with pytest.raises(UserError, match="the head reads no vision encoder of its own"):
        make_tokens(config)
    clip_config = build_system(config).clip.config
    save_clip(place / "encoder", clip_config, {"clip": random_params(Clip(clip_config))}, np.float32(1))
    config.head.encoder, config.head.count, config.head.width = str(place / "encoder"), clip_config.patches + 1, 16
    folders = make_tokens(config)
    assert set(folders) == {"train", "val", "test"}
    split = open_experiment(config).dataset.split("test")
    assert split.tokens([0]).shape == (1, config.max_frames, clip_config.patches + 1, 16)
    config.head.width = 32
    with pytest.raises(UserError, match="the head reads 10 of 32"):
        make_tokens(config)


def test_its_stages_fit_each_other_and_the_first_is_kept(place, demo_datasets):
    config = load_config(f"demo:tiny,{RESCORED}", [f"--config.data.root={demo_datasets}"])
    plan = plan_run(config, place / "two")  # refuses a stage that cannot start from the one before
    assert [stage.config.system for stage in plan.stages] == ["clip4clip", "xpool", RESCORED]
    rates = parameter_rates(config.optimizer, jax.eval_shape(build_system(config).init, jax.random.key(0)))
    trained = sorted(name for name, rate in rates.items() if not rate.frozen)
    assert trained == ["head/matching_loss/logit_scale", "head/weight"]


def test_every_head_of_the_registry_is_one_line():
    for name, place in HEADS.items():
        module, _, attribute = place.partition(":")
        assert module.startswith("eaglenet_jax.heads.") and attribute and name.isidentifier()
