"""Minimal pairs: equal to transformers pair by pair, hand arithmetic, a model that learned a toy grammar, bad files."""

from __future__ import annotations

import gzip
import json
import math
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.stats import binomtest
from torch import nn

from cli_runs import Runs, command
from wordloom import api, presets
from wordloom.config import CausalConfig, TokenizerConfig
from wordloom.data.batch import Batch
from wordloom.errors import BundleError, ConfigError, DataError
from wordloom.explain.likelihood import causal_log_likelihood, pseudo_log_likelihood
from wordloom.explain.minimal_pairs import PairScores, mean_of_shares, reading_of, score_pairs, wilson
from wordloom.explain.pairs_file import Pair, read_pairs
from wordloom.model.build import make_body
from wordloom.model.heads import CausalHead, ClassifyHead, MaskedHead, TokenHead
from wordloom.model.interop import save_bundle
from wordloom.model.model import Model
from wordloom.objectives.causal import Causal
from wordloom.text.tokenizer import Tokenizer

SINGULAR, PLURAL = ("dog", "cat", "bird", "teacher"), ("dogs", "cats", "birds", "teachers")
VERBS = (("barks", "bark"), ("sleeps", "sleep"), ("sings", "sing"), ("waits", "wait"))
PLACES = ("here", "today", "in the garden", "near the unbelievably quiet river")


def sentences(agree: bool) -> Iterator[str]:
    for number, nouns in enumerate((SINGULAR, PLURAL)):
        for noun in nouns:
            for verb in VERBS:
                for place in PLACES:
                    yield f"the {noun} {verb[number if agree else 1 - number]} {place}."


PAIRS = [
    Pair(good, bad, "agreement" if i % 3 else "other", "morphology", "", f"toy:{i + 1}")
    for i, (good, bad) in enumerate(zip(sentences(True), sentences(False), strict=True))
]


def tokenizer(kind: str, size: int = 90) -> Tokenizer:
    """So small that most words are several tokens."""
    return Tokenizer.train(list(sentences(True)) * 2, TokenizerConfig(kind=kind, vocab_size=size))  # type: ignore[arg-type]


def random_model(preset: str, head: type[nn.Module], words: Tokenizer, **values: Any) -> Model:
    torch.manual_seed(0)
    arch = presets.architecture(preset, words.vocab_size, **values)
    model = Model(make_body(arch), {"masked" if head is MaskedHead else "causal": head(arch)})
    with torch.no_grad():
        for p in model.parameters():
            p.add_(torch.randn_like(p) * 0.2)  # far from uniform, so that sentences differ by whole nats
    return model.eval()


SMALL = {"layers": 2, "width": 32, "heads": 4, "ffn_width": 48, "max_positions": 64}


@pytest.fixture(scope="module")
def masked() -> tuple[Model, Tokenizer]:
    words = tokenizer("wordpiece")
    return random_model("bert-tiny", MaskedHead, words, **SMALL), words


@pytest.fixture(scope="module")
def causal() -> tuple[Model, Tokenizer]:
    words = tokenizer("byte-bpe", 300)
    return random_model("gpt2-tiny", CausalHead, words, **SMALL), words


# --- against transformers --------------------------------------------------------------------------------------------


def public(model: Model, words: Tokenizer, folder: Path, kind: str) -> tuple[Any, Any]:
    """The public classes on the folder a bundle is."""
    import transformers

    save_bundle(folder, model, "pretrained", {}, also=words.save)
    twin = getattr(transformers, kind).from_pretrained(folder).eval()
    return twin, transformers.AutoTokenizer.from_pretrained(folder)


@torch.inference_mode()
def log_p(twin: Any, ids: list[int], at: int, target: int, shown: list[int]) -> float:
    return float(twin(torch.tensor([shown])).logits[0, at].double().log_softmax(0)[target])


@pytest.mark.parametrize("rest_of_word", [False, True])
def test_masked_equals_transformers(masked: tuple[Model, Tokenizer], tmp_path: Path, rest_of_word: bool) -> None:
    model, words = masked
    twin, theirs = public(model, words, tmp_path / "bundle", "BertForMaskedLM")
    some = PAIRS[::16]
    found = score_pairs(model, words, some, "masked", start_id=words.cls_id, rest_of_word=rest_of_word)
    for i, pair in enumerate(some):
        for text, ours in ((pair.good, found.good[i]), (pair.bad, found.bad[i])):
            encoded = theirs(text)
            ids, word = encoded["input_ids"], encoded.word_ids()
            total = 0.0
            for at in range(1, len(ids) - 1):
                hidden = [at, *(k for k in range(at + 1, len(ids)) if rest_of_word and word[k] == word[at])]
                shown = [theirs.mask_token_id if k in hidden else x for k, x in enumerate(ids)]
                total += log_p(twin, ids, at, ids[at], shown)
            assert ours == pytest.approx(total, abs=1e-4)
    assert np.ptp(found.good - found.bad) > 1  # the comparison above is of numbers that differ


def test_masking_the_rest_of_the_word_changes_the_score(masked: tuple[Model, Tokenizer]) -> None:
    model, words = masked
    one, two = (
        score_pairs(model, words, PAIRS[:4], "masked", start_id=words.cls_id, rest_of_word=rest).good
        for rest in (False, True)
    )
    assert (abs(one - two) > 0.01).all()


@pytest.mark.parametrize("leading_space", [False, True])
def test_causal_equals_transformers(causal: tuple[Model, Tokenizer], tmp_path: Path, leading_space: bool) -> None:
    """The rule of lm-eval's ``loglikelihood`` with an empty context: the prefix token, then the continuation alone."""
    model, words = causal
    twin, theirs = public(model, words, tmp_path / "bundle", "GPT2LMHeadModel")
    some = PAIRS[::16]
    found = score_pairs(model, words, some, "causal", start_id=words.cls_id, leading_space=leading_space)
    for i, pair in enumerate(some):
        for text, ours in ((pair.good, found.good[i]), (pair.bad, found.bad[i])):
            continuation = theirs((" " if leading_space else "") + text, add_special_tokens=False)["input_ids"]
            whole = [words.cls_id, *continuation]
            with torch.inference_mode():
                table = twin(torch.tensor([whole[:-1]])).logits[0].double().log_softmax(-1)
            total = float(table[torch.arange(len(continuation)), torch.tensor(continuation)].sum())
            assert ours == pytest.approx(total, abs=1e-4)
    assert np.ptp(found.good - found.bad) > 1


def test_a_space_before_a_sentence_is_another_sentence(causal: tuple[Model, Tokenizer]) -> None:
    model, words = causal
    one, two = (
        score_pairs(model, words, PAIRS[:4], "causal", start_id=words.cls_id, leading_space=space).good
        for space in (False, True)
    )
    assert (abs(one - two) > 0.01).all()


def test_a_recurrent_model_step_by_step() -> None:
    words = tokenizer("wordpiece")
    model = random_model("lstm-tiny", CausalHead, words, width=16)
    found = score_pairs(model, words, PAIRS[:9], "causal", start_id=words.sep_id)
    for pair, ours in zip(PAIRS[:9], found.bad, strict=True):
        total, state, token = 0.0, None, words.sep_id
        with torch.inference_mode():
            for following in words.encode_ids([pair.bad])[0].tolist():
                hidden, state = model.body.step(torch.tensor([token]), state)  # type: ignore[operator]
                total += float(model.heads["causal"](hidden, model.token_embedding)[0].log_softmax(0)[following])
                token = following
        assert ours == pytest.approx(total, abs=1e-4)


def test_a_hybrid_model_is_asked_both_ways() -> None:
    """As a causal one by its masked head, no token seeing ahead; as a masked one as any other."""
    words = tokenizer("byte-bpe", 300)
    model = random_model("loom-tiny", MaskedHead, words, **SMALL)
    assert (reading_of(model, hybrid=True), reading_of(model, "causal", hybrid=True)) == ("masked", "causal")
    some = PAIRS[:6]
    found = score_pairs(model, words, some, "causal", start_id=words.cls_id, hybrid=True)
    for pair, ours in zip(some, found.bad, strict=True):
        tokens = torch.tensor([[words.cls_id, *words.encode_ids([pair.bad])[0].tolist()]])
        total = 0.0
        for n in range(1, tokens.shape[1]):  # the prefix alone, so that nothing ahead can be seen
            prefix = tokens[:, :n]
            ones = torch.ones_like(prefix)
            with torch.inference_mode():
                rows = torch.ones(1, dtype=torch.bool)
                hidden = model.body(prefix, ones, torch.arange(n)[None], 0 * ones, causal_rows=rows)
                total += float(model.heads["masked"](hidden[0, -1], model.token_embedding).log_softmax(0)[tokens[0, n]])
        assert ours == pytest.approx(total, abs=1e-4)
    both = score_pairs(model, words, some, "masked", start_id=words.cls_id)
    assert (abs(both.bad - found.bad) > 0.1).all()


@pytest.mark.parametrize("rest_of_word", [False, True])
def test_permuted_equals_transformers(tmp_path: Path, rest_of_word: bool) -> None:
    """XLNet's own way: the token asked for is seen by none, its target mapping asks for it alone."""
    words = tokenizer("byte-bpe", 300)
    torch.manual_seed(0)
    arch = presets.architecture("xlnet-tiny", words.vocab_size, **{k: v for k, v in SMALL.items() if "pos" not in k})
    model = Model(make_body(arch), {"permuted": TokenHead(arch, transform=False, bias=True)})
    with torch.no_grad():
        for p in model.parameters():
            p.add_(torch.randn_like(p) * 0.2)
    model.eval()
    twin, _ = public(model, words, tmp_path / "bundle", "XLNetLMHeadModel")
    some = PAIRS[::40]
    found = score_pairs(model, words, some, reading_of(model), start_id=words.sep_id, rest_of_word=rest_of_word)
    for pair, ours in zip(some, found.good, strict=True):
        encoded = words.encode([pair.good])[0]
        ids = torch.tensor([[words.sep_id, *encoded.ids.tolist(), words.sep_id]])
        word = np.cumsum(encoded.word_starts)
        total, n = 0.0, ids.shape[1]
        for at in range(1, n - 1):
            unseen = torch.zeros(1, n, n)
            unseen[0, :, at] = 1.0
            for k in range(at + 1, n - 1):
                unseen[0, :, k] = float(rest_of_word and word[k - 1] == word[at - 1])
            target = torch.zeros(1, 1, n)
            target[0, 0, at] = 1.0
            with torch.inference_mode():
                logits = twin(ids, perm_mask=unseen, target_mapping=target).logits[0, 0]
            total += float(logits.double().log_softmax(0)[ids[0, at]])
        assert ours == pytest.approx(total, abs=1e-4)


# --- batches, ties ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["masked", "causal"])
def test_result_does_not_depend_on_the_batch(name: str, request: pytest.FixtureRequest) -> None:
    model, words = request.getfixturevalue(name)
    assert len({len(x) for x in words.encode_ids([p.good for p in PAIRS])}) > 5  # lengths differ

    def scores(tokens: int) -> np.ndarray:
        found = score_pairs(model, words, PAIRS[::17], name, start_id=words.cls_id, batch_tokens=tokens)
        return np.concatenate([found.good, found.bad])

    whole = scores(1_000_000)
    for tokens in (1, 70, 500):
        assert scores(tokens) == pytest.approx(whole, abs=1e-4)


@pytest.mark.parametrize("name", ["masked", "causal"])
def test_equal_tokens_tie_exactly(name: str, request: pytest.FixtureRequest) -> None:
    """ "The Dog" is "the dog" to a tokenizer that lowercases: both are one sentence, in whatever batch they are."""
    model, words = request.getfixturevalue(name)
    same = [Pair(p.good, p.good.title(), "x", "", "", p.place) for p in PAIRS[::9]]
    rows: list[int] = []
    hook = model.body.register_forward_hook(lambda body, inputs, hidden: rows.append(len(inputs[0])))
    found = score_pairs(model, words, same, name, start_id=words.cls_id, batch_tokens=60)
    hook.remove()
    assert words.lowercase and (found.good == found.bad).all()
    once = [len(ids) for ids in words.encode_ids([p.good for p in same])]
    assert sum(rows) == (len(once) if name == "causal" else sum(once))  # computed once, whatever rounding does


@pytest.mark.parametrize("name", ["masked", "causal"])
def test_a_sentence_the_model_cannot_read_is_named(name: str, request: pytest.FixtureRequest) -> None:
    model, words = request.getfixturevalue(name)
    pairs = [PAIRS[0], Pair("short.", "the dog " * 60, "x", "", "", "mine.tsv:7")]
    with pytest.raises(DataError, match=r"^mine.tsv:7: a sentence of \d+ tokens does not fit the model's 64 positions"):
        score_pairs(model, words, pairs, name, start_id=words.cls_id)


def test_the_longest_sentence_fits(causal: tuple[Model, Tokenizer], masked: tuple[Model, Tokenizer]) -> None:
    """A start token costs a causal model no position, as the last token is not read; [CLS] and [SEP] cost two."""

    class Long:
        def __init__(self, n: int) -> None:
            self.ids, self.word_starts = np.full(n, 9), np.ones(n, bool)

    ids = {"first_id": masked[1].cls_id, "last_id": masked[1].sep_id, "mask_id": masked[1].mask_id}
    assert np.isfinite(causal_log_likelihood(causal[0], [Long(64)], causal[1].cls_id)).all()
    assert np.isfinite(pseudo_log_likelihood(masked[0], [Long(62)], **ids)).all()
    with pytest.raises(DataError, match="sentence 2"):
        causal_log_likelihood(causal[0], [Long(64), Long(65)], causal[1].cls_id)
    with pytest.raises(DataError, match="sentence 1"):
        pseudo_log_likelihood(masked[0], [Long(63)], **ids)


# --- accuracies ------------------------------------------------------------------------------------------------------


def scored(rows: list[tuple[str, str, float, float]]) -> PairScores:
    pairs = [Pair("a", "b", paradigm, field, "", f"x:{i}") for i, (paradigm, field, _, _) in enumerate(rows)]
    return PairScores(pairs, np.array([r[2] for r in rows]), np.array([r[3] for r in rows]))


def test_ties_and_means_by_hand() -> None:
    """p1: right, tie, wrong, right (4 pairs). p2: tie (1). p3, of another field: wrong, wrong, right (3)."""
    first = [("p1", "f", -1, -2), ("p1", "f", -2, -2), ("p2", "f", -5, -5), ("p1", "f", -3, -2)]
    found = scored([*first, ("p3", "g", -2, -1), ("p3", "g", -4, -1), ("p1", "f", 0, -9), ("p3", "g", -1, -2)])
    by = found.by("paradigm")
    assert [(k, a.ties_right.value, a.ties_wrong.value, a.pairs, a.ties) for k, a in by.items()] == [
        ("p1", 3 / 4, 2 / 4, 4, 1), ("p2", 1.0, 0.0, 1, 1), ("p3", 1 / 3, 1 / 3, 3, 0)
    ]  # fmt: skip
    overall, pooled = found.mean_of_paradigms(), found.mean_of_pairs()
    assert overall.ties_right.value == pytest.approx((3 / 4 + 1 + 1 / 3) / 3)
    assert overall.ties_wrong.value == pytest.approx((2 / 4 + 0 + 1 / 3) / 3)
    assert (pooled.ties_right.value, pooled.ties_wrong.value) == (5 / 8, 3 / 8)
    assert (overall.pairs, overall.ties, pooled.ties) == (8, 2, 2)
    fields = found.by("field")
    assert fields["f"].ties_right.value == pytest.approx((3 / 4 + 1) / 2) and fields["g"].pairs == 3
    assert found.by("term") == {}


@pytest.mark.parametrize(("right", "n"), [(0, 5), (1, 2), (7, 9), (815, 1000), (4, 4)])
def test_interval_of_a_share(right: int, n: int) -> None:
    theirs = binomtest(right, n).proportion_ci(method="wilson")
    ours = wilson(right, n)
    assert (ours.value, ours.low, ours.high) == pytest.approx((right / n, theirs.low, theirs.high), abs=1e-12)


def test_interval_of_a_mean() -> None:
    one = wilson(7, 10)
    assert mean_of_shares([one]) == one
    two = wilson(2, 4)
    mean = mean_of_shares([one, two])
    assert mean.value == pytest.approx(0.6)
    assert mean.low == pytest.approx(0.6 - math.hypot(0.7 - one.low, 0.5 - two.low) / 2)
    assert mean.high == pytest.approx(0.6 + math.hypot(one.high - 0.7, two.high - 0.5) / 2)


def test_interval_of_a_mean_covers() -> None:
    """The mean of ten paradigms of 40 pairs lies in its interval about 95 times of 100."""
    rng = np.random.default_rng(0)
    shares = np.linspace(0.3, 0.99, 10)
    inside = 0
    for _ in range(600):
        mean = mean_of_shares([wilson(int(k), 40) for k in rng.binomial(40, shares)])
        inside += mean.low <= shares.mean() <= mean.high
    assert 0.93 <= inside / 600 <= 0.98


# --- a grammar that was learned --------------------------------------------------------------------------------------


def test_a_trained_model_prefers_the_grammatical_sentence() -> None:
    """Agreement over the nouns and verbs seen; the untrained model is at chance."""
    words = tokenizer("wordpiece", 200)
    torch.manual_seed(0)
    arch = presets.architecture("gpt2-tiny", words.vocab_size, **SMALL, dropout=0.0, attention_dropout=0.0)
    model = Model(make_body(arch), {"causal": CausalHead(arch)})
    objective = Causal(CausalConfig())
    text = [[words.cls_id, *ids.tolist(), words.sep_id] for ids in words.encode_ids(list(sentences(True)))]
    longest = max(map(len, text))
    tokens = torch.tensor([t + [words.pad_id] * (longest - len(t)) for t in text])
    documents = torch.tensor([[1] * len(t) + [0] * (longest - len(t)) for t in text])
    places = torch.arange(longest).expand_as(tokens)

    def accuracy() -> float:
        found = score_pairs(model.eval(), words, PAIRS, "causal", start_id=words.cls_id)
        return found.mean_of_pairs().ties_wrong.value

    before = accuracy()
    optimiser = torch.optim.AdamW(model.train().parameters(), lr=3e-3)
    rng = np.random.default_rng(0)
    for _ in range(60):
        rows = torch.from_numpy(rng.choice(len(text), 32, replace=False))
        some = Batch(tokens[rows], documents[rows], places[rows], torch.zeros_like(tokens[rows]))
        batch = objective.corrupt(some, rng, 0.0)
        term = objective.loss(model, batch, None)[0]["causal"]
        optimiser.zero_grad()
        (term.sum / term.count).backward()
        optimiser.step()
    assert before < 0.7 and accuracy() > 0.97


# --- files -----------------------------------------------------------------------------------------------------------


def test_own_files(tmp_path: Path) -> None:
    row = {"sentence_good": "He sleeps.", "sentence_bad": "He sleep.", "UID": "verbs", "field": "syntax/semantics"}
    jsonl = tmp_path / "a.jsonl.gz"
    jsonl.write_bytes(gzip.compress(f"{json.dumps(row)}\n\n{json.dumps(row | {'UID': 'more'})}\n".encode()))
    pairs = read_pairs(jsonl)
    assert [(p.good, p.bad, p.paradigm, p.field, p.term) for p in pairs] == [
        ("He sleeps.", "He sleep.", "verbs", "syntax_semantics", ""),
        ("He sleeps.", "He sleep.", "more", "syntax_semantics", ""),
    ]
    assert pairs[1].place == f"{jsonl}:3"
    bare = tmp_path / "mine.tsv"
    bare.write_text('He "sleeps.\tHe "sleep.\nA b\tB a\n')
    assert [(p.good, p.bad, p.paradigm) for p in read_pairs(bare)] == [
        ('He "sleeps.', 'He "sleep.', "mine"), ("A b", "B a", "mine")
    ]  # fmt: skip
    named = tmp_path / "named.tsv"
    named.write_text("bad\tgood\tterm\nB a\tA b\tt\n")
    assert [(p.good, p.bad, p.term, p.place) for p in read_pairs(named)] == [("A b", "B a", "t", f"{named}:2")]
    three = tmp_path / "three.tsv"
    three.write_text("A\tB\tx\nC\tD\ty\nE\tF\tx\nG\tH\tx\n")
    assert [p.good for p in read_pairs(three, limit=2)] == ["A", "C", "E"]


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("a.jsonl", '{"good": "A", "bad": "B"}\n{"good": "A"\n', ":2: not JSON"),
        ("a.jsonl", '{"good": "A", "bad": "B"}\n{"good": "A"}\n', ":2: bad is empty, not a sentence"),
        ("a.jsonl", '{"good": "A", "bad": ["B"]}\n', ":1: bad is list, not a sentence"),
        ("a.jsonl", '{"good": "A", "bad": "B", "UID": 7}\n', ":1: UID is int, not a name"),
        ("a.jsonl", '{"good": "A", "worse": "B"}\n', ":1: no column 'sentence_bad' among good, worse"),
        ("a.jsonl", "[1]\n", ":1: a JSON array"),
        ("a.tsv", "A\tB\nC\n", ":2: 1 tab-separated columns where 2"),
        ("a.tsv", "A\t \n", ":1: sentence_bad is empty"),
        ("a.tsv", "A\n", ":1: no column 'sentence_bad'"),
        ("a.tsv", "\n", ": no pair in it"),
        ("a.tsv", "good\tbad\n", ": no pair in it"),
        ("a.csv", "A,B\n", ": minimal pairs are read from .jsonl or .tsv"),
        ("a.tsv", b"A\tB\nC\t\xff\n", ":2: not valid UTF-8"),
    ],
)
def test_bad_files(tmp_path: Path, name: str, text: str | bytes, said: str) -> None:
    path = tmp_path / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(DataError) as error:
        read_pairs(path)
    assert str(error.value).startswith(str(path) + said) and "\n" not in str(error.value)


def test_no_file_and_no_pair_left(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such file"):
        read_pairs(tmp_path / "absent.jsonl")
    with pytest.raises(ConfigError, match="--limit 0"):
        read_pairs(tmp_path / "absent.jsonl", limit=0)


def test_blimp_as_published(shared_data: Path) -> None:
    pairs = read_pairs(shared_data / "probe" / "blimp.jsonl.gz")
    counts = Counter(p.paradigm for p in pairs)
    assert len(counts) == 67 and set(counts.values()) == {1000}
    assert {p.field for p in pairs} == {"morphology", "semantics", "syntax", "syntax_semantics"}
    assert len({p.term for p in pairs}) == 13  # the paper's 12, of which one is spelt twice
    assert sum(p.good == p.bad for p in pairs) == 7


# --- the verb --------------------------------------------------------------------------------------------------------


def test_the_verb(runs: Runs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: Any) -> None:
    model, file = runs.copy("pretrained", tmp_path), tmp_path / "own.tsv"
    file.write_text("the film was good.\tthe film good was.\tone\nthe plot\tThe Plot\ttwo\nan actor\tactor an\tone\n")
    said = command(monkeypatch, capfd, "probe", model, file, "--limit", 1, "--json")
    found = json.loads(said.out)
    assert said.code == 0, said.err
    assert (found["reading"], found["pairs"], found["limit"]) == ("masked", 2, 1)
    assert found["paradigms"]["two"]["ties"] == 1 and found["paradigms"]["two"]["ties_right"]["value"] == 1.0
    kept = model / "probes" / "own-masked-first1.json"
    assert json.loads(kept.read_text()) == found
    rows = [json.loads(line) for line in kept.with_suffix(".jsonl").read_text().splitlines()]
    assert [r["place"] for r in rows] == [f"{file}:1", f"{file}:2"] and rows[1]["right"] is None
    said = command(monkeypatch, capfd, "probe", model, file, "--rest-of-word")
    assert said.code == 0 and "PLL-word-l2r" in said.out and "mean of paradigms" in said.out and "  one" in said.out


def test_what_cannot_be_probed(runs: Runs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: Any) -> None:
    file = tmp_path / "own.tsv"
    file.write_text("A b.\tB a.\n")
    for words, text in (
        (["finetuned"], "no head that predicts tokens"),
        (["pretrained", "--as", "causal"], "cannot be asked as a causal one"),
        (["pretrained", "--as", "both"], "--as 'both' is unknown"),
        (["pretrained", "--start", "nonsense"], "the vocabulary has no token 'nonsense'"),
    ):
        said = command(monkeypatch, capfd, "probe", runs.folder / words[0], file, *words[1:])
        assert said.code == 2 and text in said.err and "Traceback" not in said.err
    with pytest.raises(BundleError, match="no such run"):
        api.probe(tmp_path / "absent", file)


def test_the_start_token_is_what_training_began_with(tmp_path: Path) -> None:
    """[CLS] where documents were isolated; [SEP] where they followed each other, and [CLS] was never seen."""
    file = tmp_path / "own.tsv"
    file.write_text("the dog barks here.\tthe dog bark here.\n")
    words = tokenizer("wordpiece")
    for preset, start_id in (("gpt2-tiny", words.cls_id), ("lstm-tiny", words.sep_id)):
        small = SMALL if preset == "gpt2-tiny" else {"width": 16}
        model = random_model(preset, CausalHead, words, **small)
        objective = {"name": "causal", "documents": "streams" if preset == "lstm-tiny" else "isolated"}
        save_bundle(tmp_path / preset, model, "pretrained", {"objective": objective}, also=words.save)
        found = api.probe(tmp_path / preset, file)
        direct = causal_log_likelihood(model, words.encode(["the dog barks here."]), start_id)
        assert found.scores.good == pytest.approx(direct, abs=1e-5) and found.path is None
        other = api.probe(tmp_path / preset, file, start="[MASK]", out=tmp_path / "out")
        assert abs(other.scores.good - direct) > 1e-3 and other.path is not None and other.path.exists()
    with pytest.raises(ConfigError, match="no token 'nonsense'"):
        api.probe(tmp_path / "gpt2-tiny", file, start="nonsense")


def test_a_model_is_asked_as_it_sees() -> None:
    words = tokenizer("wordpiece")
    arch = presets.architecture("gpt2-tiny", words.vocab_size, **SMALL)
    body = make_body(arch)
    assert reading_of(Model(body, {"causal": CausalHead(arch)})) == "causal"
    with pytest.raises(ConfigError, match="no head that predicts tokens"):
        reading_of(Model(body, {"classify": ClassifyHead(arch, 2, "last")}))
    decoder = Model(body, {"masked": MaskedHead(arch)})  # as ModernBERT's decoder: no token sees a later one
    assert reading_of(decoder) == "causal"
    with pytest.raises(ConfigError, match="cannot be asked as a masked one"):
        reading_of(decoder, "masked")
    with pytest.raises(ConfigError, match="no head that predicts tokens"):
        encoder = presets.architecture("bert-tiny", words.vocab_size, **SMALL)
        reading_of(Model(make_body(encoder), {"causal": CausalHead(encoder)}))
