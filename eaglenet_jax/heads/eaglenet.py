"""EagleNet: a graph of text candidates and frames selects a text, which pools the frames (docs/systems.md section 2).

Chen et al., EagleNet, CVPR 2026. Defaults are the preset `ours`; the fields are the switches of docs/DIFFERENCES.md.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from functools import partial
from typing import Any, ClassVar, cast

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from jaxtyping import Array, Float

from eaglenet_jax import accelerator
from eaglenet_jax.clip.config import ClipConfig
from eaglenet_jax.draws import Draws, Ids
from eaglenet_jax.energy.functions import Energy
from eaglenet_jax.energy.matching import MatchingPairs, SamplerSettings, energy_loss
from eaglenet_jax.energy.replay_buffer import ReplayBuffer, empty_buffer
from eaglenet_jax.errors import UserError
from eaglenet_jax.heads.interface import Head, PairScores, Pairwise, PreparedText, TextFeatures, VideoFeatures
from eaglenet_jax.heads.options import check_choices
from eaglenet_jax.layers.frame_pooling import FramePooling, PooledFrames
from eaglenet_jax.layers.rgat import GraphParameters, GraphShape
from eaglenet_jax.layers.rgat_folded import FrameSide, candidate_weights, prepare_frames
from eaglenet_jax.layers.similarity import at_least_float32, cosine, unit
from eaglenet_jax.layers.stochastic_text import Radius, candidates, frame_similarities, toward, weighted_noise


@struct.dataclass
class PreparedVideo:
    """Prepared videos.

    Attributes:
        id: [Bv].
        frames: [Bv, M, d].
        mask: [Bv, M].
        graph: The frames' part of the first graph layer.
        pooling: Keys and values of the frame pooling.
    """

    id: Array
    frames: Array
    mask: Array
    graph: FrameSide
    pooling: PooledFrames


class EagleNet(Head):
    """The EagleNet head.

    Attributes:
        width: d.
        frames: M.
        graph: Structure of the graph network.
        candidates: S.
        candidate_choice: "graph", or "best": as T-MASS chooses, without a graph (the ablation without fine-grained
            relationship learning).
        candidate_noise: "uniform" U[0, 1) (released) or "normal" (paper).
        radius_bias: exp(W s + b), or the paper's exp(sᵀW).
        frame_positions: Add learnable positions to the graph's frame nodes.
        pooling_heads: Attention heads of the frame pooling.
        pooling_dropout: Dropout of the frame pooling.
        pooling_input_norm: Normalise the inputs of the frame pooling.
        pooling_bias: Biases of the projections of the frame pooling; the paper's appendix A has none.
        support: Target of the support text: "mean" over texts of the pooled videos (released), or the pair's "own"
            (paper).
        support_weight: Weight of the support loss.
        support_unit_length: The second energy call gets the support text at unit length (released), which only the MLP
            energy can see; else as it is (paper).
        energy: Kind of the energy, see `Energy`.
        energy_pooling: Pooling of the energy, see `Energy`; or "fused": the energy of t and v = π(F | t), the frames
            pooled for t itself (paper, table 5).
        energy_bias: Bias of the bilinear energy; the paper's eq. 13 has none.
        eam_weight: λ_eam, weight of energy-aware matching; 0 switches it off.
        eam_support_weight: λ_eam_sup, the same for the support text.
        eam_negatives: Add the mismatched pairs of the batch to energy-aware matching (released).
        sampler: Langevin sampler of the energy model.
        scoring_kernel: Kernel of the graph in evaluation, see `with_scoring_kernel`.

    Other attributes as in `Head`.
    """

    width: int  # type: ignore[misc]  # flax has made the fields of Head keyword-only
    frames: int  # type: ignore[misc]
    graph: GraphShape = GraphShape(512)
    candidates: int = 20
    candidate_choice: str = "graph"
    candidate_noise: str = "uniform"
    radius_bias: bool = True
    frame_positions: bool = True
    pooling_heads: int = 1
    pooling_dropout: float = 0.3
    pooling_input_norm: bool = True
    pooling_bias: bool = True
    support: str = "mean"
    support_weight: float = 0.8
    support_unit_length: bool = True
    loss_kind: str = dataclasses.field(default="sigmoid", kw_only=True)
    energy: str = "mlp"
    energy_pooling: str = "avg"
    energy_bias: bool = True
    eam_weight: float = 1.0
    eam_support_weight: float = 1.0
    eam_negatives: bool = True
    sampler: SamplerSettings = SamplerSettings()
    scoring_kernel: str = "none"

    presets: ClassVar = {
        "released": {"mask_padding": False, "mask_repeated_videos": False, "sampler": {"start": "released"}},
        "paper": {
            "candidate_noise": "normal",
            "radius_bias": False,
            "frame_positions": True,
            "pooling_input_norm": False,
            "pooling_bias": False,
            "pooling_dropout": 0.3,
            "support": "own",
            "support_unit_length": False,
            "energy": "bilinear",
            "energy_bias": False,
            "eam_support_weight": 0.0,
            "eam_negatives": False,
            "graph": {"dropout_rate": 0.3, "shared_residual": False, "readout": "paper"},
            "sampler": {"start": "paper", "noise_deviation": math.sqrt(0.005)},
        },
    }

    not_options = frozenset({"scoring_kernel"})
    bounds: ClassVar = {
        **Head.bounds,
        "candidates": (1, math.inf),
        "pooling_heads": (1, math.inf),
        "graph.layers": (1, math.inf),
        "graph.heads": (1, math.inf),
        "sampler.steps": (1, math.inf),
        "sampler.step_size": (0, math.inf),
        "sampler.noise_deviation": (0, math.inf),
        "sampler.buffer_rows": (1, math.inf),
        "sampler.buffer_probability": (0, 1),
    }

    @classmethod
    def decided_fields(cls, clip: ClipConfig, frames: int) -> dict[str, Any]:
        return {"width": clip.embed_dim, "frames": frames, "graph": {"width": clip.embed_dim}}

    @classmethod
    def unread_options(cls, options: Mapping[str, Any]) -> dict[str, str]:
        unread = super().unread_options(options)
        if not options.get("eam_weight") and not options.get("eam_support_weight"):
            reason = "eam_weight and eam_support_weight are 0, so no energy is trained"
            unread |= dict.fromkeys(("energy", "energy_pooling", "energy_bias", "eam_negatives", "sampler"), reason)
        elif options.get("energy") != "bilinear":
            unread["energy_bias"] = f"energy is {options.get('energy')!r}, not bilinear"
        if not options.get("eam_support_weight"):
            unread["support_unit_length"] = "eam_support_weight is 0, so the support text has no energy"
        if options.get("candidate_choice") == "best":
            unread["graph"] = "candidate_choice is 'best', which has no graph"
        return unread

    def setup(self) -> None:
        """Build the modules, under their names in the parameter tree."""
        check_choices(
            self,
            candidate_choice=("graph", "best"),
            candidate_noise=("uniform", "normal"),
            support=("mean", "own"),
        )
        self.radius = Radius(self.width, self.radius_bias)
        self.relations = GraphParameters(self.graph)
        self.pooling = FramePooling(
            self.width,
            self.pooling_heads,
            self.pooling_dropout,
            self.pooling_input_norm,
            self.pooling_bias,
            self.dtype,
        )
        # Of the one vector that `fused` energies are of, the mean is that vector.
        over_frames = "avg" if self.energy_pooling == "fused" else self.energy_pooling
        self.energy_function = Energy(self.width, self.energy, over_frames, self.energy_bias)
        self.matching_loss = self.make_matching_loss()
        if self.frame_positions:
            self.positions = self.param("frame_positions", nn.initializers.normal(1.0), (self.frames, self.width))

    def initial_state(self) -> ReplayBuffer:
        """Return an empty replay buffer."""
        return empty_buffer(self.sampler.buffer_rows, self.frames, self.width)

    def state_arrays(self, state: ReplayBuffer) -> dict[str, Any]:
        """Return the rows of the replay buffer."""
        return {"text": state.text, "video": state.video}

    def state_with(self, state: ReplayBuffer, arrays: Mapping[str, Any]) -> ReplayBuffer:
        """Return a replay buffer with the given rows; rows after the last nonzero one count as never pushed."""
        filled = np.flatnonzero(np.asarray(arrays["text"]).any(axis=1))
        valid_rows = np.asarray(filled[-1] + 1 if len(filled) else 0, np.int32)
        return dataclasses.replace(state, **arrays, valid_rows=cast(Array, valid_rows))

    def unused_parameters(self) -> tuple[str, ...]:
        """Return the parameters of the last layer that are not read: all but the text–frame relation."""
        if self.candidate_choice == "best":
            return ("relations/.*", "frame_positions") if self.frame_positions else ("relations/.*",)
        if self.graph.kind == "gat":
            return ()
        unused = "text_text/.*|frame_frame/.*|residual"
        return (f"relations/layer_{self.graph.layers - 1}/({unused})",)

    def prepare_text(self, text: TextFeatures) -> PreparedText:
        """Take id and text feature [Bt, d]."""
        return PreparedText(text.id, text.pooled)

    def prepare_video(self, video: VideoFeatures) -> PreparedVideo:
        """Compute what needs only the frames: projections and messages of the first layer, pooling keys and values."""
        if video.frames.shape[1] != self.frames:
            raise ValueError(f"EagleNet is built for {self.frames} frames, the videos have {video.frames.shape[1]}")
        mask = self.valid_frames(video)
        nodes = video.frames + self.positions.astype(video.frames.dtype) if self.frame_positions else video.frames
        graph = prepare_frames(self.graph, self.relations(), self._computed(nodes), mask)
        return PreparedVideo(video.id, video.frames, mask, graph, self.pooling.prepare(video.frames, mask))

    def score(self, text: PreparedText, video: PreparedVideo, draws: Draws, aux: bool = False) -> PairScores:
        """Compute cos(t_gen, v(t_gen, F)) for all pairs.

        Returns:
            Similarities [Bt, Bv]; in aux "pooled" [Bt, Bv, d] pooled videos, "radius" [Bt, Bv, d], "candidate_weights"
            [Bt, Bv, S + 1] (the text, then its candidates), "frame_weights" [Bt, Bv, M].
        """
        ids = (text.id[:, None], video.id[None, :])
        radius = self.radius(frame_similarities(text.pooled, video.frames, video.mask))
        draw = draws.uniform if self.candidate_noise == "uniform" else draws.normal
        noise = draw("candidates", draws.pair_ids(text.id, video.id), (self.candidates, self.width))
        if self.candidate_choice == "best":
            cloud = candidates(text.pooled[:, None], radius, noise)
            return self._score_best(text, video, cloud, radius, draws, aux)
        with_itself = jnp.pad(noise, ((0, 0), (0, 0), (1, 0), (0, 0)))  # the text is a candidate without noise
        nodes = self._computed(candidates(text.pooled[:, None], radius, with_itself))
        weights = self._candidate_weights(video, nodes, draws, ids)
        # Σ_i w_i (t + R ∘ ε_i) = t + R ∘ Σ_i w_i ε_i: reads the noise, in evaluation one for all videos, not the nodes.
        mixed = weighted_noise(weights[..., 1:], noise)
        generated = at_least_float32(text.pooled)[:, None] + radius * mixed
        pooled = self.pooling(generated, video.pooling, draws, ids)
        similarity = cosine(generated, pooled)
        if not aux:
            return PairScores(similarity)
        frame_weights = jnp.mean(self.pooling.attention(generated, video.pooling), axis=2)
        details = {"pooled": pooled, "radius": radius, "candidate_weights": weights, "frame_weights": frame_weights}
        return PairScores(similarity, details)

    def with_scoring_kernel(self, kind: str) -> EagleNet:
        """Return this head with the graph of a pair computed by one kernel, as in `Head`."""
        if kind == "auto":
            kind = self._chosen_kernel()
        if kind == "none":
            return self.clone(scoring_kernel=kind)
        if self.candidate_choice != "graph":
            raise UserError(f"candidate_choice is {self.candidate_choice!r}, which has no graph: use kernel 'none'")
        from eaglenet_jax.layers.graph_kernel import check_kernel  # loads Pallas, which takes a second

        check_kernel(self.graph, self.candidates + 1, self.frames, kind)
        return self.clone(scoring_kernel=kind)

    def _chosen_kernel(self) -> str:
        """Choose the kernel that was measured faster on a GPU: in bfloat16, and where it computes this head."""
        if self.dtype is None or jnp.dtype(self.dtype) != jnp.bfloat16 or not accelerator.is_recent_gpu():
            return "none"
        try:
            self.with_scoring_kernel("triton")
        except UserError:
            return "none"
        return "triton"

    def _candidate_weights(self, video: PreparedVideo, nodes: Array, draws: Draws, ids: Ids) -> Array:
        """Compute the weights w of the text nodes [Bt, Bv, S + 1, d] of every pair, [Bt, Bv, S + 1]."""
        if self.scoring_kernel == "none":
            return candidate_weights(self.graph, self.relations(), video.graph, nodes, draws, ids)
        if draws.train:
            raise UserError("the scoring kernel has no gradient and no dropout: train with kernel 'none'")
        from eaglenet_jax.layers.graph_kernel import candidate_weights_by_kernel

        return candidate_weights_by_kernel(self.graph, self.relations(), video.graph, nodes, self.scoring_kernel)

    def _score_best(
        self, text: PreparedText, video: PreparedVideo, cloud: Array, radius: Array, draws: Draws, aux: bool
    ) -> PairScores:
        """Score without the graph: cosine of v(t, F) with one candidate in training, with the best in evaluation."""
        ids = (text.id[:, None], video.id[None, :])
        query = jnp.broadcast_to(self._computed(text.pooled)[:, None], radius.shape)
        pooled = self.pooling(query, video.pooling, draws, ids)
        similarities = cosine(cloud[:, :, :1] if draws.train else cloud, pooled[:, :, None])
        similarity = jnp.max(similarities, axis=-1)
        if not aux:
            return PairScores(similarity)
        chosen = jax.nn.one_hot(1 + jnp.argmax(similarities, axis=-1), self.candidates + 1)
        frame_weights = jnp.mean(self.pooling.attention(query, video.pooling), axis=2)
        details = {"pooled": pooled, "radius": radius, "candidate_weights": chosen, "frame_weights": frame_weights}
        return PairScores(similarity, details)

    def score_support(
        self, rows: tuple[PreparedText, Array, Array], columns: tuple[Array | None, Array]
    ) -> Float[Array, "Bt Bv"]:
        """Compute cos(t_sup(t, v), v(t_gen, F)).

        Args:
            rows: Texts, their pooled videos and radii.
            columns: p_v [Bv, d] or None, and video ids.
        """
        text, pooled, radius = rows
        target = pooled if columns[0] is None else columns[0][None]
        return cosine(toward(text.pooled[:, None], target, radius), pooled)

    def explain(self, text: TextFeatures, video: VideoFeatures, draws: Draws) -> dict[str, Array]:
        """Return weights of candidates and frames, and the energies of all pairs if the energy was trained."""
        if not (self.eam_weight or self.eam_support_weight):
            return super().explain(text, video, draws)
        energy = self.pair_energies(text.pooled, dataclasses.replace(video, mask=self.valid_frames(video)))
        return {**super().explain(text, video, draws), "energy": energy}

    def pair_energies(self, text: Array, video: VideoFeatures) -> Float[Array, "Bt Bv"]:
        """Compute the energies of all pairs of texts [Bt, d] and videos."""
        if self.energy_pooling == "fused":
            no_dropout = Draws(jax.random.key(0))
            pooled = self.pooling(text[:, None], self.pooling.prepare(video.frames, video.mask), no_dropout, ())
            return self.energy_function(text[:, None], pooled[:, :, None], jnp.any(video.mask, -1)[None, :, None])
        return self.energy_function(text[:, None], video.frames[None], video.mask[None])

    def fused_energies(self, text: Array, frames: Array, mask: Array) -> Float[Array, " B"]:
        """Compute the energies of texts [B, d] and π(F | t) of the video of each, frames [B, M, d] and mask [B, M]."""
        pooled = self.pooling.matched(text, self.pooling.prepare(frames, jnp.broadcast_to(mask, frames.shape[:-1])))
        return self.energy_function(text, pooled[:, None], jnp.any(mask, -1, keepdims=True))

    def loss(
        self, text: TextFeatures, video: VideoFeatures, head_state: ReplayBuffer, draws: Draws, pairwise: Pairwise
    ) -> tuple[Array, dict[str, Array], ReplayBuffer]:
        """Compute L(s) + 0.8 L(s_sup) + λ_eam L_eam(t, F) + λ_eam_sup L_eam(t_sup, F), section 2.5."""
        prepared_text, prepared_video = self.prepare_text(text), self.prepare_video(video)
        scores = pairwise(partial(self.score, aux=True), prepared_text, prepared_video, draws)
        pooled, radius = scores.aux["pooled"], scores.aux["radius"]
        target = jnp.mean(unit(pooled), axis=0) if self.support == "mean" else None
        support = pairwise(self.score_support, (prepared_text, pooled, radius), (target, video.id))
        ignored = self.ignored_pairs(video)
        match_loss = self.matching_loss(scores.similarity, ignored)
        support_loss = self.matching_loss(support, ignored)

        index = jnp.arange(text.pooled.shape[0])
        own_pooled, own_radius = pooled[index, index], radius[index, index]
        support_text = toward(text.pooled, own_pooled if target is None else target, own_radius)
        support_text = unit(support_text) if self.support_unit_length else support_text
        masked_video = dataclasses.replace(video, mask=prepared_video.mask)
        negatives = ~(jnp.eye(len(index), dtype=bool) | ignored)

        def eam(text: Array, buffer: ReplayBuffer, call: int) -> tuple[Array, ReplayBuffer]:
            mismatched = (pairwise(self.pair_energies, text, masked_video), negatives) if self.eam_negatives else None
            pairs = MatchingPairs(text, video.frames, prepared_video.mask)
            energy = self.fused_energies if self.energy_pooling == "fused" else self.energy_function
            return energy_loss(energy, pairs, mismatched, buffer, draws.fold(call), self.sampler)

        loss = match_loss + self.support_weight * support_loss
        parts = {"match_loss": match_loss, "support_loss": support_loss}
        if self.eam_weight:
            eam_loss, head_state = eam(text.pooled, head_state, 0)
            loss = loss + self.eam_weight * eam_loss
            parts["eam_loss"] = eam_loss
        if self.eam_support_weight:
            eam_support_loss, head_state = eam(support_text, head_state, 1)
            loss = loss + self.eam_support_weight * eam_support_loss
            parts["eam_support_loss"] = eam_support_loss
        return loss, parts, head_state

    def _computed(self, x: Any) -> Any:
        return at_least_float32(x) if self.dtype is None else jax.tree.map(lambda leaf: leaf.astype(self.dtype), x)
