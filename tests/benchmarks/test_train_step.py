"""The benchmark of the training step at tiny sizes, and its PyTorch side against ours on the same numbers."""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Iterator

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from benchmarks import train_step, train_step_ours
from benchmarks.random_features import moved
from benchmarks.train_step_ours import (
    Measured,
    StepSizes,
    measured_system,
    random_batch,
    random_features,
)
from eaglenet_jax.config.moving_shapes import CLIP as TINY_CLIP
from eaglenet_jax.config.moving_shapes import SMALLEST_CLIP
from eaglenet_jax.draws import RecordedDraws
from eaglenet_jax.errors import UserError
from eaglenet_jax.heads.interface import whole
from eaglenet_jax.system import OnFeatures
from eaglenet_jax.training.optimizer import make_optimizer

pytestmark = pytest.mark.long

SIZES = StepSizes(batch=3, frames=2)


@pytest.fixture(autouse=True, scope="module")
def measured() -> Iterator[Measured]:
    """The smallest CLIP in place of the tiny one, and the system with it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(train_step_ours.CLIPS, "tiny", TINY_CLIP | SMALLEST_CLIP)
        found = measured_system(SIZES)
        patch.setattr(train_step, "measured_system", lambda sizes: found)
        yield found


def _run(capsys, *arguments: str) -> dict:
    train_step.main(["--batch=3", "--frames=2", "--steps=1", "--json", *arguments])
    return json.loads(capsys.readouterr().out)


def test_prints_json_of_our_side_where_pytorch_is_missing(monkeypatch, capsys) -> None:
    monkeypatch.setattr(train_step, "has_torch", lambda: False)
    result = _run(capsys, "--what=features")
    assert result["torch"] is None
    assert result["features"]["ours"]["seconds"] > 0 and result["features"]["ours"]["compile_seconds"] > 0
    assert result["features"]["ours_to_torch"] is None
    assert "step on given features" in train_step.table(result)


def test_refuses_what_it_does_not_know() -> None:
    with pytest.raises(UserError, match="some of features"):
        train_step.main(["--what=everything"])
    with pytest.raises(UserError, match="at least 1"):
        train_step.main(["--batch=0"])


@pytest.mark.parity
def test_compares_with_pytorch(monkeypatch, capsys) -> None:
    pytest.importorskip("torch")

    class Compiled:  # compiling two steps is most of the time
        compile_seconds = 1.0

        def __init__(self, *made_of) -> None: ...

        def __call__(self) -> None:
            time.sleep(0.001)

    monkeypatch.setattr(train_step, "OurStep", Compiled)
    result = _run(capsys)
    assert list(result["parts"]) == ["vision", "text", "head", "Langevin", "optimiser"]
    rows = [result["features"], result["whole"], *result["parts"].values()]
    for row in rows:
        assert row["ours_to_torch"] == pytest.approx(row["ours"]["seconds"] / row["torch"]["seconds"])
    assert train_step.table(result).count("\n") == len(rows)


def _recorded(head, batch: int, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """All that a loss draws: by call of the sampler, and by step within it."""
    chains = {"text": (batch, head.width), "video": (batch, head.frames, head.width)}
    steps = head.sampler.steps
    return {
        "candidates": rng.random((batch, batch, head.candidates, head.width), np.float32),
        "buffer_rows": np.stack([rng.permutation(head.sampler.buffer_rows) for _ in range(2)]),
        **{f"fresh_{name}": rng.random((2, *shape), np.float32) for name, shape in chains.items()},
        **{
            f"langevin_{name}": rng.normal(size=(2, steps, *shape)).astype(np.float32)
            for name, shape in chains.items()
        },
    }  # fmt: skip


@pytest.mark.parity
@pytest.mark.parametrize(("energy", "positions"), [("mlp", False), ("bilinear", True)])
def test_pytorchs_loss_and_gradient_are_ours(measured, energy, positions) -> None:
    torch = pytest.importorskip("torch")
    from benchmarks.train_step_torch_head import TorchDraws, TorchHead

    class Recorded(TorchDraws):
        def __init__(self, arrays) -> None:
            super().__init__()
            self.arrays = arrays

        def uniform(self, name, shape, *folds):
            found = torch.tensor(self.arrays[name][folds])
            assert found.shape == tuple(shape)
            return found

        normal = uniform

        def permutation(self, name, count, *folds):
            return self.uniform(name, (count,), *folds)

        def dropout(self, x, rate):
            return x

    # Five chains, of which four start from the buffer in the second call. It has no rows of zeros by then: from those
    # the two differ, since PyTorch's unit vectors have a gradient of 1e12 at zero and ours have none.
    sizes = dataclasses.replace(SIZES, batch=5)
    released = measured.system.head
    sampler = dataclasses.replace(released.sampler, buffer_rows=5)
    head = released.clone(
        energy=energy, frame_positions=positions, eam_support_weight=0.7, eam_weight=1.3, sampler=sampler
    )
    system = dataclasses.replace(measured.system, head=head)
    start = dict(measured.params["head"])
    if energy == "bilinear":
        start["energy_function"] = {"text_map": {"kernel": np.eye(head.width), "bias": np.zeros(head.width)}}
    if positions:
        start["frame_positions"] = np.ones((head.frames, head.width))
    params = {"head": moved(jax.tree.map(jnp.float32, start), 0.1)}
    batch, arrays = random_features(sizes, head.width), _recorded(head, 5, np.random.default_rng(0))
    draws = RecordedDraws(arrays=jax.tree.map(jnp.asarray, arrays))
    ours = OnFeatures(system)

    def loss(params, batch):
        value, parts, state = ours.head_loss(
            params, ours.encode(params, OnFeatures.batch(**batch)), head.initial_state(), draws, whole
        )
        return value, (parts, state)

    batch = jax.tree.map(jnp.asarray, batch)
    (expected, (parts, state)), slopes = jax.jit(jax.value_and_grad(loss, has_aux=True))(params, batch)
    theirs = TorchHead(head, params["head"])
    inputs = [torch.tensor(np.asarray(x)) for x in (batch["text"].pooled, batch["video"].frames)]
    found, buffer = theirs.loss(*inputs, theirs.empty_buffer(), Recorded(arrays))
    assert set(parts) == {"match_loss", "support_loss", "eam_loss", "eam_support_loss"}
    assert float(found.detach()) == pytest.approx(float(expected), rel=1e-4)
    np.testing.assert_allclose(buffer.video.numpy(), state.video, rtol=1e-4, atol=1e-4)
    found.backward()
    compared = 0
    for name, leaf in theirs.parameters.items():
        mine: object = slopes
        for part in name.split("/"):
            mine = mine.get(part) if isinstance(mine, dict) else None
        if mine is not None:
            gradient = np.zeros(leaf.shape) if leaf.grad is None else leaf.grad.numpy()
            scale = 1e-4 * np.abs(mine).max() + 1e-6
            np.testing.assert_allclose(gradient, mine, atol=scale, rtol=1e-3, err_msg=name)
            compared += 1
    assert compared >= len(theirs.parameters) - 2


@pytest.mark.parity
def test_pytorchs_encoders_and_optimiser_are_ours(measured) -> None:
    torch = pytest.importorskip("torch")
    from benchmarks.train_step_torch import TorchBertAdam, TorchClip, _rates

    batch = random_batch(SIZES, measured.clip, measured.system.max_words)
    text, video = jax.jit(measured.system.encode)(measured.params, batch)
    clip = TorchClip(measured.clip, measured.params["clip"])
    tokens, frames = clip.inputs(batch)
    np.testing.assert_allclose(clip.text(tokens).detach().numpy(), text.pooled, atol=1e-4)
    np.testing.assert_allclose(clip.video(frames).detach().numpy(), video.frames, atol=1e-4)

    rng = np.random.default_rng(0)
    params = {"head": {name: rng.normal(size=(4, 3)).astype(np.float32) for name in ("kernel", "bias")}}
    settings = {**measured.settings, "groups": ((".*", {}),), "freeze": [], "head_lr": 0.1}
    leaves = {f"head/{name}": torch.tensor(value, requires_grad=True) for name, value in params["head"].items()}
    theirs = TorchBertAdam(leaves, _rates(settings, leaves))
    optimizer = make_optimizer(settings, params, train_step_ours.TOTAL_STEPS)
    state = optimizer.init(params)
    for _ in range(3):
        slopes = jax.tree.map(lambda leaf: rng.normal(size=leaf.shape).astype(np.float32), params)
        for name, leaf in leaves.items():
            leaf.grad = torch.tensor(slopes["head"][name.split("/")[1]])
        theirs.step()
        updates, state = optimizer.update(slopes, state, params)
        params = jax.tree.map(lambda p, u: np.asarray(p + u), params, updates)
    for name, leaf in leaves.items():
        np.testing.assert_allclose(leaf.detach().numpy(), params["head"][name.split("/")[1]], atol=1e-5)
