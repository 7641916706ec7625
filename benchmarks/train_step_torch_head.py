"""EagleNet's training loss in PyTorch as the released program computes it, written from docs/systems.md's equations.

A dense graph of all nodes and relations for every pair, energies on concatenated vectors, Langevin sampling by autograd
in a Python loop.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jax

from benchmarks.scoring_torch import TorchDense
from eaglenet_jax.heads.eaglenet import EagleNet
from eaglenet_jax.training.optimizer import parameter_name


class TorchDraws:
    """Random numbers of a training step. folds: the sampler's call and step, for subclasses that look numbers up."""

    def __init__(self, device: str = "cpu") -> None:
        import torch

        self.torch, self.device = torch, device

    def uniform(self, name: str, shape: Sequence[int], *folds: int) -> Any:
        """U[0, 1)."""
        return self.torch.rand(*shape, device=self.device)

    def normal(self, name: str, shape: Sequence[int], *folds: int) -> Any:
        """Standard normal numbers."""
        return self.torch.randn(*shape, device=self.device)

    def permutation(self, name: str, count: int, *folds: int) -> Any:
        """Draw a random order."""
        return self.torch.randperm(count, device=self.device)

    def dropout(self, x: Any, rate: float) -> Any:
        """Dropout as in training."""
        return self.torch.nn.functional.dropout(x, rate)


@dataclass(frozen=True)
class TorchBuffer:
    """The replay buffer: text [N, d], video [N, M, d], calls of the sampler so far."""

    text: Any
    video: Any
    calls: int = 0


class TorchHead(TorchDense):
    """EagleNet's training loss with the released switches, parameters of the Flax head as leaves with gradients."""

    def __init__(self, head: EagleNet, params: Mapping[str, Any], device: str = "cpu") -> None:
        """Copy the head's parameters. Raises ValueError on a head with other switches than the released ones."""
        super().__init__(head, params, device)
        released = head.support == "mean" and head.loss_kind == "sigmoid" and head.candidate_noise == "uniform"
        energies = head.energy in ("mlp", "bilinear") and head.energy_pooling == "avg" and head.eam_negatives
        if not (released and energies and head.sampler.start == "released"):
            raise ValueError("the PyTorch loss is written for the released switches alone")
        self.head = head
        energy = self.params["energy_function"]
        if head.energy == "mlp":  # one layer on [f ; t], as the released program has it
            frame, text = energy.pop("hidden_frame"), energy.pop("hidden_text")
            energy["hidden"] = {"kernel": self.torch.cat([frame["kernel"], text["kernel"]]), "bias": frame["bias"]}
        self.parameters = {
            f"head/{parameter_name(path)}": leaf.requires_grad_()
            for path, leaf in jax.tree_util.tree_leaves_with_path(self.params)
        }

    def empty_buffer(self) -> TorchBuffer:
        """Zeros."""
        rows, zeros = self.head.sampler.buffer_rows, self.torch.zeros
        shapes = (rows, self.head.width), (rows, self.head.frames, self.head.width)
        return TorchBuffer(*(zeros(*shape, device=self.device) for shape in shapes))

    def loss(
        self, text: Any, frames: Any, buffer: TorchBuffer, draws: TorchDraws, energies: bool = True
    ) -> tuple[Any, TorchBuffer]:
        """Compute loss and new buffer of text [B, d], frames [B, M, d]. energies: with energy-aware matching."""
        torch, head = self.torch, self.head
        similarity, pooled, radius = self._pairs(text, frames, draws)
        unit = torch.nn.functional.normalize
        target = unit(pooled, dim=-1).mean(dim=0)  # [B, d], by video
        support = unit(text[:, None] + radius * unit(target[None] - text[:, None], dim=-1), dim=-1)
        support_similarity = torch.sum(support * unit(pooled, dim=-1), dim=-1)
        loss = self._sigmoid_loss(similarity) + head.support_weight * self._sigmoid_loss(support_similarity)
        if not energies:
            return loss, buffer
        own = torch.arange(len(text), device=self.device)
        for call, (weight, moved) in enumerate(((head.eam_weight, text), (head.eam_support_weight, support[own, own]))):
            if weight:
                energy_loss, buffer = self._energy_loss(moved, frames, buffer, draws, call)
                loss = loss + weight * energy_loss
        return loss, buffer

    def _pairs(self, text: Any, frames: Any, draws: TorchDraws) -> tuple[Any, Any, Any]:
        """Similarity [B, B], pooled videos and radii [B, B, d] of all pairs, each with its own noise and dropout."""
        torch, unit = self.torch, self.torch.nn.functional.normalize
        batch, width, samples = len(text), text.shape[1], self.head.candidates
        cosines = torch.einsum("td,vmd->tvm", unit(text, dim=-1), unit(frames, dim=-1))
        radius = torch.exp(self._linear(cosines, self.params["radius"]["linear"]))
        noise = draws.uniform("candidates", (batch, batch, samples, width))
        itself = text[:, None, None].expand(batch, batch, 1, width)
        candidates = torch.cat([itself, itself + radius[:, :, None] * noise], dim=2)
        placed = frames + self.params["frame_positions"] if "frame_positions" in self.params else frames
        nodes = torch.cat([placed[None].expand(batch, -1, -1, -1), candidates], dim=2).flatten(0, 1)
        edge_means = None
        for index in range(self.layers):
            outputs, edge_means = self._layer(nodes, self.params["relations"][f"layer_{index}"], frames.shape[1])
            if index < self.layers - 1:
                nodes = draws.dropout(torch.relu(outputs.flatten(2)), self.head.graph.dropout_rate)
        weights = torch.softmax(edge_means, dim=-1).view(batch, batch, -1)
        generated = torch.einsum("tvs,tvsd->tvd", weights, candidates)
        pooled = self._pooled(generated, frames, draws)
        return torch.sum(unit(generated, dim=-1) * unit(pooled, dim=-1), dim=-1), pooled, radius

    def _pooled(self, text: Any, frames: Any, draws: TorchDraws) -> Any:
        """Do the same as `_pool`, with dropout."""
        torch, parameters = self.torch, self.params["pooling"]
        frames = self._norm(frames, "norm1")
        query = self._linear(self._norm(text, "norm1"), parameters["query"])
        keys, values = self._linear(frames, parameters["key"]), self._linear(frames, parameters["value"])
        logits = torch.einsum("tvd,vmd->tvm", query, keys) / text.shape[-1] ** 0.5
        pooled = torch.einsum("tvm,vmd->tvd", torch.softmax(logits, dim=-1), values)
        pooled = self._norm(self._linear(pooled, parameters["output"]), "norm2")
        moved = draws.dropout(self._linear(pooled, parameters["linear"]), self.head.pooling_dropout)
        return self._norm(pooled + moved, "norm3")

    def _sigmoid_loss(self, similarity: Any) -> Any:
        torch, parameters = self.torch, self.params["matching_loss"]
        logits = torch.exp(parameters["log_scale"]) * similarity + parameters["bias"]
        signs = 2 * torch.eye(len(similarity), device=self.device) - 1
        return -torch.nn.functional.logsigmoid(signs * logits).sum() / len(similarity)

    def energy(self, text: Any, frames: Any) -> Any:
        """Compute energies of texts [..., d] with frames [..., M, d] that have the same leading axes."""
        torch, parameters, unit = self.torch, self.params["energy_function"], self.torch.nn.functional.normalize
        if self.head.energy == "bilinear":
            asked = self._linear(unit(text, dim=-1), parameters["text_map"])
            return -torch.sum(asked[..., None, :] * unit(frames, dim=-1), dim=-1).mean(dim=-1)
        both = torch.cat([frames, text[..., None, :].expand_as(frames)], dim=-1)
        hidden = torch.relu(self._linear(both, parameters["hidden"]))
        return self._linear(hidden, parameters["output"])[..., 0].mean(dim=-1)

    def _energy_loss(
        self, text: Any, frames: Any, buffer: TorchBuffer, draws: TorchDraws, call: int
    ) -> tuple[Any, TorchBuffer]:
        torch, count = self.torch, len(text)
        pairs = (count, count)
        all_pairs = self.energy(text[:, None].expand(*pairs, -1), frames[None].expand(*pairs, -1, -1))
        off_diagonal = ~torch.eye(count, dtype=torch.bool, device=self.device)
        true, mismatched = torch.diagonal(all_pairs), all_pairs[off_diagonal]
        samples, buffer = self.samples(buffer, count, draws, call)
        return (_regularised(true, mismatched) + _regularised(true, self.energy(*samples))) / 2, buffer

    def samples(
        self, buffer: TorchBuffer, count: int, draws: TorchDraws, call: int
    ) -> tuple[tuple[Any, Any], TorchBuffer]:
        """Return the ends of `count` chains, text and video, and the buffer with them in front."""
        torch, settings = self.torch, self.head.sampler
        chains = []
        rows = draws.permutation("buffer_rows", settings.buffer_rows, call)
        taken = int(settings.buffer_probability * count)
        for name, kept in (("text", buffer.text), ("video", buffer.video)):
            start = draws.uniform(f"fresh_{name}", (count, *kept.shape[1:]), call)
            chains.append(torch.cat([kept[rows[:taken]], start[taken:]]) if buffer.calls else 2 * start - 1)
        for step in range(settings.steps):
            chains = [chain.detach().requires_grad_() for chain in chains]
            slopes = torch.autograd.grad(self.energy(*chains).sum(), chains)
            noises = [
                draws.normal(f"langevin_{name}", chain.shape, call, step)
                for name, chain in zip(("text", "video"), chains, strict=True)
            ]
            chains = [
                (chain - settings.step_size * slope + settings.noise_deviation * noise).detach()
                for chain, slope, noise in zip(chains, slopes, noises, strict=True)
            ]
        kept = [
            torch.cat([new, old])[: settings.buffer_rows]
            for new, old in zip(chains, (buffer.text, buffer.video), strict=True)
        ]
        return (chains[0], chains[1]), TorchBuffer(kept[0], kept[1], buffer.calls + 1)


def _regularised(positive: Any, negative: Any) -> Any:
    return positive.mean() - negative.mean() + (positive**2).mean() + (negative**2).mean()
