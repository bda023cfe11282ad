"""Word2Vec written out in NumPy, one window at a time: what the fast kernels are held against, and what to read first.

Two matrices: ``inputs`` (a row for each word, and for each n-gram bucket in a sub-word model) and ``outputs``.
A window is a centre word and the words beside it, its context.

- skip-gram: each context word predicts the centre (as the authors' C code and gensim; the 2013b paper and fastText
  predict the context from the centre: the same pairs, summed over a corpus).  N context words: N hidden vectors.
- CBOW: the mean of the context predicts the centre (2013a, section 3.1). One hidden vector.

``h`` is a hidden vector, ``v`` an output row, s(x) = 1 / (1 + exp(-x)). Three ways to predict, each a function
``(hidden (N, D), outputs, centre) -> (loss, d loss / d hidden, d loss / d outputs)``:

- ``negative_sampling``: -log s(h . v_centre) - sum over negatives k of log s(-h . v_k)  (2013b, equation 4);
- ``full_softmax``:      -log exp(h . v_centre) / sum over all words w of exp(h . v_w)    (2013b, equation 2);
- ``hierarchical_softmax``: -sum over nodes j of the centre's path of log s(+-h . v_j)    (2013b, equation 3).

``skip_gram`` and ``cbow`` compute everything from the weights before the window, then give one change for all rows:
with negatives shared by the window that is the update of the fast kernels (a row that occurs twice gets both parts).
The C code goes pair by pair with own negatives for each: ``skip_gram`` called with one context word after another.
Here s is computed. The C code and gensim look it up in a table of 1,000 entries over -6..6, addressed in whole steps
of 83 a unit where 83.3 are meant, so theirs is up to 0.01 too low; fastText has 512 entries over -8..8. Beyond,
gensim's skip-gram leaves the row as it is and the others take 0 or 1.

Mikolov et al. 2013a: arXiv 1301.3781. 2013b: arXiv 1310.4546. Goldberg & Levy 2014: arXiv 1402.3722, the derivation.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from wordloom.errors import ConfigError
from wordloom.vectors.ngrams import ngram_ids

Floats = NDArray[np.floating]
Predict = Callable[[Floats, Floats, int], tuple[float, Floats, Floats]]
Spread = Literal["whole", "root", "mean"]


@dataclass(frozen=True)
class Step:
    """What one window changes: add ``inputs`` and ``outputs`` to the matrices they are shaped like."""

    loss: float  # nats, summed over the predictions, before the change
    predictions: int  # skip-gram: one a context word; CBOW: one
    inputs: Floats
    outputs: Floats


def skip_gram(
    inputs: Floats,
    outputs: Floats,
    centre: int,
    context: Sequence[int],
    predict: Predict,
    lr: float,
    rows: Sequence[Sequence[int]] | None = None,
    spread: Spread = "whole",
) -> Step:
    """One window of skip-gram: inputs (R, D), outputs (V, D); ids of the centre and of the N context words.

    predict: e.g. ``partial(negative_sampling, negatives=[7, 2, 9])``. rows[w]: the input rows whose mean is the
    input vector of word w (``subword_rows``); absent: row w alone. spread: see ``_scatter``.
    """
    groups = [[w] if rows is None else rows[w] for w in context]
    return _step(inputs, outputs, centre, groups, predict, lr, spread)


def cbow(
    inputs: Floats,
    outputs: Floats,
    centre: int,
    context: Sequence[int],
    predict: Predict,
    lr: float,
    rows: Sequence[Sequence[int]] | None = None,
    spread: Spread = "root",
) -> Step:
    """One window of CBOW; arguments as ``skip_gram``.

    With sub-words the mean is over all rows of all context words at once, as fastText and gensim take it: a long word,
    having more n-grams, weighs more than a short one.

    What every row takes of the mean's change (``spread``) is where programs differ. On 10 million words of English, 3
    epochs, d 100 (WordSim-353, SimLex-999, MEN, analogies; means of 3 to 5 seeds): "whole" at learning rate 0.05 gave
    32.0, 18.0, 43.8, 20.6 and at 0.1 41.1, 20.3, 48.4, 21.5; "mean" at 0.15 40.2, 24.4, 45.3, 20.8; "root" at 0.1
    36.8, 21.3, 46.2, 23.0: the only one not below gensim (35.6, 20.3, 45.8, 22.5) on any, so it is what the kernels do.
    """
    pooled = [r for w in context for r in ([w] if rows is None else rows[w])]
    return _step(inputs, outputs, centre, [pooled] if pooled else [], predict, lr, spread, len(context))


def _step(
    inputs: Floats,
    outputs: Floats,
    centre: int,
    groups: Sequence[Sequence[int]],
    predict: Predict,
    lr: float,
    spread: Spread,
    words: int = 1,
) -> Step:
    if not groups:  # a sentence of one word has no context: nothing to learn
        return Step(0.0, 0, np.zeros_like(inputs), np.zeros_like(outputs))
    hidden = np.stack([inputs[list(group)].mean(0) for group in groups])  # (N, D)
    loss, d_hidden, d_outputs = predict(hidden, outputs, centre)
    return Step(loss, len(groups), _scatter(-lr * d_hidden, groups, inputs, spread, words), -lr * d_outputs)


def _scatter(change: Floats, groups: Sequence[Sequence[int]], inputs: Floats, spread: Spread, words: int) -> Floats:
    """The change of each hidden vector (N, D), handed to the rows it is the mean of.

    "whole": every row takes all of it, n times the gradient. That is what the C code and gensim (CBOW mean) and
    fastText (CBOW, and the n-grams of both models) do: a hidden vector of n rows moves as one of a single row would.
    fastText divides by n in supervised training only.
    "mean": every row takes 1/n of it: the gradient of the loss. Irsoy et al. 2021 (arXiv 2012.15332) find CBOW better
    so, with a larger learning rate.
    "root": every row takes 1 / sqrt(words), for a hidden vector of so many words: between the two.
    For one row of one word (plain skip-gram) the three are equal.
    """
    if spread not in ("whole", "root", "mean"):
        raise ConfigError(f"unknown spread {spread!r}", cure='use "whole", "root" or "mean"')
    out = np.zeros_like(inputs)
    for row, group in zip(change, groups, strict=True):
        share = {"whole": 1.0, "root": words**-0.5, "mean": 1.0 / len(group)}[spread]
        np.add.at(out, list(group), share * row)  # add.at: repeated rows add up
    return out


def subword_rows(words: Sequence[str], min_n: int, max_n: int, buckets: int) -> list[list[int]]:
    """Input rows of each word in fastText's layout: its own row, then its n-grams' at len(words) + bucket."""
    return [[w, *(len(words) + i for i in ngram_ids(word, min_n, max_n, buckets))] for w, word in enumerate(words)]


def sigmoid(x: Floats) -> Floats:
    return np.exp(-np.logaddexp(np.zeros_like(x), -x))  # 1 / (1 + e^-x) without overflow


def logistic(hidden: Floats, outputs: Floats, ids: ArrayLike, labels: ArrayLike) -> tuple[float, Floats, Floats]:
    """Logistic regression of every hidden vector (N, D) on every one of J output rows, summed over N and J.

    loss = -sum_ij log s(x_ij) where label_j is 1, log s(-x_ij) where it is 0, with x_ij = h_i . v_j;
    -d loss / d x_ij = g_ij = label_j - s(x_ij)  (Goldberg & Levy 2014, section 2, differentiated).
    """
    ids = np.asarray(ids, np.int64)  # (J,)
    label = np.asarray(labels, hidden.dtype)  # (J,)
    v = outputs[ids]  # (J, D)
    x = hidden @ v.T  # (N, J)
    g = label - sigmoid(x)  # (N, J)
    loss = np.logaddexp(np.zeros_like(x), (1 - 2 * label) * x).sum()  # -log s(z) = log(1 + e^-z)
    d_outputs = np.zeros_like(outputs)
    np.add.at(d_outputs, ids, -g.T @ hidden)  # row k: -sum_i g_ik h_i; a negative drawn twice counts twice
    return float(loss), -g @ v, d_outputs  # row i of the second: -sum_k g_ik v_k


def negative_sampling(
    hidden: Floats, outputs: Floats, centre: int, *, negatives: Sequence[int]
) -> tuple[float, Floats, Floats]:
    """The centre against noise words, the same for all N hidden vectors; outputs (V, D).

    A negative equal to the centre is skipped and not drawn again, as in the C code and gensim, so a window may have
    fewer than K (fastText draws again). With this rule the loss is least where h_i . v_c is
    log p(i, c) / (K q(c) (p(i) - p(i, c))), for input i, centre c and noise q. Without it, below the line stands
    K q(c) p(i): pointwise mutual information minus log K where q = p (Levy & Goldberg 2014, "Neural word embedding as
    implicit matrix factorization", section 3.1). The two are near where p(i, c) is far below p(i).
    """
    noise = [k for k in negatives if k != centre]
    return logistic(hidden, outputs, [centre, *noise], [1, *[0] * len(noise)])


def full_softmax(hidden: Floats, outputs: Floats, centre: int) -> tuple[float, Floats, Floats]:
    """The exact probability of the centre among all V words; outputs (V, D). d loss / d x_iw = p_iw - [w is centre]."""
    x = hidden @ outputs.T  # (N, V)
    log_p = x - np.logaddexp.reduce(x, axis=1, keepdims=True)
    d_x = np.exp(log_p)
    d_x[:, centre] -= 1
    return float(-log_p[:, centre].sum()), d_x @ outputs, d_x.T @ hidden


def hierarchical_softmax(hidden: Floats, outputs: Floats, centre: int, *, tree: Tree) -> tuple[float, Floats, Floats]:
    """The centre's path in a binary tree; outputs (V - 1, D), one row an inner node. At a node s(h . v) is the
    probability of branch 0, as in the C code and gensim: label = 1 - code (fastText: branch 1, the mirror image)."""
    return logistic(hidden, outputs, tree.nodes[centre], 1 - tree.codes[centre])


@dataclass(frozen=True)
class Tree:
    """Huffman's tree over V words. Word w: inner nodes from the root, nodes[w] (L,), the branch taken at each,
    codes[w] (L,). Inner nodes are numbered 0 .. V - 2 as they were made; the root is V - 2."""

    nodes: list[NDArray[np.int64]]
    codes: list[NDArray[np.int64]]


def huffman(counts: ArrayLike) -> Tree:
    """The two rarest trees are joined until one is left, the rarer as branch 0; of equal ones the older (words by id,
    then inner nodes). Every choice is fixed, so the same counts give the same tree. Lengths are optimal (Huffman 1952).
    """
    totals = [int(c) for c in np.asarray(counts)]
    words = len(totals)
    if not words:
        raise ConfigError("a tree over no words does not exist", cure="give the counts of at least one word")
    heap = [(count, i) for i, count in enumerate(totals)]
    heapq.heapify(heap)
    parent: dict[int, tuple[int, int]] = {}  # node -> (inner node above it, branch)
    for inner in range(words - 1):
        (rare, left), (common, right) = heapq.heappop(heap), heapq.heappop(heap)
        parent[left], parent[right] = (inner, 0), (inner, 1)
        heapq.heappush(heap, (rare + common, words + inner))
    nodes, codes = [], []
    for word in range(words):
        path, at = [], word
        while at in parent:
            path.append(parent[at])
            at = words + path[-1][0]
        both = np.array(path[::-1], np.int64).reshape(-1, 2)
        nodes.append(both[:, 0])
        codes.append(both[:, 1])
    return Tree(nodes, codes)


@dataclass(frozen=True)
class Trained:
    inputs: Floats  # (R, D): the vectors
    outputs: Floats
    losses: list[float]  # mean per prediction, one an epoch; nats


def train(
    sentences: Sequence[Sequence[int]],
    counts: ArrayLike,
    *,
    model: Literal["skip-gram", "cbow"] = "skip-gram",
    output: Literal["negative", "softmax", "hierarchical"] = "negative",
    shared: bool = True,
    dimension: int = 16,
    window: int = 2,
    negatives: int = 5,
    exponent: float = 0.75,
    lr: float = 0.025,
    epochs: int = 5,
    seed: int = 0,
    rows: Sequence[Sequence[int]] | None = None,
    spread: Spread = "root",
) -> Trained:
    """Word2Vec on a toy corpus: sentences of word ids, counts (V,). One thread, bitwise repeatable; some 15,000
    predictions a second, and slower the more rows there are.

    shared: the window's skip-gram predictions share their negatives and are one step, as in the fast kernel; else each
    has its own and is a step of its own, as in the C code. The width of a window is drawn from 1 .. window at every
    position (2013a, section 3.2); the learning rate falls linearly to 1e-4 of ``lr``; inputs start uniform in
    +-1/(2 D), outputs at 0, as in the C code. No word is left out: subsampling is the caller's.
    """
    rng = np.random.default_rng(seed)
    counts = np.asarray(counts, np.float64)
    tree = huffman(counts) if output == "hierarchical" else None
    noise = counts**exponent / (counts**exponent).sum()
    n_rows = len(counts) if rows is None else 1 + max(max(group) for group in rows)
    W = (rng.random((n_rows, dimension)) - 0.5) / dimension
    C = np.zeros((len(counts) - (tree is not None), dimension))
    step = skip_gram if model == "skip-gram" else cbow
    positions, done, losses = epochs * sum(map(len, sentences)), 0, []
    for _ in range(epochs):
        loss, predictions = 0.0, 0
        for sentence in sentences:
            for at, centre in enumerate(sentence):
                rate = lr * max(1e-4, 1 - done / positions)
                done += 1
                width = int(rng.integers(1, window + 1))
                context = [*sentence[max(0, at - width) : at], *sentence[at + 1 : at + 1 + width]]
                alone = model == "skip-gram" and not shared
                for part in [[w] for w in context] if alone else [context]:
                    change = step(W, C, centre, part, _predict(output, tree, noise, negatives, rng), rate, rows, spread)
                    W += change.inputs
                    C += change.outputs
                    loss, predictions = loss + change.loss, predictions + change.predictions
        losses.append(loss / max(1, predictions))
    return Trained(W, C, losses)


def _predict(output: str, tree: Tree | None, noise: Floats, negatives: int, rng: np.random.Generator) -> Predict:
    if output == "negative":
        return partial(negative_sampling, negatives=rng.choice(len(noise), negatives, p=noise).tolist())
    if tree is not None:
        return partial(hierarchical_softmax, tree=tree)
    if output == "softmax":
        return full_softmax
    raise ConfigError(f"unknown output {output!r}", cure='use "negative", "softmax" or "hierarchical"')
