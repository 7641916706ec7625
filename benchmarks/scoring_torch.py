"""Scores of all pairs in PyTorch as the released programs compute them, written from docs/systems.md's equations.

Per pair: one graph of n = M + 1 + S nodes. Every relation projects every node, in every layer, the last one included,
and all nodes of the last layer get their messages. Python loops over blocks of 8 texts × 8 videos.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from eaglenet_jax.heads.eaglenet import EagleNet
from eaglenet_jax.layers.rgat import FRAME_FRAME, LEAKY_SLOPE, TEXT_FRAME, TEXT_TEXT

BLOCK = 8


class TorchDense:
    """EagleNet's scoring with the released switches and parameters of the Flax head; videos have all their frames."""

    def __init__(self, head: EagleNet, params: Mapping[str, Any], device: str = "cpu", dtype: str = "float32") -> None:
        """params: the head's own tree. Raises ValueError on a head with other switches than the released ones."""
        import jax
        import torch

        graph = head.graph
        released = graph.kind == "rgat" and graph.readout == "released" and graph.shared_residual
        if not (released and head.radius_bias and head.pooling_heads == 1 and head.pooling_input_norm):
            raise ValueError("the PyTorch formulation is written for the released switches alone")
        self.torch, self.heads, self.layers = torch, graph.heads, graph.layers
        self.params = jax.tree.map(lambda leaf: self._tensor(leaf, device, dtype), dict(params))
        self.device, self.dtype = device, dtype

    def _tensor(self, x: Any, device: str, dtype: str) -> Any:
        return self.torch.tensor(np.asarray(x, np.float32), device=device, dtype=getattr(self.torch, dtype))

    def score(self, text: np.ndarray, frames: np.ndarray, noise: np.ndarray, block: int = BLOCK) -> np.ndarray:
        """text: [Nt, d], frames: [Nv, M, d], noise: [Nt, S, d], shared by all videos → similarity [Nt, Nv]."""
        torch = self.torch
        with torch.inference_mode():
            tensors = [self._tensor(x, self.device, self.dtype) for x in (text, frames, noise)]
            rows = []
            for i in range(0, len(text), block):
                one = [
                    self._block(tensors[0][i : i + block], tensors[1][j : j + block], tensors[2][i : i + block])
                    for j in range(0, len(frames), block)
                ]
                rows.append(torch.cat(one, dim=1))
            return torch.cat(rows).float().cpu().numpy()

    def _block(self, text: Any, frames: Any, noise: Any) -> Any:
        torch, functional = self.torch, self.torch.nn.functional
        unit = functional.normalize
        texts, videos, width = len(text), len(frames), text.shape[1]
        cosines = torch.einsum("td,vmd->tvm", unit(text, dim=-1), unit(frames, dim=-1))
        radius = torch.exp(self._linear(cosines, self.params["radius"]["linear"]))
        cloud = text[:, None, None] + radius[:, :, None] * noise[:, None]
        itself = text[:, None, None].expand(texts, videos, 1, width)
        candidates = torch.cat([itself, cloud], dim=2)
        placed = frames + self.params["frame_positions"] if "frame_positions" in self.params else frames
        nodes = torch.cat([placed[None].expand(texts, -1, -1, -1), candidates], dim=2).flatten(0, 1)
        edge_means = None
        for index in range(self.layers):
            parameters = self.params["relations"][f"layer_{index}"]
            outputs, edge_means = self._layer(nodes, parameters, frames.shape[1])
            if index < self.layers - 1:
                nodes = torch.relu(outputs.flatten(2))
        weights = torch.softmax(edge_means, dim=-1).view(texts, videos, -1)
        generated = torch.einsum("tvs,tvsd->tvd", weights, candidates)
        pooled = self._pool(generated, frames)
        return torch.sum(unit(generated, dim=-1) * unit(pooled, dim=-1), dim=-1)

    def _layer(self, x: Any, parameters: Any, frames: int) -> tuple[Any, Any]:
        """Outputs of all nodes [pairs, n, H, k], and the mean text–frame edge weight of each text [pairs, S + 1]."""
        torch = self.torch
        frame, text = slice(0, frames), slice(frames, x.shape[1])
        edges = {TEXT_TEXT: [(text, text)], FRAME_FRAME: [(frame, frame)], TEXT_FRAME: [(text, frame), (frame, text)]}
        own = x @ parameters["residual"].flatten(1)
        outputs = own[:, :, None].repeat(1, 1, self.heads, 1)
        for name, groups in edges.items():
            relation = parameters[name]
            z = (x @ relation["kernel"].flatten(1)).view(*x.shape[:2], self.heads, -1)
            receive, send = z @ relation["receive"], z @ relation["send"]  # [pairs, n, H, 1]
            for to, of in groups:
                logits = receive[:, to] + send[:, of].permute(0, 3, 2, 1)
                weights = torch.nn.functional.leaky_relu(logits, LEAKY_SLOPE)  # [pairs, i, H, j]
                message = torch.softmax(weights, dim=-1).transpose(1, 2) @ z[:, of].transpose(1, 2)
                outputs[:, to] += message.transpose(1, 2)
        return outputs, weights.mean(dim=(1, 2))  # those of the last group: frames receive, texts send

    def _linear(self, x: Any, parameters: Any) -> Any:
        return x @ parameters["kernel"] + parameters["bias"]

    def _norm(self, x: Any, name: str) -> Any:
        parameters = self.params["pooling"][name]
        return self.torch.nn.functional.layer_norm(x, x.shape[-1:], parameters["scale"], parameters["bias"], 1e-5)

    def _pool(self, text: Any, frames: Any) -> Any:
        """X-Pool: frames [videos, M, d] pooled for each text [texts, videos, d]."""
        torch, parameters = self.torch, self.params["pooling"]
        frames = self._norm(frames, "norm1")
        query = self._linear(self._norm(text, "norm1"), parameters["query"])
        keys, values = self._linear(frames, parameters["key"]), self._linear(frames, parameters["value"])
        logits = torch.einsum("tvd,vmd->tvm", query, keys) / text.shape[-1] ** 0.5
        pooled = torch.einsum("tvm,vmd->tvd", torch.softmax(logits, dim=-1), values)
        pooled = self._norm(self._linear(pooled, parameters["output"]), "norm2")
        return self._norm(pooled + self._linear(pooled, parameters["linear"]), "norm3")
