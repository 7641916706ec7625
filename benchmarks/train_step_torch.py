"""The training step in PyTorch as the released program does it: transformers' CLIPModel, the dense head, and an
optimiser that goes over the tensors one by one.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np

from benchmarks.train_step_ours import (
    HEAD,
    LANGEVIN,
    OPTIMIZER,
    TEXT,
    TOTAL_STEPS,
    VISION,
    Measured,
    StepSizes,
    random_batch,
    random_features,
)
from benchmarks.train_step_torch_head import TorchDraws, TorchHead
from eaglenet_jax.clip.config import ClipConfig
from eaglenet_jax.clip.vision import PIXEL_MEAN, PIXEL_STD
from eaglenet_jax.port.hf_clip import HF_CLIP, config_to_hf
from eaglenet_jax.port.table import to_pytorch
from eaglenet_jax.training.optimizer import parameter_rates


class TorchBertAdam:
    """The released optimiser (docs/systems.md section 2.7). parameters: by name; rates: (lr, decay) by name."""

    def __init__(self, parameters: Mapping[str, Any], rates: Mapping[str, tuple[float, float]]) -> None:
        import torch

        self.torch, self.updates = torch, 0
        self.rows = [(leaf, *rates[name]) for name, leaf in parameters.items()]
        self.moments = [(torch.zeros_like(leaf), torch.zeros_like(leaf)) for leaf in parameters.values()]

    def step(self) -> None:
        """One update from the gradients of the leaves; leaves without one stay."""
        torch, x = self.torch, self.updates / TOTAL_STEPS
        factor = x / 0.1 if x < 0.1 else (1 + math.cos(math.pi * x)) / 2
        self.updates += 1
        torch.nn.utils.clip_grad_norm_([leaf for leaf, _, _ in self.rows], 1.0)
        with torch.no_grad():
            for (leaf, lr, decay), (mean, square) in zip(self.rows, self.moments, strict=True):
                if leaf.grad is None:
                    continue
                torch.nn.utils.clip_grad_norm_([leaf], 1.0)
                mean.mul_(0.9).add_(leaf.grad, alpha=0.1)
                square.mul_(0.98).addcmul_(leaf.grad, leaf.grad, value=0.02)
                update = mean / (square.sqrt() + 1e-6)
                if decay:
                    update += decay * leaf
                leaf.add_(update, alpha=-lr * factor)

    def clear(self) -> None:
        """Forgets the gradients."""
        for leaf, _, _ in self.rows:
            leaf.grad = None


class TorchClip:
    """transformers' CLIPModel with our parameters. dtype: compute type, by autocast where it is not float32."""

    def __init__(self, config: ClipConfig, params: Any, device: str = "cpu", dtype: str = "float32") -> None:
        import torch
        from transformers import CLIPConfig, CLIPModel

        self.torch, self.device, self.dtype = torch, device, getattr(torch, dtype)
        model: Any = CLIPModel(CLIPConfig.from_dict(config_to_hf(config)))
        tensors = to_pytorch(HF_CLIP, {"clip": params})
        missing, unknown = model.load_state_dict(
            {name: torch.from_numpy(value) for name, value in tensors.items()}, strict=False
        )
        if unknown or not all(name == "logit_scale" or name.endswith("position_ids") for name in missing):
            raise RuntimeError(f"CLIPModel lacks {unknown} and asks for {missing}")
        self.model: Any = model.to(device).train()
        self.model.logit_scale.requires_grad_(False)

    def parameters(self) -> dict[str, Any]:
        """Leaves by name, "clip/…"."""
        return {f"clip/{name}": leaf for name, leaf in self.model.named_parameters() if leaf.requires_grad}

    def inputs(self, batch: Mapping[str, np.ndarray]) -> tuple[Any, Any]:
        """Tokens, and normalised frames [B, M, 3, H, W] float32, as the released program's loader gives them."""
        mean, deviation = np.array(PIXEL_MEAN, np.float32), np.array(PIXEL_STD, np.float32)
        pixels = ((batch["frames"].astype(np.float32) / 255 - mean) / deviation).transpose(0, 1, 4, 2, 3)
        tensor = self.torch.tensor
        return tensor(batch["tokens"].astype(np.int64), device=self.device), tensor(pixels.copy(), device=self.device)

    def text(self, tokens: Any) -> Any:
        """Captions [B, L] → [B, d] float32."""
        with self.torch.autocast(self.device, self.dtype, enabled=self.dtype != self.torch.float32):
            return self.model.text_projection(self.model.text_model(input_ids=tokens).pooler_output).float()

    def video(self, frames: Any) -> Any:
        """Frames [B, M, 3, H, W] → [B, M, d] float32."""
        with self.torch.autocast(self.device, self.dtype, enabled=self.dtype != self.torch.float32):
            pooled = self.model.vision_model(pixel_values=frames.flatten(0, 1)).pooler_output
            return self.model.visual_projection(pooled).unflatten(0, frames.shape[:2]).float()


class TorchStep:
    """One update a call, with encoders or, `clip` None, on given features."""

    def __init__(
        self, head: TorchHead, clip: TorchClip | None, settings: Mapping[str, Any], inputs: tuple[Any, Any]
    ) -> None:
        self.head, self.clip, self.inputs = head, clip, inputs
        self.buffer, self.draws = head.empty_buffer(), TorchDraws(head.device)
        parameters = {**(clip.parameters() if clip else {}), **head.parameters}
        self.optimizer = TorchBertAdam(parameters, _rates(settings, parameters))

    def __call__(self) -> float:
        """One step; the loss before it."""
        self.optimizer.clear()
        text, frames = self.inputs
        if self.clip is not None:
            text, frames = self.clip.text(text), self.clip.video(frames)
        loss, self.buffer = self.head.loss(text, frames, self.buffer, self.draws)
        loss.backward()
        self.optimizer.step()
        value = float(loss.detach())
        if self.head.device == "cuda":
            self.head.torch.cuda.synchronize()
        return value


def features_step(measured: Measured, sizes: StepSizes, device: str) -> TorchStep:
    """The step without encoders."""
    head = _head(measured, device)
    return TorchStep(head, None, measured.settings, _features(head, measured, sizes))


def whole_step(measured: Measured, sizes: StepSizes, words: int, device: str) -> TorchStep:
    """The step with both encoders."""
    clip = TorchClip(measured.clip, measured.params["clip"], device, sizes.dtype)
    batch = clip.inputs(random_batch(sizes, measured.clip, words))
    return TorchStep(_head(measured, device), clip, measured.settings, batch)


def torch_parts(measured: Measured, sizes: StepSizes, words: int, device: str) -> dict[str, Callable[[], Any]]:
    """The same parts as `our_parts`."""
    clip = TorchClip(measured.clip, measured.params["clip"], device, sizes.dtype)
    head = _head(measured, device)
    tokens, frames = clip.inputs(random_batch(sizes, measured.clip, words))
    text_features, frame_features = (x.requires_grad_() for x in _features(head, measured, sizes))
    buffer, draws = head.empty_buffer(), TorchDraws(device)
    parameters = {**clip.parameters(), **head.parameters}
    optimizer = TorchBertAdam(parameters, _rates(measured.settings, parameters))
    updated = TorchBertAdam(parameters, _rates(measured.settings, parameters))

    def backward(loss: Callable[[], Any]) -> Callable[[], None]:
        def run() -> None:
            optimizer.clear()
            loss().backward()
            finish()

        return run

    def finish() -> None:
        if device == "cuda":
            head.torch.cuda.synchronize()

    def update() -> None:
        for leaf in parameters.values():  # an update needs some gradient; its values do not matter
            leaf.grad = leaf.detach() if leaf.grad is None else leaf.grad
        updated.step()
        finish()

    def samples() -> None:
        head.samples(buffer, sizes.batch, draws, 0)
        finish()

    return {
        VISION: backward(lambda: clip.video(frames).sum()),
        TEXT: backward(lambda: clip.text(tokens).sum()),
        HEAD: backward(lambda: head.loss(text_features, frame_features, buffer, draws, energies=False)[0]),
        LANGEVIN: samples,
        OPTIMIZER: update,
    }


def _head(measured: Measured, device: str) -> TorchHead:
    head: Any = measured.system.head
    return TorchHead(head, measured.params["head"], device)


def _features(head: TorchHead, measured: Measured, sizes: StepSizes) -> tuple[Any, Any]:
    features = random_features(sizes, measured.clip.embed_dim)
    tensor = head.torch.tensor
    return tensor(features["text"].pooled, device=head.device), tensor(features["video"].frames, device=head.device)


def _rates(settings: Mapping[str, Any], parameters: Mapping[str, Any]) -> dict[str, tuple[float, float]]:
    """Rates of leaves, by the released rules on PyTorch's names. Nothing is frozen: leaves without gradient stay."""
    released = {**settings, "groups": ((".*", {}),)}
    tree = {name: jax.ShapeDtypeStruct(tuple(leaf.shape), "float32") for name, leaf in parameters.items()}
    return {name: (rate.lr, rate.decay) for name, rate in parameter_rates(released, tree).items()}
