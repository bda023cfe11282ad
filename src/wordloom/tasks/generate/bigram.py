"""A bigram model of token ids: what a language model must beat on the same tokens.

Interpolated Kneser-Ney (Chen & Goodman 1998, section 2.7) with one discount D = n1 / (n1 + 2 n2); the probability of a
token that follows nothing known goes on to a uniform one, so that every token of the vocabulary has one above 0.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from wordloom.tasks.windows import Ints


@dataclass(frozen=True)
class Bigram:
    """p(w | v) = max(c(vw) - D, 0) / c(v) + D N(v.) / c(v) p1(w); p1 is of how many tokens w follows.

    pairs: (P,) v * V + w, sorted, with their counts; total, kinds: (V,) c(v) and N(v.); below: (V,) p1.
    """

    vocabulary: int
    pairs: Ints
    counts: Ints
    total: Ints
    kinds: Ints
    below: NDArray[np.float64]
    discount: float

    @classmethod
    def fit(cls, before: Ints, tokens: Ints, vocabulary: int) -> Bigram:
        """tokens (N,), each after the token ``before`` (N,)."""
        pairs, counts = np.unique(before.astype(np.int64) * vocabulary + tokens, return_counts=True)
        first, second = np.divmod(pairs, vocabulary)
        total = np.bincount(first, counts, minlength=vocabulary).astype(np.int64)
        kinds = np.bincount(first, minlength=vocabulary)
        follows = np.bincount(second, minlength=vocabulary)  # N(.w)
        below_discount = _discount(follows[follows > 0])
        left = below_discount * (follows > 0).sum() / max(1, len(pairs))
        below = np.maximum(follows - below_discount, 0) / max(1, len(pairs)) + left / vocabulary
        return cls(vocabulary, pairs, counts, total, kinds, below, _discount(counts))

    def log_probabilities(self, before: Ints, tokens: Ints) -> NDArray[np.float64]:
        """Natural logarithms (N,); of the lower order alone after a token never seen to be followed."""
        keys = before.astype(np.int64) * self.vocabulary + tokens
        at = np.minimum(np.searchsorted(self.pairs, keys), len(self.pairs) - 1)
        seen = np.where(self.pairs[at] == keys, self.counts[at], 0)
        total = self.total[before]
        known = np.maximum(total, 1)
        whole = (np.maximum(seen - self.discount, 0) + self.discount * self.kinds[before] * self.below[tokens]) / known
        return np.asarray(np.log(np.where(total > 0, whole, self.below[tokens])), np.float64)


def _discount(counts: Ints) -> float:
    """Between 0.1 and 0.9, whatever n1 and n2: text of one size alone leaves no room for the unseen, or none but it."""
    once, twice = int((counts == 1).sum()), int((counts == 2).sum())
    return float(np.clip(once / max(1, once + 2 * twice), 0.1, 0.9))
