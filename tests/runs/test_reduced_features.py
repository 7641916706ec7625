"""What an evaluation keeps of a video for a head that makes few tokens of all patches."""

from __future__ import annotations

import dataclasses
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from eaglenet_jax.config.loading import load_config
from eaglenet_jax.runs import evaluate as evaluating
from eaglenet_jax.runs import evaluate_split as splitting
from tests.heads.heads import FRAMES, HEADS, WIDTH, features, head_params

HEAD = HEADS["ts2net"]
NOISY = HEAD.clone(evaluation_noise=True)


def experiment(head):
    split = SimpleNamespace(name="val", video_ids="abcd", queries=lambda _: "abcd")
    dataset = SimpleNamespace(split=lambda _: split, manifest={"splits": {"val": {}}})
    return SimpleNamespace(
        config=load_config("demo:tiny,ts2net"), system=SimpleNamespace(head=head), dataset=dataset, tokenizer=None
    )


def test_an_evaluation_keeps_the_selected_patches_alone(monkeypatch):
    text, video = features(4)
    for side, found in (("text", text), ("video", video)):
        monkeypatch.setattr(splitting, f"{side}_batches", lambda *_, **__: [{}, {}])
        monkeypatch.setattr(splitting, f"make_encode_{side}", lambda _, found=found: lambda params, batch: found)
    params = {"head": head_params(HEAD)}
    kept = {}
    for name, head, seed in (("ours", HEAD, 1), ("ours again", HEAD, 2), ("noisy", NOISY, 1), ("noise 2", NOISY, 2)):
        encoded = splitting.encode_split(experiment(head), params, "val", seed=seed)
        assert encoded.videos.patches is None
        kept[name] = encoded.videos.extra["selected"]
        assert kept[name].shape == (8, FRAMES, HEAD.selected, WIDTH) and isinstance(kept[name], np.ndarray)
    np.testing.assert_array_equal(kept["ours"], kept["ours again"])
    assert np.any(kept["noisy"] != kept["noise 2"]) and np.any(kept["noisy"] != kept["ours"])


@dataclasses.dataclass
class Result:
    noise: Any = None


@pytest.mark.parametrize(("head", "seeds"), [(HEAD, [None]), (NOISY, [None, 1, 2])])
def test_noise_of_the_videos_is_drawn_again_for_every_seed(head, seeds, monkeypatch):
    encoded, scored = [], []

    def encode(*given):
        encoded.append(given[6] if len(given) > 6 else None)
        return len(encoded)

    monkeypatch.setattr(evaluating, "encode_split", encode)
    monkeypatch.setattr(
        evaluating, "score_split", lambda _, __, which, *, seed, **___: scored.append((which, seed)) or "evaluation"
    )
    monkeypatch.setattr(evaluating, "stage_result", lambda *_, **__: Result())
    monkeypatch.setattr(evaluating, "noise_spread", lambda first, others: {"seeds": 1 + len(list(others))})
    options = evaluating.EvaluationOptions(split="val", noise_seeds=3, zero_shot=False)
    stage = evaluating._evaluated(experiment(head), SimpleNamespace(params={}), "run", options, evaluating.no_progress)
    assert encoded == seeds and [seed for _, seed in scored] == [0, 1, 2]
    assert [which for which, _ in scored] == ([1, 2, 3] if head is NOISY else [1, 1, 1])
    assert stage.result.noise == {"val": {"seeds": 3}}
