"""Arguments of one predicate as BIO tags of words, and the best legal sequence of tags.

Tags are numbers: 0 is O, 1 + 2 k begins label k, 2 + 2 k goes on with it (Ramshaw & Marcus 1995, as IOB2).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from wordloom.data.batch import IGNORE
from wordloom.data.frames import Argument

Floats = NDArray[np.float32]
Ints = NDArray[np.int64]
IMPOSSIBLE = -1e9  # log probability of what must not be; finite, so that sums of it stay comparable


def tags_of(arguments: Sequence[Argument], words: int, labels: Mapping[str, int]) -> Ints:
    """(words,) the tags of these arguments; ``IGNORE`` where the label has no number: no loss is counted there."""
    tags = np.zeros(words, np.int64)
    for start, end, label in arguments:
        k = labels.get(label)
        tags[start:end] = IGNORE if k is None else 2 + 2 * k
        if k is not None:
            tags[start] -= 1
    return tags


def arguments_of(tags: Ints, labels: Sequence[str]) -> tuple[Argument, ...]:
    """The arguments of a legal sequence of tags, in text order."""
    found: list[Argument] = []
    begins = np.flatnonzero(tags % 2 == 1)  # O is even, and I is even too
    for start in begins.tolist():
        end = start + 1
        while end < len(tags) and tags[end] == tags[start] + 1:
            end += 1
        found.append(Argument(start, end, labels[int(tags[start]) // 2]))
    return tuple(found)


def best_tags(scores: Sequence[Floats]) -> list[Ints]:
    """The most probable legal tags of each sequence: scores (n, K) are log probabilities of its n words -> (n,).

    Viterbi (1967) with the rule that I-X follows B-X or I-X alone: the BIO constraint of He et al. 2017, section 2.2,
    without their constraints between arguments. As only I-X cares what was before it, a step costs O(K), not O(K²).
    """
    if not scores:
        return []
    lengths = np.array([len(s) for s in scores])
    longest, K = int(lengths.max()), scores[0].shape[1]
    padded = np.zeros((len(scores), longest, K), np.float64)
    for row, s in enumerate(scores):
        padded[row, : len(s)] = s
    inside = np.arange(2, K, 2)  # I-X; B-X is the number before
    best = padded[:, 0].copy()  # (E, K)
    best[:, inside] = IMPOSSIBLE
    back = np.zeros((len(scores), longest, K), np.int64)  # the tag before
    rows = np.arange(len(scores))
    final = best  # of each sequence at its own last word
    for t in range(1, longest):
        top = best.argmax(1)  # (E,)
        back[:, t] = top[:, None]
        value = np.repeat(best[rows, top][:, None], K, 1)
        begun, going = best[:, inside - 1], best[:, inside]
        back[:, t, inside] = np.where(begun >= going, inside - 1, inside)
        value[:, inside] = np.maximum(begun, going)
        best = value + padded[:, t]
        final = np.where((t < lengths)[:, None], best, final)
    out = []
    last = final.argmax(1)
    for row, n in enumerate(lengths.tolist()):
        tags = np.zeros(n, np.int64)
        tags[-1] = last[row]
        for t in range(n - 1, 0, -1):
            tags[t - 1] = back[row, t, tags[t]]
        out.append(tags)
    return out
