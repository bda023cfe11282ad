"""Span corruption against an independent statement of Raffel et al. 2020, section 3.1.4, and their code's rule."""

from __future__ import annotations

import itertools
from collections import Counter
from typing import Any

import numpy as np
import pytest
import torch

import tiny
from wordloom import presets
from wordloom.config import SpansConfig, TokenizerConfig
from wordloom.data.batch import IGNORE, Batch
from wordloom.errors import ConfigError
from wordloom.model.build import make_body
from wordloom.model.model import Model
from wordloom.objectives.spans import Spans, random_division, span_counts
from wordloom.text.tokenizer import Tokenizer

PAD, CLS, EOS = 0, 2, 3
SENTINELS = list(range(199, 99, -1))


def objective(**values: Any) -> Spans:
    return Spans(SpansConfig(**values), sentinels=SENTINELS, frame=(CLS, EOS), eos_id=EOS, start_id=PAD)


def packed(lengths: list[list[int]], width: int) -> tuple[Batch, list[list[list[int]]]]:
    """Rows of documents of so many tokens of text, each framed, all tokens different; and the texts."""
    tokens = torch.full((len(lengths), width), PAD)
    documents, positions, texts, name = torch.zeros_like(tokens), torch.zeros_like(tokens), [], 200
    for row, parts in enumerate(lengths):
        at = 0
        texts.append([])
        for number, n in enumerate(parts, 1):
            text = list(range(name, name + n))
            name += n
            tokens[row, at : at + n + 2] = torch.tensor([CLS, *text, EOS])
            documents[row, at : at + n + 2], positions[row, at : at + n + 2] = number, torch.arange(n + 2)
            at += n + 2
            texts[-1].append(text)
    return Batch(tokens, documents, positions, torch.zeros_like(tokens), ids=("a",) * len(lengths)), texts


def paper_counts(length: int, rate: float, span: float) -> tuple[int, int]:
    """The authors' rule, in Python's arithmetic: lost tokens and spans of a text."""
    lost = min(max(round(length * rate), 1), length - 1)
    return lost, max(round(lost / span), 1)


def parts_of(batch: Batch, row: int, name: str = "tokens") -> list[list[int]]:
    values = batch.targets["spans"] if name == "targets" else batch.tokens
    numbers = batch.documents[row]
    return [values[row, numbers == k].tolist() for k in range(1, int(numbers.max()) + 1)]


def put_back(source: list[int], target: list[int]) -> tuple[list[int], list[int]]:
    """The text that a pair was made of, and the lengths of its spans."""
    assert source[-1] == EOS and target[-1] == EOS
    spans: dict[int, list[int]] = {}
    for token in target[:-1]:
        if token in SENTINELS:
            assert token == SENTINELS[len(spans)]  # in order, the first of them first
            spans[token] = []
        else:
            spans[list(spans)[-1]].append(token)
    order = [t for t in source if t in SENTINELS]
    assert order == list(spans)
    text = list(itertools.chain.from_iterable(spans.get(t, [t]) for t in source[:-1]))
    return text, [len(s) for s in spans.values()]


def test_source_and_target_are_the_text_and_the_counts_are_exact() -> None:
    lengths = [[40, 9, 2], [60], [1, 30, 23], [5, 5, 5, 5, 5]]
    batch, texts = packed(lengths, 64)
    for seed, values in enumerate(({}, {"rate": 0.5, "span": 2.0}, {"rate": 0.3, "span": 1.0})):
        config = SpansConfig(**values)
        made = objective(**values).corrupt(batch, np.random.default_rng(seed), 0.0)
        assert made.source is not None and made.source.ids == made.ids == batch.ids
        for row, texts_of_row in enumerate(texts):
            kept = [text for text in texts_of_row if len(text) > 1]  # one token cannot be half kept, half lost
            sources, targets, given = (
                parts_of(made.source, row), parts_of(made, row, "targets"), parts_of(made, row)
            )  # fmt: skip
            assert len(sources) == len(targets) == len(kept)
            for text, source, target, before in zip(kept, sources, targets, given, strict=True):
                found, spans = put_back(source, target)
                assert found == text
                assert (sum(spans), len(spans)) == paper_counts(len(text), config.rate, config.span)
                assert before == [PAD, *target[:-1]]
        for side in (made, made.source):
            real = side.documents > 0
            assert bool(real.any(0).all())  # no wider than the longest row
            assert bool((side.tokens[~real] == PAD).all()) and int(side.types.sum()) == 0
            for row in range(len(lengths)):
                for k in range(1, int(side.documents[row].max()) + 1):
                    places = side.positions[row, side.documents[row] == k]
                    assert places.tolist() == list(range(len(places)))
        assert bool((made.targets["spans"][made.documents == 0] == IGNORE).all())
        assert objective(**values).counts(made) == {"spans": int((made.documents > 0).sum())}


def test_the_counts_are_the_authors() -> None:
    lengths = np.arange(2, 600)
    for rate, span in ((0.15, 3.0), (0.15, 2.0), (0.5, 10.0), (0.25, 5.0)):
        lost, spans = span_counts(lengths, rate, span)
        assert [(int(a), int(b)) for a, b in zip(lost, spans, strict=True)] == [
            paper_counts(int(n), rate, span) for n in lengths
        ]
    lost, spans = span_counts(np.array([512]), 0.15, 3.0)
    assert int(lost[0]) == 77 and int(spans[0]) == 26  # and 77 / 26 is a mean of 2.96 tokens


def test_every_division_is_as_likely() -> None:
    """The authors shuffle parts - 1 marks over items - 1 places: all C(items - 1, parts - 1) divisions alike."""
    rng, tries = np.random.default_rng(0), 12_000
    lengths = random_division(np.full(tries, 6), np.full(tries, 3), rng).reshape(tries, 3)
    assert bool((lengths.sum(1) == 6).all()) and int(lengths.min()) == 1
    found = Counter(map(tuple, lengths.tolist()))
    expected = {c for c in itertools.product(range(1, 5), repeat=3) if sum(c) == 6}
    assert set(found) == expected and len(expected) == 10
    chi_square = sum((n - tries / 10) ** 2 / (tries / 10) for n in found.values())
    assert chi_square < 27.9  # 9 degrees of freedom: passed by one generator in a thousand by chance
    mixed = random_division(np.array([1, 5, 7, 2]), np.array([1, 5, 1, 2]), rng)
    assert mixed.tolist() == [1, *[1] * 5, 7, 1, 1]


def authors_mask(length: int, rng: np.random.Generator) -> np.ndarray:
    """The published rule for one text, written anew: shuffled marks, spans kept and lost in turn, kept first."""
    lost, spans = paper_counts(length, 0.15, 3.0)

    def runs(items: int) -> list[int]:
        marks = np.zeros(items - 1, dtype=int)
        marks[: spans - 1] = 1
        rng.shuffle(marks)
        return np.bincount(np.concatenate([[0], np.cumsum(marks)])).tolist()

    turns = [n for pair in zip(runs(length - lost), runs(lost), strict=True) for n in pair]
    return np.concatenate([np.full(n, i % 2 == 1) for i, n in enumerate(turns)])


def test_places_are_lost_as_often_as_by_the_authors_rule() -> None:
    length, tries = 27, 4000  # 4 tokens in 1 span; every place but the first may be lost
    batch, texts = packed([[length, length]] * (tries // 2), 2 * (length + 2))
    made = objective().corrupt(batch, np.random.default_rng(1), 0.0)
    lost = np.isin([t for row in texts for text in row for t in text], made.targets["spans"].numpy())
    ours = lost.reshape(tries, length)
    rng = np.random.default_rng(2)
    theirs = np.stack([authors_mask(length, rng) for _ in range(tries)])
    assert bool((ours.sum(1) == 4).all()) and bool((theirs.sum(1) == 4).all())
    spread = np.sqrt(theirs.mean(0) * (1 - theirs.mean(0)) * 2 / tries)
    assert bool((np.abs(ours.mean(0) - theirs.mean(0)) <= 4.5 * spread + 1e-9).all())


def test_the_same_generator_gives_the_same_batch() -> None:
    batch, _ = packed([[30, 20], [50]], 54)
    first, again, other = (objective().corrupt(batch, np.random.default_rng(s), 0.0) for s in (3, 3, 4))
    assert torch.equal(first.tokens, again.tokens) and first.source is not None and again.source is not None
    assert torch.equal(first.source.tokens, again.source.tokens)
    assert other.source is not None and not torch.equal(first.source.tokens, other.source.tokens)


def test_too_few_sentinels_are_refused() -> None:
    batch, _ = packed([[90]], 92)
    short = Spans(SpansConfig(), sentinels=SENTINELS[:3], frame=(CLS, EOS), eos_id=EOS, start_id=PAD)
    with pytest.raises(ConfigError, match="a document of 90 tokens has 5 spans to fill, and there are 3 sentinels"):
        short.corrupt(batch, np.random.default_rng(0), 0.0)


def test_a_batch_without_text_is_empty() -> None:
    batch, _ = packed([[1], [1]], 8)
    made = objective().corrupt(batch, np.random.default_rng(0), 0.0)
    assert made.real_tokens == 0 and objective().counts(made) == {"spans": 0} and len(made.split(2)) == 2


@pytest.mark.parametrize("preset", ["t5-tiny", "t5v1.1-tiny", "transformer-tiny"])
def test_the_loss_is_that_of_the_pairs_one_by_one(preset: str) -> None:
    """Packed, padded and smoothed while training alone: the sum over single pairs in plain torch."""
    batch, _ = packed([[30, 20], [17]], 60)
    spans = objective(label_smoothing=0.1)
    made = spans.corrupt(batch, np.random.default_rng(0), 0.0)
    arch = presets.architecture(preset, 300, width=32, heads=4, ffn_width=48, dropout=0.0, attention_dropout=0.0)
    torch.manual_seed(0)
    model = Model(make_body(arch), spans.heads(arch))  # type: ignore[arg-type]
    head: Any = model.heads["causal"]
    for training, smoothing in ((True, 0.1), (False, 0.0)):
        model.train(training)
        terms, _ = spans.loss(model, made, None)
        total = torch.zeros(())
        assert made.source is not None
        for row, k in ((0, 1), (0, 2), (1, 1)):
            sides = []
            for side in (made, made.source):
                mine = side.documents[row] == k
                values = (
                    getattr(side, name)[row, mine][None] for name in ("tokens", "documents", "positions", "types")
                )
                sides.append(Batch(*values))
            target, source = sides
            hidden = model.body(target.tokens, target.documents, target.positions, target.types, source)  # type: ignore[call-arg]
            labels = made.targets["spans"][row, made.documents[row] == k]
            loss = torch.nn.CrossEntropyLoss(reduction="sum", label_smoothing=smoothing)
            total = total + loss(head(hidden[0], model.token_embedding), labels)
        assert terms["spans"].count == int((made.documents > 0).sum())
        assert float(terms["spans"].sum.detach()) == pytest.approx(float(total.detach()), rel=1e-5)


@pytest.mark.parametrize("kind", ["byte-bpe", "wordpiece", "bpe"])
def test_a_tokenizer_with_sentinels_is_the_same_in_transformers(tmp_path: Any, kind: Any) -> None:
    transformers = pytest.importorskip("transformers")
    config = TokenizerConfig(kind=kind, vocab_size=330, lowercase=kind == "wordpiece")
    plain = Tokenizer.train(tiny.documents(), config)
    assert plain.sentinel_ids() == []
    tokenizer = plain.with_sentinels(10)
    size = plain.vocab_size
    assert tokenizer.vocab_size == size + 10 and tokenizer.sentinel_ids() == list(range(size + 9, size - 1, -1))
    assert tokenizer.with_sentinels(10) is tokenizer and plain.vocab_size == size
    tokenizer.save(tmp_path)
    loaded = Tokenizer.load(tmp_path)
    assert loaded.hash == tokenizer.hash and loaded.sentinel_ids() == tokenizer.sentinel_ids()
    theirs = transformers.AutoTokenizer.from_pretrained(str(tmp_path))
    assert len(theirs) == tokenizer.vocab_size
    for text in (*tiny.documents(5), "the <extra_id_0> was <extra_id_1>.", "The film<extra_id_9>"):
        ids = tokenizer.encode([text])[0].ids.tolist()
        assert theirs(text)["input_ids"] == [*ids, tokenizer.sep_id]  # as T5: an end, no beginning
        assert plain.encode([text])[0].ids.tolist() == ids or "<extra" in text
    assert tokenizer.sentinel_ids()[0] in tokenizer.encode(["the <extra_id_0> was"])[0].ids
    assert tokenizer.decode([tokenizer.sentinel_ids()[0]]) == ""
