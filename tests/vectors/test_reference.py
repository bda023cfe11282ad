"""The oracle against torch autograd, the peers' own training of one sentence, and what theory says of the optimum."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn.functional import logsigmoid

from wordloom.errors import ConfigError
from wordloom.vectors import reference as ref

V, D, LR = 9, 5, 0.3
COUNTS = [101, 83, 61, 43, 29, 17, 11, 5, 3]  # no ties, nor among the sums of joined ones: one tree is possible
TREE = ref.huffman(COUNTS)
CONTEXTS = [[1, 4, 2], [7], [4, 4, 0], [3, 5, 3]]  # 4 and 3 occur twice; 3 is also the centre
NEGATIVES = [5, 8, 5, 3, 0]  # 5 drawn twice, 3 is the centre, 0 is a context word too
ROWS = [[w, V + w % 3, V + 3, V + w % 3] for w in range(V)]  # n-gram rows shared, one of them twice
WAYS: dict[str, ref.Predict] = {
    "negative": partial(ref.negative_sampling, negatives=NEGATIVES),
    "softmax": ref.full_softmax,
    "hierarchical": partial(ref.hierarchical_softmax, tree=TREE),
}


def weights(rows: int, dtype: type = np.float64) -> tuple[np.ndarray, np.ndarray]:
    draw = np.random.default_rng(1)
    return draw.normal(size=(rows, D)).astype(dtype), draw.normal(size=(V, D)).astype(dtype)


def torch_loss(way: str, hidden: torch.Tensor, outputs: torch.Tensor, centre: int) -> torch.Tensor:
    """The three losses of one hidden vector, in torch's own words."""
    if way == "softmax":
        return torch.nn.functional.cross_entropy((outputs @ hidden)[None], torch.tensor([centre]))
    if way == "negative":
        noise = sum(logsigmoid(-outputs[k] @ hidden) for k in NEGATIVES if k != centre)
        return -logsigmoid(outputs[centre] @ hidden) - noise
    path = zip(TREE.nodes[centre].tolist(), TREE.codes[centre].tolist(), strict=True)
    return -sum(logsigmoid((1 - 2 * code) * (outputs[node] @ hidden)) for node, code in path)  # type: ignore[return-value]


@pytest.mark.parametrize("rows", [None, ROWS], ids=["words", "subwords"])
@pytest.mark.parametrize("context", CONTEXTS, ids=str)
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("step", [ref.skip_gram, ref.cbow], ids=["skip-gram", "cbow"])
def test_mean_spread_is_autograd(
    step: Callable[..., ref.Step], way: str, context: list[int], rows: list[list[int]] | None
) -> None:
    W, C = weights(V if rows is None else V + 4)
    got = step(W, C, 3, context, WAYS[way], LR, rows, "mean")
    tw, tc = torch.tensor(W, requires_grad=True), torch.tensor(C, requires_grad=True)
    groups = [[w] if rows is None else rows[w] for w in context]
    if step is ref.cbow:
        groups = [[r for group in groups for r in group]]
    loss = sum(torch_loss(way, tw[group].mean(0), tc, 3) for group in groups)
    loss.backward()  # type: ignore[union-attr]
    assert got.loss == pytest.approx(loss.item(), rel=1e-12)  # type: ignore[union-attr]
    assert got.predictions == len(groups)
    np.testing.assert_allclose(got.inputs, -LR * tw.grad.numpy(), rtol=1e-12, atol=1e-14)  # type: ignore[union-attr]
    np.testing.assert_allclose(got.outputs, -LR * tc.grad.numpy(), rtol=1e-12, atol=1e-14)  # type: ignore[union-attr]
    whole = step(W, C, 3, context, WAYS[way], LR, rows, "whole")
    size = len(groups[0])  # all groups here are of one size
    np.testing.assert_allclose(whole.inputs, size * got.inputs, rtol=1e-12, atol=1e-14)
    np.testing.assert_array_equal(whole.outputs, got.outputs)
    root = step(W, C, 3, context, WAYS[way], LR, rows, "root")
    words = len(context) if step is ref.cbow else 1
    np.testing.assert_allclose(root.inputs, whole.inputs / np.sqrt(words), rtol=1e-12, atol=1e-14)
    np.testing.assert_array_equal(root.outputs, got.outputs)


def test_shared_negatives_by_hand() -> None:
    """g_ik = label_k - s(in_i . out_k); input row i takes lr sum_k g_ik out_k, output row k lr sum_i g_ik in_i."""
    W, C = weights(V)
    context, ids, labels = [4, 0, 4], [3, 5, 8, 5, 0], [1, 0, 0, 0, 0]  # the 3 among NEGATIVES is left out
    dW, dC, loss = np.zeros_like(W), np.zeros_like(C), 0.0
    for i in context:
        for k, label in zip(ids, labels, strict=True):
            s = 1 / (1 + math.exp(-float(W[i] @ C[k])))
            dW[i] += LR * (label - s) * C[k]
            dC[k] += LR * (label - s) * W[i]
            loss -= math.log(s if label else 1 - s)
    got = ref.skip_gram(W, C, 3, context, WAYS["negative"], LR)
    np.testing.assert_allclose(got.inputs, dW, rtol=1e-12)
    np.testing.assert_allclose(got.outputs, dC, rtol=1e-12, atol=1e-15)
    assert (got.loss, got.predictions) == (pytest.approx(loss), 3)


def test_single_precision_stays_and_extremes_are_finite() -> None:
    W, C = weights(V, np.float32)
    got = ref.skip_gram(W * 1000, C * 1000, 3, [1, 2], WAYS["negative"], LR)
    assert got.inputs.dtype == got.outputs.dtype == np.float32
    assert np.isfinite(got.inputs).all() and np.isfinite(got.outputs).all() and math.isfinite(got.loss)


def test_nothing_to_learn() -> None:
    W, C = weights(V)
    for step in (ref.skip_gram, ref.cbow):
        got = step(W, C, 3, [], WAYS["softmax"], LR)
        assert (got.loss, got.predictions, np.abs(got.inputs).max(), np.abs(got.outputs).max()) == (0, 0, 0, 0)
    alone = ref.huffman([7])
    assert alone.nodes[0].size == alone.codes[0].size == 0
    assert ref.skip_gram(W, C[:0], 0, [0], partial(ref.hierarchical_softmax, tree=alone), LR).loss == 0
    assert ref.negative_sampling(W[:1], C, 3, negatives=[3, 3])[0] == pytest.approx(np.logaddexp(0, -W[0] @ C[3]))


def test_softmaxes_are_distributions() -> None:
    W, C = weights(V)
    for way in ("softmax", "hierarchical"):
        losses = [WAYS[way](W[:1], C if way == "softmax" else C[: V - 1], word)[0] for word in range(V)]
        assert np.exp(-np.array(losses)).sum() == pytest.approx(1, rel=1e-12)


@pytest.mark.parametrize("counts", [COUNTS, [1] * 7, [5, 5, 3, 3, 1, 1], [2**i for i in range(12)], [4, 4]])
def test_huffman_is_optimal_and_prefix_free(counts: list[int]) -> None:
    tree = ref.huffman(counts)
    heap, cost = sorted(counts), 0
    while len(heap) > 1:
        pair = heap[0] + heap[1]
        heap, cost = sorted([*heap[2:], pair]), cost + pair
    assert sum(c * len(code) for c, code in zip(counts, tree.codes, strict=True)) == cost
    texts = ["".join(map(str, code)) for code in tree.codes]
    assert not any(a != b and b.startswith(a) for a in texts for b in texts)
    assert len(set(texts)) == len(counts)
    for a in range(len(counts)):  # words share inner nodes exactly as far as they share branches
        for b in range(len(counts)):
            same = len(np.flatnonzero(np.cumprod([x == y for x, y in zip(texts[a], texts[b], strict=False)])))
            nodes = same + 1 if a != b else same
            np.testing.assert_array_equal(tree.nodes[a][:nodes], tree.nodes[b][:nodes])
    assert all(path[0] == len(counts) - 2 for path in tree.nodes)


def gensim_words(n: int) -> list[list[str]]:
    """Counts without ties, also among sums, so that the tree is the only one."""
    return [[f"w{i}"] * c for i, c in enumerate(COUNTS[:n])]


def table_sigmoid(x: np.ndarray, entries: int = 1000, bound: int = 6) -> np.ndarray:
    """s(x) of the C code and gensim, from a table over -6..6; 1000 / 6 / 2 is 83 in the whole numbers of C."""
    table = np.exp((np.arange(entries) / entries * 2 - 1) * bound)
    return (table / (table + 1))[((x + bound) * (entries // bound // 2)).astype(int)]


@pytest.mark.parametrize("model", ["skip-gram", "cbow"])
def test_one_sentence_of_gensim(model: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Same tree, same direction (context predicts centre), same whole spread of CBOW: gensim's hierarchical softmax
    draws nothing, so its training of a sentence can be followed step by step, with its own table for s(x)."""
    monkeypatch.setattr(ref, "sigmoid", table_sigmoid)
    word2vec = pytest.importorskip("gensim.models.word2vec")
    peer = word2vec.Word2Vec(
        vector_size=D, window=2, min_count=1, sg=int(model == "skip-gram"), hs=1, negative=0, cbow_mean=1, sample=0,
        workers=1, shrink_windows=False, alpha=0.5, min_alpha=0.5, seed=1,
    )  # fmt: skip
    peer.build_vocab(gensim_words(V))
    for word in range(V):
        np.testing.assert_array_equal(peer.wv.get_vecattr(f"w{word}", "code"), TREE.codes[word])
        np.testing.assert_array_equal(peer.wv.get_vecattr(f"w{word}", "point"), TREE.nodes[word])
    W, C = (part / 2 for part in weights(V))  # gensim's skip-gram leaves rows with |x| > 6 alone
    peer.wv.vectors[:], peer.syn1[:] = W, C  # gensim keeps a row for a node that does not exist, its last
    sentence = [2, 0, 5, 0, 7, 1]
    peer.train([[f"w{i}" for i in sentence]], total_examples=1, epochs=1)
    old = W
    for at, centre in enumerate(sentence):
        context = sentence[max(0, at - 2) : at] + sentence[at + 1 : at + 3]
        for part in [context] if model == "cbow" else [[w] for w in context]:
            way = ref.cbow if model == "cbow" else ref.skip_gram
            step = way(W, C, centre, part, WAYS["hierarchical"], 0.5, spread="whole")
            W, C = W + step.inputs, C + step.outputs
    assert np.abs(W - old).max() > 0.5
    np.testing.assert_allclose(peer.wv.vectors, W, atol=1e-5)
    np.testing.assert_allclose(peer.syn1, C, atol=1e-5)


def test_one_sentence_of_gensim_with_subwords(monkeypatch: pytest.MonkeyPatch) -> None:
    """CBOW with n-grams: one mean over all rows of all context words, the whole gradient to each of them."""
    fasttext = pytest.importorskip("gensim.models.fasttext")
    monkeypatch.setattr(ref, "sigmoid", partial(table_sigmoid, entries=512, bound=8))
    peer = fasttext.FastText(
        vector_size=D, window=2, min_count=1, sg=0, hs=1, negative=0, cbow_mean=1, sample=0, workers=1,
        shrink_windows=False, alpha=0.5, min_alpha=0.5, seed=1, min_n=2, max_n=3, bucket=7,
    )  # fmt: skip
    peer.build_vocab(gensim_words(V))
    rows = ref.subword_rows([f"w{i}" for i in range(V)], 2, 3, 7)
    W, C = (part / 2 for part in weights(V + 7))
    peer.wv.vectors_vocab[:], peer.wv.vectors_ngrams[:], peer.syn1[:] = W[:V], W[V:], C
    sentence = [2, 0, 5, 0, 7, 1]
    peer.train([[f"w{i}" for i in sentence]], total_examples=1, epochs=1)
    for at, centre in enumerate(sentence):
        context = sentence[max(0, at - 2) : at] + sentence[at + 1 : at + 3]
        step = ref.cbow(W, C, centre, context, WAYS["hierarchical"], 0.5, rows, "whole")
        W, C = W + step.inputs, C + step.outputs
    np.testing.assert_allclose(np.vstack([peer.wv.vectors_vocab, peer.wv.vectors_ngrams]), W, atol=1e-5)
    np.testing.assert_allclose(peer.syn1, C, atol=1e-5)


@pytest.mark.parametrize("kind", ["skipgram", "cbow"])
def test_subwords_as_fasttext_trains_them(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """fastText's own training with n-grams, window 1, hierarchical softmax: nothing is drawn but the start, which a
    run without learning shows. The mean of the rows is the hidden vector and each row takes the whole gradient."""
    fasttext = pytest.importorskip("fasttext")
    monkeypatch.setattr(ref, "sigmoid", lambda x: 1 - table_sigmoid(-x, 512, 8))  # its label is the code, ours 1 - code
    words = ["abc", "xbcd", "</s>", "que"]
    lines = [["abc", "xbcd", "abc"], ["que", "abc"], ["abc", "abc"]] * 4 + [["abc", "xbcd"]] * 3
    (tmp_path / "corpus.txt").write_text("".join(" ".join(line) + "\n" for line in lines), encoding="utf-8")

    def peer(lr: float) -> np.ndarray:
        model = fasttext.train_unsupervised(
            str(tmp_path / "corpus.txt"), model=kind, loss="hs", dim=D, ws=1, epoch=1, minCount=1, minn=2, maxn=3,
            bucket=20, thread=1, lr=lr, lrUpdateRate=0, t=1e9, verbose=0,
        )  # fmt: skip
        order = model.get_words()
        assert set(order) == set(words)
        words[:] = order
        return model.get_input_matrix().astype(np.float64)

    start, end = peer(1e-20), peer(0.5)
    rows = ref.subword_rows(words, 2, 3, 20)
    text = [[words.index(w) for w in [*line, "</s>"]] for line in lines]
    counts = np.bincount([w for line in text for w in line])
    tree = ref.huffman(counts)
    for spread, close in (("whole", True), ("mean", False)):
        W, C = start.copy(), np.zeros((len(words) - 1, D))
        for n, line in enumerate(text):
            rate = 0.5 * (1 - sum(map(len, text[:n])) / counts.sum())
            for at, centre in enumerate(line):
                context = [*line[max(0, at - 1) : at], *line[at + 1 : at + 2]]
                predict = partial(ref.hierarchical_softmax, tree=tree)
                pairs = [(centre, context)] if kind == "cbow" else [(word, [centre]) for word in context]  # from centre
                for target, source in pairs:
                    step = ref.cbow(W, C, target, source, predict, rate, rows, spread)
                    W, C = W + step.inputs, C + step.outputs
        assert np.allclose(W, end, atol=1e-5) == close, spread


def test_negative_sampling_reaches_its_optimum() -> None:
    """Rank enough for any matrix: the trained loss comes to the least possible one, and h . v to the optimum the
    docstring of ``negative_sampling`` states: shifted mutual information, up to the skipped negatives."""
    draw = np.random.default_rng(2)
    joint = draw.random((5, 5)) ** 2 + 0.05
    joint += joint.T
    joint /= joint.sum()
    pairs = draw.choice(25, 4000, p=joint.ravel())
    sentences = np.stack([pairs // 5, pairs % 5], 1).tolist()  # two words each: the window has one width
    together = np.zeros((5, 5))
    np.add.at(together, (pairs // 5, pairs % 5), 1)
    p = (together + together.T) / 8000
    q, K = p.sum(1), 3
    best = np.log(p / (K * q[None, :] * (p.sum(1)[:, None] - p)))
    least = (p * np.logaddexp(0, -best) + K * q[None, :] * (p.sum(1)[:, None] - p) * np.logaddexp(0, best)).sum()
    for shared in (True, False):
        got = ref.train(
            sentences, q * 8000, shared=shared, dimension=6, window=1, negatives=K, exponent=1, lr=0.05, epochs=4
        )  # fmt: skip
        assert got.losses[0] > got.losses[-1]
        assert got.losses[-1] == pytest.approx(least, rel=0.01)
        np.testing.assert_allclose(got.inputs @ got.outputs.T, best, atol=0.2)


@pytest.mark.parametrize("model", ["skip-gram", "cbow"])
@pytest.mark.parametrize("output", ["negative", "softmax", "hierarchical"])
def test_training_learns_and_repeats(model: str, output: str) -> None:
    """Words 0-3 occur together, so do 4-7: after training a word's nearest neighbours are of its own topic."""
    draw = np.random.default_rng(0)
    sentences = [(draw.integers(0, 4, 8) + 4 * topic).tolist() for topic in (0, 1) * 30]
    counts = np.bincount(np.concatenate(sentences))
    rows = [[w, 8 + w // 4] for w in range(8)] if output == "negative" else None
    runs = [
        ref.train(sentences, counts, model=model, output=output, lr=0.1, epochs=3, dimension=8, rows=rows)  # type: ignore[arg-type]
        for _ in range(2)
    ]
    np.testing.assert_array_equal(runs[0].inputs, runs[1].inputs)
    assert runs[0].losses[-1] < runs[0].losses[0]
    W = runs[0].inputs if rows is None else np.stack([runs[0].inputs[r].mean(0) for r in rows])
    near = (W @ W.T) / np.outer(np.linalg.norm(W, axis=1), np.linalg.norm(W, axis=1))
    same = np.arange(8)[:, None] // 4 == np.arange(8)[None, :] // 4
    assert near[same].min() > near[~same].max()


def test_bad_values() -> None:
    W, C = weights(V)
    with pytest.raises(ConfigError, match="spread"):
        ref.cbow(W, C, 3, [1, 2], WAYS["softmax"], LR, spread="sum")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="output"):
        ref.train([[0, 1]], [1, 1], output="both")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="no words"):
        ref.huffman([])
