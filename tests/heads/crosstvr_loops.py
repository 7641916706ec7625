"""CrossTVR in NumPy, one pair, one frame and one token at a time, as its equations read (numbers behind the lines)."""

from __future__ import annotations

import math

import jax
import numpy as np

erf = np.vectorize(math.erf)


def norm(x, p):
    x = x - x.mean()
    return x / np.sqrt(x.var() + 1e-12) * p["scale"] + p["bias"]


def gelu(x):
    return x * (1 + erf(x / math.sqrt(2))) / 2


def linear(x, p):
    return x @ p["kernel"] + p["bias"]


def softmax(values):
    exp = [math.exp(value - max(values)) for value in values]
    return [value / sum(exp) for value in exp]


def attention(rows, tokens, p, heads, biases=None):
    """Each row's sum over tokens, added to it and normalised."""
    size, out = len(rows[0]) // heads, []
    for row in rows:
        seen = np.zeros(len(row))
        for h in range(heads):
            part = slice(h * size, (h + 1) * size)
            query = linear(row, p["query"])[part]
            logits = [query @ linear(token, p["key"])[part] / math.sqrt(size) for token in tokens]
            if biases is not None:
                logits = [logit + bias for logit, bias in zip(logits, biases, strict=True)]
            for weight, token in zip(softmax(logits), tokens, strict=True):
                seen[part] += weight * linear(token, p["value"])[part]
        out.append(norm(row + linear(seen, p["output"]), p["norm"]))
    return out


def feed(rows, p):
    return [norm(row + linear(gelu(linear(row, p["up"])), p["down"]), p["norm"]) for row in rows]


class Loops:
    def __init__(self, head, params, text, video):
        self.head = head
        self.params, self.text, self.video = jax.tree.map(np.asarray, (params, text, video))

    def layers(self, p, queries, words, tokens, biases=None):
        shape = self.head.transformer
        for layer in range(shape.layers):
            rows = attention([*queries, *words], [*queries, *words], p[f"self_attention_{layer}"], shape.heads)
            queries, words = rows[: len(queries)], rows[len(queries) :]
            if layer % shape.cross_every == 0:
                queries = attention(queries, tokens, p[f"cross_attention_{layer}"], shape.heads, biases)
            queries = feed(queries, p[f"query_feed_{layer}"])
            if layer + 1 < shape.layers:
                words = feed(words, p[f"word_feed_{layer}"]) if words else []
        return queries

    def frames_tokens(self, j):
        if not self.head.tokens.shared:
            return [list(frame) for frame, there in zip(self.video.extra["tokens"][j], self.video.mask[j], strict=True)
                    if there]  # fmt: skip
        both = zip(self.video.frames[j], self.video.patches[j], self.video.mask[j], strict=True)
        return [[frame, *patches] for frame, patches, there in both if there]

    def logits(self, i, j):
        head, p = self.head, self.params
        queries = [norm(token, p["embedding_norm"]) for token in p["query_tokens"]]
        words = [
            norm(linear(word, p["word_projection"]), p["embedding_norm"])
            for word, there in zip(self.text.words[i], self.text.mask[i], strict=True)
            if there
        ]
        frames = self.frames_tokens(j)
        if head.spatial:
            each = [self.layers(p["layers"], queries, words, tokens) for tokens in frames]  # 1, 2
            queries, words = [np.mean(found, axis=0) for found in each], []  # 3
        if head.temporal:
            chosen, biases = [], []
            for tokens in frames:
                fit = softmax([linear(gelu(linear(t, p["selector_up"])), p["selector_down"])[0] for t in tokens])
                for place in sorted(range(len(tokens)), key=lambda n: -fit[n])[: head.selected]:  # 4
                    chosen.append(tokens[place])
                    biases.append(math.log(fit[place]))
            own = head.spatial and not head.shared_weights
            queries = self.layers(p["temporal_layers" if own else "layers"], queries, words, chosen, biases)  # 5, 6
        return linear(np.mean(queries, axis=0), p["classifier"])

    def scores(self):
        count = range(len(self.text.words)), range(len(self.video.frames))
        return np.array([[softmax(list(self.logits(i, j)))[1] for j in count[1]] for i in count[0]])

    def loss(self, videos, texts):
        """Compute the loss of given negatives: a video for each text, a text for each video."""
        count = len(self.text.words)
        pairs = [(i, i, 1) for i in range(count)] + [(i, videos[i], 0) for i in range(count)]
        pairs += [(texts[j], j, 0) for j in range(count)]
        return -np.mean([math.log(softmax(list(self.logits(i, j)))[match]) for i, j, match in pairs])  # 7
