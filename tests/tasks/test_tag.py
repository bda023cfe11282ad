"""Tagging: units and pieces, windows, decoding, scores; then the task as a whole with a tiny model."""

import itertools
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from tiny_tasks import texts

from wordloom.config import TagConfig, TokenizerConfig
from wordloom.data.tag_schemes import tags_of
from wordloom.data.tagged import Mention, Span, Tagged, on_units, read_tagged
from wordloom.errors import DataError
from wordloom.metrics import tally_scores
from wordloom.model.architecture import Architecture
from wordloom.model.build import make_body
from wordloom.model.crf import NEVER, Chain
from wordloom.model.model import Model
from wordloom.model.recurrent import RecurrentArchitecture
from wordloom.tasks.tag.scores import details, tallies
from wordloom.tasks.tag.spans import LabelSet, best_labels, with_scores
from wordloom.tasks.tag.task import Tagging, TagStream
from wordloom.tasks.tag.windows import _covered, _to_part, align, window
from wordloom.text.tokenizer import Tokenizer
from wordloom.text.units import find_units

TYPES = ("LOC", "PER")


def sentences(count: int, seed: int = 0, longest: int = 30, words: bool = True) -> Tagged:
    """Texts whose words decide their labels: good, fine are PER, a following great belongs to it; cold is LOC."""
    kept, spans = [t for t in texts(count * 2, seed, longest) if t][:count], []
    for text in kept:
        tags, before = [], "O"
        for word in text.split():
            before = "B-PER" if word in ("good", "fine") else "I-PER" if word == "great" and before != "O" else "O"
            tags.append("B-LOC" if word == "cold" else before)
        units = find_units(text, "spaces")
        found = [(i, t) for i, t in enumerate(tags) if t.startswith("B")]
        ends = [next((j for j in range(i + 1, len(tags)) if tags[j][0] != "I"), len(tags)) for i, _ in found]
        spans.append(tuple(Span(int(units[i, 0]), int(units[e - 1, 1]), t[2:])
                           for (i, t), e in zip(found, ends, strict=True)))  # fmt: skip
    units_ = [find_units(t, "spaces") if words else None for t in kept]
    return Tagged(kept, units_, spans, [frozenset()] * len(kept), [f"a.conll:{i}" for i in range(len(kept))], "a")


def built(tokenizer: Tokenizer, arch: Any, data: Tagged, length: int = 32, **config: Any) -> tuple[Tagging, Model]:
    task = Tagging.fit(TagConfig(**config), data, tokenizer, length=length, valid=data)
    torch.manual_seed(0)
    heads = task.heads(arch)
    return task, Model(make_body(arch), heads).eval()


# ------------------------------------------------------------------------------------------ pieces and windows


@pytest.mark.parametrize("kind", ["wordpiece", "byte-bpe", "unigram"])
def test_every_unit_has_pieces_of_its_own(kind: str) -> None:
    """Through lower-casing, accents taken away, pieces over several units, characters of several pieces."""
    lines = ["Die Größe in 2005 ist  Ärger's Café", "北京２００５年的APEC会 议", "naïve 🙂 x\u0001y", ""]
    tokenizer = Tokenizer.train(lines * 20, TokenizerConfig(kind=kind, vocab_size=400))  # type: ignore[arg-type]
    for rule in ("words", "characters", "spaces"):
        units = [find_units(line, rule) for line in lines]
        for line, edges, pieces, whole in zip(lines, units, align(tokenizer, lines, units), tokenizer.encode(lines),
                                              strict=True):  # fmt: skip
            assert len(pieces.first) == len(pieces.last) == len(edges)
            assert (pieces.first <= pieces.last).all() and (pieces.first[1:] > pieces.last[:-1]).all()
            lo = np.searchsorted(edges[:, 1], whole.offsets[:, 0], side="right")
            hi = np.searchsorted(edges[:, 0], whole.offsets[:, 1], side="left") - 1
            if (hi <= lo).all() and len(np.unique(lo[lo == hi])) == len(edges):  # nothing to part: the tokenizer's own
                assert np.array_equal(pieces.ids, whole.ids)
            for (a, b), first, last in zip(edges.tolist(), pieces.first, pieces.last, strict=True):
                own = [int(i) for i in pieces.ids[first : last + 1]]
                assert own == [tokenizer.unk_id] or set(own) <= set(pieces.ids.tolist())
                shown = tokenizer.decode(own).replace(" ", "").casefold()
                if shown and tokenizer.unk_id not in own and line[a:b].isascii() and line[a:b].isprintable():
                    assert shown == line[a:b].casefold()


def test_which_units_are_parted() -> None:
    """Pieces "ab" and "c" over the units "a" and "bc": the second has a piece of its own, and shares one."""
    touched = _covered(np.array([[0, 2], [2, 3], [4, 5]], np.int32), np.array([[0, 1], [1, 3], [4, 5]], np.int32))
    assert _to_part(*touched, 3).tolist() == [0, 1]
    assert _to_part(*touched, 4).tolist() == [0, 1, 3]  # a last unit without any piece


def test_white_space_stays_where_it_was() -> None:
    lines = ["x   ab12  cd34", "ab12 cd34 x"]
    tokenizer = Tokenizer.train(lines * 40, TokenizerConfig(kind="byte-bpe", vocab_size=400, lowercase=False))
    for line, pieces in zip(lines, align(tokenizer, lines, [find_units(t, "characters") for t in lines]), strict=True):
        assert len(pieces.first) == len(line.replace(" ", "")) and tokenizer.decode(pieces.ids).split() == line.split()


def test_the_mean_of_a_word_is_the_mean_of_its_pieces(tokenizer: Tokenizer) -> None:
    task = Tagging.fit(TagConfig(pieces="mean"), sentences(20), tokenizer, length=32)
    model = WordsAlone(tokenizer, task.labels)
    torch.nn.init.normal_(model.table)
    given = [("goodgreat cold", find_units("goodgreat cold", "spaces"))]
    windows = task.windows(given)
    found = task.emissions(model, task.batch(windows, np.array([0])))
    ids = [tokenizer.encode_ids([word])[0].tolist() for word in ("goodgreat", "cold")]
    assert len(ids[0]) > 1
    torch.testing.assert_close(found, torch.stack([model.table[i].mean(0) for i in ids]))


def test_a_piece_over_several_units_is_parted() -> None:
    tokenizer = Tokenizer.train(["ab12 cd34 1234"] * 30, TokenizerConfig(vocab_size=60))
    text = "ab12"
    (pieces,) = align(tokenizer, [text], [find_units(text, "characters")])
    assert len(tokenizer.encode([text])[0].ids) == 1
    assert tokenizer.decode(pieces.ids).replace(" ", "") == text and pieces.first.tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize("stride", [0.0, 0.25, 0.6])
def test_every_unit_is_read_once_where_it_is_most_central(tokenizer: Tokenizer, stride: float) -> None:
    lines = texts(12, longest=300)
    units = [find_units(line, "words") for line in lines]
    pieces = align(tokenizer, lines, units)
    laid = window(tokenizer, pieces, length=18, stride=stride)
    assert laid.unit_starts[-1] == len(laid.first) == laid.texts[-1] == sum(map(len, units))
    w = np.repeat(np.arange(len(laid.windows.lengths)), np.diff(laid.unit_starts))
    tokens = laid.windows.tokens[laid.windows.starts[w] + laid.first]
    expected = np.concatenate([p.ids[p.first] for p in pieces])
    assert np.array_equal(tokens, expected)  # the unit's own first piece stands there
    assert laid.windows.lengths.max() <= 18 and (laid.first >= 1).all()
    assert (laid.last <= laid.windows.lengths[w] - 2).all()
    owner = np.repeat(np.arange(len(lines)), laid.windows.counts)
    assert np.array_equal(owner[w], np.repeat(np.arange(len(lines)), list(map(len, units))))
    if stride:  # context on both sides of every unit but for the ends of a text: half of what is shared, less a word
        inside = np.minimum(laid.first - 1, laid.windows.lengths[w] - 2 - laid.last)
        far = [(i not in (0, len(u) - 1)) for u in units for i in range(len(u))]
        at_end = np.concatenate([(p.first < 18) | (p.last >= len(p.ids) - 18) for p in pieces])
        assert inside[np.array(far) & ~at_end].min() >= int(stride * 16) // 2 - 3


# ------------------------------------------------------------------------------------------------- decoding


@pytest.mark.parametrize("scheme", ["bio", "bioes"])
def test_rules_allow_what_the_scheme_writes_and_nothing_else(scheme: Any) -> None:
    labels = LabelSet(scheme, ("A", "B"))
    rules, names = labels.rules(), labels.names
    written = set()
    for cuts in itertools.product((None, "A", "B"), (1, 2, 4), (None, "A", "B"), (1, 2)):
        spans = [(0, cuts[1], cuts[0]), (cuts[1], cuts[1] + cuts[3], cuts[2])]
        tags = tags_of(6, [s for s in spans if s[2]], scheme)
        written |= {(a, b) for a, b in itertools.pairwise(tags)} | {("<", tags[0]), (tags[5], ">")}
    full = tags_of(2, [(0, 2, "A")], scheme), tags_of(2, [(0, 2, "B")], scheme), tags_of(1, [(0, 1, "A")], scheme)
    written |= {(t[-1], ">") for t in (*full, tags_of(1, [(0, 1, "B")], scheme))}
    for i, a in enumerate(names):
        assert (rules.start[i] == 0) == (("<", a) in written) and (rules.end[i] == 0) == ((a, ">") in written)
        for j, b in enumerate(names):
            assert (rules.transition[i, j] == 0) == ((a, b) in written), (a, b)


def random_emissions(lengths: list[int], classes: int) -> list[torch.Tensor]:
    g = torch.Generator().manual_seed(3)
    return [2 * torch.randn((n, classes), generator=g) for n in lengths]


@pytest.mark.parametrize("scheme", ["bio", "bioes"])
@pytest.mark.parametrize("crf", [False, True])
def test_decoding_and_its_probabilities_against_all_sequences(scheme: Any, crf: bool) -> None:
    labels = LabelSet(scheme, ("A", "B"))
    rules, C = labels.rules(), len(labels.names)
    chain = Chain(*(0.7 * torch.randn(r.shape, generator=torch.Generator().manual_seed(5)) + r for r in rules))
    chain = chain if crf else rules
    emissions = [*random_emissions([3, 4, 1, 2], C), torch.zeros(0, C)]
    paths = best_labels(emissions, rules, chain if crf else None)
    found = with_scores(emissions, paths, labels, chain if crf else None)
    for e, path, spans in zip(emissions, paths, found, strict=True):
        if not len(e):
            assert not len(path) and spans == []
            continue
        table = {}
        for y in itertools.product(range(C), repeat=len(e)):
            score = sum(float(e[t, c]) for t, c in enumerate(y)) + float(chain.start[y[0]] + chain.end[y[-1]])
            table[y] = score + sum(float(chain.transition[a, b]) for a, b in itertools.pairwise(y))
        assert tuple(path.tolist()) == max(table, key=table.__getitem__)
        assert table[tuple(path.tolist())] > NEVER / 2
        for span in spans:
            sure = 0.0
            if not crf:  # labels are independent
                table = {y: sum(float(torch.log_softmax(e[t], 0)[c]) for t, c in enumerate(y)) for y in table}
            total = sum(np.exp(list(table.values())))
            for y, score in table.items():
                tags = [labels.names[c] for c in y]
                own = tags_of(span.last - span.first, [(0, span.last - span.first, span.type)], scheme)
                ended = span.last == len(e) or tags[span.last][:1] not in "IE" or tags[span.last][2:] != span.type
                ended |= tags[span.last - 1][:1] in "ES"
                sure += np.exp(score) / total * (tags[span.first : span.last] == own and ended)
            assert span.score == pytest.approx(sure, rel=1e-4)
    assert sum(map(len, found)) >= 2


# --------------------------------------------------------------------------------------------------- scores


def random_tagging(seed: int, strays: bool) -> tuple[Tagged, list[list[str]]]:
    rng = np.random.default_rng(seed)
    tags = [[str(rng.choice(["O", "O", "B-PER", "I-PER", "B-LOC", "I-LOC"])) for _ in range(rng.integers(1, 12))]
            for _ in range(60)]  # fmt: skip
    if not strays:
        tags = [[t.replace("I", "B") if i == 0 or row[i - 1][2:] != t[2:] else t for i, t in enumerate(row)]
                for row in tags]  # fmt: skip
    return tags


@pytest.mark.parametrize("strays", [False, True])
def test_scores_are_those_of_seqeval(tmp_path: Any, strays: bool) -> None:
    metrics = pytest.importorskip("seqeval.metrics")
    iob2 = pytest.importorskip("seqeval.scheme").IOB2
    gold, said = random_tagging(0, strays), random_tagging(1, False)
    said = [(s * 12)[: len(g)] for g, s in zip(gold, said, strict=True)]
    said = [
        [t.replace("I", "B") if i == 0 or row[i - 1][2:] != t[2:] else t for i, t in enumerate(row)] for row in said
    ]
    path = tmp_path / "gold.conll"
    path.write_text("\n".join("".join(f"w{i} {t}\n" for i, t in enumerate(row)) for row in gold))
    records = read_tagged(str(path))
    units = [u for u in records.units if u is not None]
    path.write_text("\n".join("".join(f"w{i} {t}\n" for i, t in enumerate(row)) for row in said))
    answers = [[Mention(*s, 1.0) for s in spans] for spans in read_tagged(str(path)).spans]
    ours = {name: tally.value for name, tally in tallies(records, answers, units, "bio").items()}
    for name in ("f1", "precision", "recall"):
        assert ours[name] == pytest.approx(getattr(metrics, f"{name}_score")(gold, said))
    assert ours["strict_f1"] == pytest.approx(metrics.f1_score(gold, said, mode="strict", scheme=iob2))
    assert (ours["strict_f1"] == ours["f1"]) == (not strays)
    if not strays:
        assert ours["accuracy"] == pytest.approx(metrics.accuracy_score(gold, said))
    table = details(records, answers, units, set(TYPES))["tables"][0]
    theirs = metrics.classification_report(gold, said, output_dict=True)
    for row in table["rows"]:
        assert row[1] == theirs[row[0]]["support"]
        assert row[3].startswith(f"{100 * theirs[row[0]]['f1-score']:.1f} (")


def test_every_gold_span_is_counted_also_those_out_of_reach() -> None:
    """One ends inside a word, one lies in another, one is of a type that training never saw."""
    text = "ab cd ef gh"
    gold = (Span(0, 1, "X"), Span(3, 8, "X"), Span(3, 5, "X"), Span(9, 11, "Z"))
    records = Tagged([text], [None], [tuple(sorted(gold))], [frozenset()], ["a.jsonl:1"], "")
    units = [find_units(text, "words")]
    answers = [[Mention(3, 8, "X", 1.0)]]
    found = tallies(records, answers, units, "bio")
    assert found["recall"].value == 1 / 4 and found["f1"].counts.tolist() == [[1, 1, 4]]
    unscored = details(records, answers, units, {"X"})["unscored"]
    assert unscored["count"] == 3 and "2 end inside a word" in unscored["reason"] and "1 are of" in unscored["reason"]


# ------------------------------------------------------------------------------------------------- the task


def train(task: Tagging, model: Model, data: Tagged, steps: int, lr: float = 1e-2, parts: int = 1) -> None:
    stream = TagStream(task, data, batch=8, seed=0)
    optimiser = torch.optim.Adam(model.parameters(), lr=lr)
    model.train()
    for step in range(steps):
        optimiser.zero_grad()
        for batch in stream.step(step, parts):
            terms, _ = task.loss(model, batch)
            (terms["tag"].sum / terms["tag"].count).backward()
        optimiser.step()
    model.eval()


FAMILIES = {
    "bert": {},
    "gpt2": {"attention": "causal", "types": 0, "embedding_norm": False, "norm_place": "before"},
    "loom": {"types": 0, "position": "rotary", "window": 9, "global_every": 2, "gated": True, "norm_place": "before"},
    "xlnet": {"position": "xl", "two_stream": True, "qkv_bias": False, "embedding_norm": False, "inner_dropout": True},
    "lstm": {"cell": "lstm"},
    "bilstm": {"cell": "lstm", "bidirectional": True},
}


def architecture(name: str, vocab_size: int) -> Any:
    values = FAMILIES[name]
    if "cell" in values:
        return RecurrentArchitecture(vocab_size=vocab_size, width=32, layers=1, **values)
    return Architecture(vocab_size=vocab_size, width=32, layers=2, heads=2, ffn_width=64, max_positions=64,
                        init_std=0.1, dropout=0.0, attention_dropout=0.0, **values)  # fmt: skip


@pytest.mark.parametrize("crf", [False, True])
@pytest.mark.parametrize("name", FAMILIES)
def test_eight_texts_are_learned_by_heart_and_decoded_exactly(tokenizer: Tokenizer, name: str, crf: bool) -> None:
    data = sentences(8, seed=2, longest=40)
    assert sum(map(len, data.spans)) >= 8
    task, model = built(tokenizer, architecture(name, tokenizer.vocab_size), data, dropout=0.0, crf=crf)
    assert task.pieces == ("last" if name in ("gpt2", "lstm") else "first")
    train(task, model, data, 60, lr=4e-2 if "lstm" in name else 1e-2)
    answers = task.predict(model, task.inputs(data))
    assert [tuple(m.span for m in found) for found in answers] == data.spans
    assert all(0.5 < m.score <= 1 for found in answers for m in found)
    values = task.evaluate(model)
    assert values["f1"] == values["strict_f1"] == values["accuracy"] == 1 and values["loss"] < 0.1
    restored = Tagging.restore(task.settings(), tokenizer)
    assert restored.predict(model, task.inputs(data)) == answers


@pytest.mark.parametrize("scheme", ["bio", "bioes"])
@pytest.mark.parametrize("crf", [False, True])
def test_answers_and_loss_do_not_depend_on_batching(
    tokenizer: Tokenizer, arch: Architecture, crf: bool, scheme: Any
) -> None:
    data = sentences(25, longest=120)
    task, model = built(tokenizer, arch, data, length=20, crf=crf, scheme=scheme, pieces="mean")
    with torch.no_grad():
        model.heads["tag"].output.weight.mul_(20)  # any answers will do, and a random head gives few
    together, loss = task.predict(model, task.inputs(data)), task.evaluate(model)["loss"]
    task.budget = 1
    alone = [task.predict(model, [given])[0] for given in task.inputs(data)]
    assert any(together) and [[m.span for m in f] for f in together] == [[m.span for m in f] for f in alone]
    for a, b in zip(itertools.chain(*together), itertools.chain(*alone), strict=True):
        assert a.score == pytest.approx(b.score, abs=2e-5)
    assert task.evaluate(model)["loss"] == pytest.approx(loss, rel=1e-5)


@pytest.mark.parametrize("crf", [False, True])
def test_micro_batches_add_up_and_count_every_unit(tokenizer: Tokenizer, arch: Architecture, crf: bool) -> None:
    data = sentences(16, longest=80)
    task, model = built(tokenizer, arch, data, length=20, crf=crf, dropout=0.0)
    stream = TagStream(task, data, batch=6, seed=1)
    units = sum(len(u) for u in data.units if u is not None)
    epoch = [stream.step(s, 1)[0] for s in range(stream.steps_per_epoch)]
    assert sum(task.counts(b)["tag"] for b in epoch) == units
    whole = task.loss(model, epoch[0])[0]["tag"]
    parts = [task.loss(model, b)[0]["tag"] for b in stream.step(0, 3)]
    assert sum(p.count for p in parts) == whole.count
    torch.testing.assert_close(sum(p.sum for p in parts), whole.sum, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("scheme", ["bio", "bioes"])
def test_a_window_that_begins_inside_a_span_costs_no_more_than_others(
    tokenizer: Tokenizer, arch: Architecture, scheme: Any
) -> None:
    text = " ".join(["good", *["great"] * 60])
    span = (Span(0, len(text), "PER"),)
    data = Tagged([text], [find_units(text, "spaces")], [span], [frozenset()], ["a.conll:1"], "a")
    task, model = built(tokenizer, arch, data, length=20, crf=True, scheme=scheme, dropout=0.0)
    windows = task.windows([(text, find_units(text, "spaces"))])
    examples = task.batch(windows, np.arange(len(windows.unit_starts) - 1)).examples
    assert len(windows.unit_starts) > 4
    assert examples["begins"].nonzero().flatten().tolist() == [0]
    assert examples["ends"].nonzero().flatten().tolist() == [len(windows.unit_starts) - 2]
    assert task.evaluate(model)["loss"] < 2 * np.log(len(task.labels))
    train(task, model, data, 60, lr=1e-2)
    assert task.evaluate(model)["loss"] < 0.1
    assert [m.span for m in task.predict(model, task.inputs(data))[0]] == [span[0]]


class WordsAlone(torch.nn.Module):
    """A model whose logits are those of the token alone: a text is answered as its words say, however it is cut."""

    def __init__(self, tokenizer: Tokenizer, labels: tuple[str, ...]):
        super().__init__()
        self.table = torch.nn.Parameter(torch.zeros(tokenizer.vocab_size, len(labels)))
        said = {"good": "B-PER", "great": "I-PER", "cold": "B-LOC"}
        with torch.no_grad():
            self.table[:, labels.index("O")] = 1
            for word, label in said.items():
                self.table[tokenizer.encode([word])[0].ids[0], labels.index(label)] = 2
        self.heads = torch.nn.ModuleDict({"tag": torch.nn.Identity()})

    def body(self, tokens: torch.Tensor, *_: torch.Tensor) -> torch.Tensor:
        return self.table[tokens]


@pytest.mark.parametrize(("length", "stride"), [(10, 0.0), (16, 0.25), (17, 0.5), (40, 0.25)])
def test_a_long_text_is_labelled_to_its_end(tokenizer: Tokenizer, length: int, stride: float) -> None:
    task = Tagging.fit(TagConfig(stride=stride), sentences(20), tokenizer, length=length)
    clause = "good great cold the film was warm "
    (found,) = task.predict(WordsAlone(tokenizer, task.labels), [clause * 40])
    places = [i * len(clause) for i in range(40)]
    assert {m.span for m in found} == {Span(p + a, p + b, t) for p in places for a, b, t in
                                       ((0, 10, "PER"), (11, 15, "LOC"))}  # fmt: skip


def test_a_label_for_every_word(tokenizer: Tokenizer, arch: Architecture, tmp_path: Any) -> None:
    lines = [line for line in texts(40, longest=12) if line]
    path = tmp_path / "pos.conll"
    path.write_text(
        "\n".join("".join(f"{w} {'ADJ' if w[0] in 'gb' else 'X'}\n" for w in line.split()) for line in lines)
    )
    data = read_tagged(str(path))
    task, model = built(tokenizer, arch, data, dropout=0.0)
    assert data.each and task.each and task.labels == ("ADJ", "X") and task.score == ("accuracy", True)
    train(task, model, data, 60)
    values = task.evaluate(model)
    assert values["accuracy"] == values["f1"] > 0.9
    (found,) = task.predict(model, [["good", "film", "bad"]])
    assert [(m.start, m.end) for m in found] == [(0, 4), (5, 9), (10, 13)]


def test_text_and_tokens_as_input(tokenizer: Tokenizer, arch: Architecture) -> None:
    data = sentences(20)
    task, model = built(tokenizer, arch, data)
    train(task, model, data, 15)
    line = data.documents[0]
    a, b, c = task.predict(model, [line, line.split(), task.inputs(data)[0]])
    assert a == b == c
    assert task.predict(model, []) == [] and task.predict(model, ["", " \n"]) == [[], []]
    task.check([line, line.split(), *task.inputs(data)])
    for bad in (3, ["a", 3], ["a", " "]):
        with pytest.raises(DataError, match="input 0 is neither a text nor a list of tokens"):
            task.check([bad])


def test_the_rule_for_raw_text_follows_the_training_data(tokenizer: Tokenizer) -> None:
    from wordloom.tasks.tag.task import fitting_rule

    def spans(text: str, *found: Span) -> Tagged:
        return Tagged([text], [None], [found], [frozenset()], ["a:1"], "")

    assert fitting_rule(spans("in Paris-based x", Span(3, 8, "LOC"))) == "words"
    assert fitting_rule(spans("unbelievable", Span(2, 9, "STEM"))) == "characters"
    words = sentences(4)
    assert fitting_rule(words) == "tokens" and fitting_rule(replace(words, glued=True)) == "characters"


def test_nothing_to_learn_is_an_error(tokenizer: Tokenizer) -> None:
    data = Tagged(["a b"], [None], [()], [frozenset()], ["a.jsonl:1"], "")
    with pytest.raises(DataError, match=r"a\.jsonl: no text has a labelled span"):
        Tagging.fit(TagConfig(), data, tokenizer, length=16)


def test_labels_of_training_are_those_of_the_spans(tokenizer: Tokenizer, arch: Architecture) -> None:
    data = sentences(10, longest=60)
    task, _ = built(tokenizer, arch, data, length=18, scheme="bioes")
    windows, labels = task._records(data)
    names = [task.labels[i] for i in labels.tolist()]
    at = windows.texts.tolist()
    for i, (a, b) in enumerate(itertools.pairwise(at)):
        units = data.units[i]
        assert units is not None
        assert names[a:b] == tags_of(len(units), on_units(data.spans[i], units), "bioes")


def test_baselines_learn_the_words() -> None:
    from wordloom.tasks.tag.baseline import FeatureCRF, WordTags

    pytest.importorskip("pycrfsuite")
    data, held = sentences(80, seed=1), sentences(20, seed=9)
    for kind, least in ((WordTags, 0.6), (FeatureCRF, 0.95)):
        beside = kind(data, TagConfig(baseline_steps=40))
        units = [u for u in held.units if u is not None]
        scores = tally_scores(tallies(held, beside.predict(held), units, "bio"))
        assert scores["f1"].value > least, beside.name
