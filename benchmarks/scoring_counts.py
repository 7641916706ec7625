"""Multiplications of one text–video pair, counted by hand from docs/systems.md. In FLOP: two a multiply–add.

Products only: sums, exponentials and norms are a hundredth of them. Shapes: M frames, T = S + 1 texts, n = M + T nodes.
"""

from __future__ import annotations

from benchmarks.random_features import Sizes


def dense_products(sizes: Sizes, adjacency: bool = False) -> dict[str, float]:
    """Count products if every relation projects every node in every layer, for every pair.

    adjacency: messages are products with n × n matrices, one a relation, mostly zeros; otherwise they go along the
    edges that there are, n² in all.
    """
    frames, texts, width, heads = sizes.frames, sizes.candidates + 1, sizes.width, sizes.heads
    nodes = frames + texts
    counts = {"cosines and radius": 2 * 2.0 * frames * width}
    for layer in range(sizes.layers):
        head_width = width if layer == sizes.layers - 1 else width // heads
        counts[f"layer {layer}: W x, three relations"] = 3 * 2.0 * nodes * width * heads * head_width
        counts[f"layer {layer}: W_o x"] = 2.0 * nodes * width * head_width
        counts[f"layer {layer}: a · z"] = 3 * 2 * 2.0 * nodes * heads * head_width
        counts[f"layer {layer}: messages"] = (3 if adjacency else 1) * 2.0 * nodes**2 * heads * head_width
    counts["weighted text"] = 2.0 * texts * width
    counts["pooling, text side"] = 3 * 2.0 * width**2 + 2 * 2.0 * frames * width
    return counts


def folded_products(sizes: Sizes) -> dict[str, float]:
    """Count a pair's share if everything that depends on one side is computed once a side. For up to two layers."""
    if sizes.layers > 2:
        raise ValueError(f"counted by hand for one or two layers, not {sizes.layers}")
    frames, texts, width, heads = sizes.frames, sizes.candidates + 1, sizes.width, sizes.heads
    counts = {"cosines and radius": 2 * 2.0 * frames * width}
    if sizes.layers == 2:
        mix_first = frames < texts
        counts |= {
            "text–text W x": 2.0 * texts * width**2,
            "W_o x of texts": 2.0 * texts * width * width // heads,
            "text–frame W, of mixtures or of texts": 2.0 * min(frames, texts) * width**2,
            "messages to frames": 2.0 * frames * texts * width * (heads if mix_first else 1),
            "messages to texts": 2.0 * texts * (texts + frames) * width,
            "folded logits, layer 0": 2 * 2 * 2.0 * texts * width * heads,
            "folded logits of frames, layer 1": 2.0 * frames * width * heads,
        }
    counts["folded logits of texts, last layer"] = 2.0 * texts * width * heads
    counts["weighted text"] = 2.0 * texts * width
    counts["pooling, text side"] = 2.0 * width**2 + 2 * 2.0 * frames * width
    return counts


def mflop(counts: dict[str, float]) -> float:
    """Return the sum in millions."""
    return sum(counts.values()) / 1e6
