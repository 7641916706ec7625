"""SHE-Net in NumPy, one node and one frame at a time, as its equations read (numbers behind the lines)."""

from __future__ import annotations

import math

import jax
import numpy as np


def norm(x, p):
    x = x - x.mean()
    return x / np.sqrt(x.var() + 1e-5) * p["scale"] + p["bias"]


def gelu(x):
    return x / (1 + np.exp(-1.702 * x))


def mlp(x, p):
    return gelu(x @ p["up"]["kernel"] + p["up"]["bias"]) @ p["down"]["kernel"] + p["down"]["bias"]


def shaped(x, p):
    return norm(x + mlp(x, p["mlp"]), p["norm"])


def softmax(values):
    exp = [math.exp(value - max(values)) for value in values]
    return [value / sum(exp) for value in exp]


def product(x, y, normalise):
    return float(x @ y / (np.linalg.norm(x) * np.linalg.norm(y) if normalise else 1))


def best(values, count):
    """Return the positions of the highest values, best first; all if there are fewer."""
    return sorted(range(len(values)), key=lambda i: -values[i])[:count]


class Loops:
    """head: its switches. params: float64. text, video: features as float64 arrays."""

    def __init__(self, head, params, text, video):
        self.head = head
        self.params, self.text, self.video = jax.tree.map(np.asarray, (params, text, video))

    def dot(self, x, y):
        return product(x, y, self.head.normalise)

    def weights(self, values, place):
        """Softmax with the factor of a place: adjective, frame, verb or noun."""
        factor, params = self.head.attention_scale, self.params | self.params["hierarchy"]
        if self.head.learned_attention_scale:
            factor = math.exp(params[f"{place}_log_scale"])
        return softmax([factor * value for value in values])

    def logit(self, x, y):
        return product(x, y, self.head.normalise_attention)

    def nodes(self, i):
        """Whole node, verbs, nouns, their weights, the verb of each noun."""
        head, p, syntax = self.head, self.params["hierarchy"], self.text.extra["syntax"]

        def words(kind):
            spans = [span for span in syntax[kind][i] if span[1] > span[0]]
            return [self.text.words[i][first:stop].mean(axis=0) for first, stop in spans]  # 2

        whole = shaped(self.text.pooled[i], p["shape_1"])  # 8
        verbs, nouns, adjectives = words("verbs") or [p["exist"]], words("nouns"), words("adjectives")
        nouns = nouns if head.nouns else []
        verb_of = list(syntax["noun_verb"][i][: len(nouns)])
        if head.text_syntax:
            verbs = [shaped(verb, p["shape_2"]) for verb in verbs]  # 11
            for n in range(len(nouns)):
                if head.adjectives:
                    e = shaped(nouns[n], p["shape_4"])  # 3
                    mine = [a for j, a in enumerate(adjectives) if syntax["adjective_noun"][i][j] == n]
                    gamma = np.zeros_like(e)
                    if mine:
                        weights = self.weights([self.logit(e, a) for a in mine], "adjective")  # 4
                        for weight, adjective in zip(weights, mine, strict=True):
                            gamma = gamma + weight * adjective  # 5
                    nouns[n] = e + mlp(np.concatenate([e, gamma]), p["fusion"])  # 6
                nouns[n] = shaped(nouns[n], p["shape_3"])  # 15
        if not head.weighted_nodes:
            return whole, verbs, nouns, [1 / len(verbs)] * len(verbs), [1 / max(len(nouns), 1)] * len(nouns), verb_of
        moved = [shaped(verb, p["shape_5"]) for verb in verbs]  # 20
        verb_sim = [self.logit(whole, m) for m in moved]  # 21
        noun_sim = [verb_sim[verb_of[n]] + self.logit(moved[verb_of[n]], noun) for n, noun in enumerate(nouns)]  # 23
        noun_weights = self.weights(noun_sim, "noun") if nouns else []  # 24
        return whole, verbs, nouns, self.weights(verb_sim, "verb"), noun_weights, verb_of  # 22

    def temporal(self, j):
        """f + transformer(f + positions) over the real frames, one head and one frame at a time."""
        head, p = self.head, self.params["transformer"]
        frames = self.video.frames[j][self.video.mask[j]]
        x = frames + p["positions"][: len(frames)]
        size = head.width // head.temporal_heads
        for layer in range(head.temporal_layers):
            b = p[f"block_{layer}"]
            seen = np.stack([norm(row, b["norm1"]) for row in x])
            query, key, value = np.split(seen @ b["attention"]["qkv_kernel"] + b["attention"]["qkv_bias"], 3, axis=1)
            mixed = np.zeros_like(x)
            for h in range(head.temporal_heads):
                part = slice(h * size, (h + 1) * size)
                for m in range(len(x)):
                    weights = softmax([query[m, part] @ key[o, part] / math.sqrt(size) for o in range(len(x))])
                    mixed[m, part] = sum(w * value[o, part] for o, w in enumerate(weights))
            x = x + mixed @ b["attention"]["output"]["kernel"] + b["attention"]["output"]["bias"]
            hidden = np.stack([norm(row, b["norm2"]) for row in x])
            hidden = gelu(hidden @ b["mlp_up"]["kernel"] + b["mlp_up"]["bias"])
            x = x + hidden @ b["mlp_down"]["kernel"] + b["mlp_down"]["bias"]
        return frames + x

    def attended(self, node, frames):
        weights = self.weights([self.logit(node, frame) for frame in frames], "frame")  # 9
        return sum(w * frame for w, frame in zip(weights, frames, strict=True))  # 10

    def score(self, i, j):
        head = self.head
        whole, verbs, nouns, verb_weights, noun_weights, verb_of = self.nodes(i)
        frames, patches = self.video.frames[j][self.video.mask[j]], self.video.patches[j]
        levels = [self.dot(whole, self.attended(whole, frames))]  # 19
        chosen = []
        if head.verbs:
            level = 0.0
            g = self.temporal(j) if head.video_syntax else None
            for verb, weight in zip(verbs, verb_weights, strict=True):
                if head.video_syntax:
                    chosen.append(best([self.dot(verb, frame) for frame in g], head.frames_per_verb))  # 13
                    seen = g[chosen[-1]].mean(axis=0)  # 14
                else:
                    seen = self.attended(verb, frames)
                level += weight * self.dot(verb, seen)  # 25
            levels.append(level)
        if head.nouns and nouns:
            level = 0.0
            for noun, weight, verb in zip(nouns, noun_weights, verb_of, strict=True):
                if head.video_syntax:
                    of_frames = []
                    for frame in chosen[verb]:
                        fit = [self.dot(noun, patch) for patch in patches[frame]]
                        of_frames.append(patches[frame][best(fit, head.patches_per_noun)].mean(axis=0))  # 16, 17
                    seen = np.mean(of_frames, axis=0)  # 18
                else:
                    seen = self.attended(noun, frames)
                level += weight * self.dot(noun, seen)
            levels.append(level)
        return sum(levels) / len(levels)  # 26

    def scores(self):
        return np.array(
            [[self.score(i, j) for j in range(len(self.video.frames))] for i in range(len(self.text.pooled))]
        )

    def loss(self):
        scale = math.exp(self.head.logit_scale) if self.head.scale_kind == "log" else self.head.logit_scale
        logits, count = scale * self.scores(), len(self.text.pooled)
        rows = -sum(math.log(softmax(list(logits[i]))[i]) for i in range(count)) / count  # 27
        columns = -sum(math.log(softmax(list(logits[:, i]))[i]) for i in range(count)) / count  # 28
        return (rows + columns) / 2  # 29
