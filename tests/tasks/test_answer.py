"""Reading: the loss against torch's, answers independent of batching, and eight questions learned by heart."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from tiny_answers import build, questions, reader

from wordloom.data.questions import Question, Questions, Span
from wordloom.errors import BundleError, DataError
from wordloom.model.architecture import Architecture
from wordloom.model.recurrent import RecurrentArchitecture
from wordloom.tasks.answer.stream import AnswerStream
from wordloom.tasks.answer.targets import make_targets
from wordloom.tasks.answer.task import Reader, log_sum_exp, shared_loss
from wordloom.tasks.answer.windows import make_answer_windows, tokens_of
from wordloom.text.tokenizer import Tokenizer

RNG = np.random.default_rng(0)


# ---------------------------------------------------------------------------------------------- loss


def test_one_window_and_one_answer_is_the_public_loss(tokenizer: Tokenizer, arch: Architecture) -> None:
    """As transformers' *ForQuestionAnswering: the mean of two cross entropies; here without question and [SEP], and
    without tokens inside words."""
    records = questions(9, longest=12, silent=0.0)
    task = reader(tokenizer, records, length=64, targets="first")
    model = build(task, arch).double()
    batch = AnswerStream(task, records, batch=9, seed=0).step(0, 1)[0]
    terms, _ = task.loss(model, batch)
    term = terms["answer"]
    assert term.count == task.counts(batch)["answer"] == 18
    total = 0.0
    windows = task.windows(records.asked)
    for e in range(9):
        ids = torch.from_numpy(windows.windows.tokens[windows.windows.starts[e] : windows.windows.starts[e + 1]]).long()
        T = len(ids)
        types = torch.from_numpy(windows.windows.types[windows.windows.starts[e] : windows.windows.starts[e + 1]])
        hidden = model.body(ids[None], torch.ones(1, T).long(), torch.arange(T)[None], types.long()[None])
        logits = model.heads["answer"](hidden)[0]  # (T, 2)
        lead, size = int(windows.lead[e]), int(windows.sizes[e])
        i, j = tokens_of(records.gold[e][0], windows.contexts[e])
        may = torch.from_numpy(windows.contexts[e].bounds)
        for side, place in ((0, i), (1, j)):
            logits_of_side = logits[lead : lead + size, side].detach().masked_fill(~may[:, side], -math.inf)
            total += float(F.cross_entropy(logits_of_side[None], torch.tensor([place])))
    assert float(term.sum.detach()) == pytest.approx(total, rel=1e-9)


def test_the_loss_is_the_probability_of_any_right_answer_over_all_windows() -> None:
    logits = torch.from_numpy(RNG.normal(size=(7, 2)))
    nulls = torch.from_numpy(RNG.normal(size=(3, 2)))
    examples = {
        "of": torch.tensor([0, 0, 0, 1, 0, 0, 1]),
        "usable": torch.tensor([1, 1, 0, 1, 1, 1, 1])[:, None].expand(7, 2),
        "right": torch.tensor([[0, 1], [4, 4]]), "right_of": torch.tensor([0, 0]),
        "null_of": torch.tensor([0, 1, 0]), "silent": torch.tensor([0, 1]),
    }  # fmt: skip
    losses = shared_loss(logits, nulls, examples, silent=True)
    # by hand: question 0 owns tokens 0, 1, 4, 5 (2 is no text) and windows 0 and 2; its answers are 0-1 and 4-4
    p, z = logits.exp(), nulls.exp()
    least = torch.minimum(z[0], z[2])
    right = p[0, 0] * p[1, 1] + p[4, 0] * p[4, 1]
    chances = right / (p[[0, 1, 4, 5]].sum(0) + least).prod(), (z[1] / (p[[3, 6]].sum(0) + z[1])).prod()
    assert torch.allclose(losses, -torch.stack(chances).log(), atol=1e-12)
    without = shared_loss(logits, nulls, examples, silent=False)[0]
    assert float(without) == pytest.approx(float(-(right / p[[0, 1, 4, 5]].sum(0).prod()).log()))


def test_gradients_are_finite_where_a_question_has_no_right_token() -> None:
    logits = torch.zeros(3, 2, requires_grad=True)
    nulls = torch.zeros(1, 2, requires_grad=True)
    zero = torch.zeros(1).long()
    examples = {"of": zero.expand(3), "usable": torch.ones(3, 2), "right": torch.zeros(0, 2).long(),
                "right_of": torch.zeros(0).long(), "null_of": zero, "silent": torch.ones(1)}  # fmt: skip
    shared_loss(logits, nulls, examples, silent=True).sum().backward()
    assert torch.allclose(logits.grad, torch.full((3, 2), 0.25))
    assert torch.allclose(nulls.grad, torch.full((1, 2), -0.75))


def test_log_sum_exp_is_torchs_for_each_group() -> None:
    values = torch.from_numpy(RNG.normal(size=(40, 2)) * 300)
    of = torch.from_numpy(RNG.integers(0, 4, 40))
    found = log_sum_exp(values, of, 5)
    for g in range(4):
        assert torch.allclose(found[g], values[of == g].logsumexp(0))
    assert (found[4] == -math.inf).all()


@pytest.mark.parametrize("parts", [2, 3])
def test_micro_batches_add_up_to_the_step(tokenizer: Tokenizer, arch: Architecture, parts: int) -> None:
    records = questions(24, silent=0.3)
    task = reader(tokenizer, records, length=24, max_windows=2, stride=0.5)
    model = build(task, arch).double()
    stream = AnswerStream(task, records, batch=8, seed=3)
    for step in range(3):
        one, several = stream.step(step, 1), stream.step(step, parts)
        assert sorted(i for b in several for i in b.ids) == sorted(one[0].ids)
        sums = [sum(float(task.loss(model, b)[0]["answer"].sum.detach()) for b in bs) for bs in (one, several)]
        assert sums[0] == pytest.approx(sums[1], rel=1e-9) and math.isfinite(sums[0])
        assert sum(task.counts(b)["answer"] for b in several) == task.counts(one[0])["answer"]


def test_windows_drawn_from_a_long_text_hold_a_right_answer(tokenizer: Tokenizer) -> None:
    records = questions(30, longest=200, silent=0.2)
    task = reader(tokenizer, records, length=24, max_windows=2)
    stream = AnswerStream(task, records, batch=5, seed=1)
    for step in range(stream.steps_per_epoch):
        batch = stream.step(step, 1)[0]
        x = batch.examples
        assert torch.bincount(x["null_of"]).max() <= 2
        held = torch.bincount(x["right_of"], minlength=len(x["silent"]))
        assert ((held > 0) == ~x["silent"].bool()).all()
        assert (x["of"][x["right"]] == x["right_of"][:, None]).all()


def test_answers_do_not_depend_on_batching(tokenizer: Tokenizer, arch: Architecture) -> None:
    records = questions(16)
    task = reader(tokenizer, records, length=24)
    model = build(task, arch)
    together = task.predict(model, records.asked)
    alone = [task.predict(model, [q])[0] for q in records.asked]
    task.budget = 50
    small = task.predict(model, records.asked[::-1])[::-1]
    for a, b, c, asked in zip(together, alone, small, records.asked, strict=True):
        assert a[:3] == b[:3] == c[:3]
        assert a.probability == pytest.approx(b.probability, abs=1e-5) and a.none == pytest.approx(c.none, abs=1e-5)
        assert [f[:3] for f in a.best[:2]] == [f[:3] for f in c.best[:2]]
        assert all(asked.context[f.start : f.end] == f.text == f.text.strip() for f in a.best)
        assert sum(f.probability for f in a.best) + a.none <= 1 + 1e-9


# ---------------------------------------------------------------------------------------------- families


ROWS = {
    "bert": dict(vocab_size=1, width=32, layers=2, heads=2, ffn_width=64, max_positions=64, dropout=0.0,
                 attention_dropout=0.0),
    "causal": dict(vocab_size=1, width=32, layers=2, heads=2, ffn_width=64, max_positions=64, attention="causal",
                   types=0, dropout=0.0, attention_dropout=0.0),
    "t5": dict(vocab_size=1, width=32, layers=1, heads=2, ffn_width=64, decoder_layers=1, position="t5", types=0,
               dropout=0.0, attention_dropout=0.0),
    "lstm": dict(cell="lstm", vocab_size=1, width=32, layers=1, bidirectional=True),
    "rnn": dict(cell="gru", vocab_size=1, width=32, layers=1, bidirectional=False),
}  # fmt: skip


@pytest.mark.parametrize("row", list(ROWS))
def test_eight_questions_are_learned_by_heart(tokenizer: Tokenizer, row: str) -> None:
    values = {**ROWS[row], "vocab_size": tokenizer.vocab_size}
    arch = RecurrentArchitecture(**values) if "cell" in values else Architecture(**values)
    records = questions(8, seed=5, longest=30, silent=0.3)
    assert records.unanswerable
    task = reader(tokenizer, records, length=32, stride=0.5)
    model = build(task, arch).train()
    stream = AnswerStream(task, records, batch=8, seed=0)
    optimiser = torch.optim.Adam(model.parameters(), lr=1e-2 if row != "t5" else 5e-3)
    first = None
    for step in range(120):
        terms, _ = task.loss(model, stream.step(step, 1)[0])
        loss = terms["answer"].sum / terms["answer"].count
        first = first or float(loss.detach())
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        if float(loss.detach()) < 0.02:
            break
    assert float(loss.detach()) < 0.1 < first
    task.calibrate(model)
    assert model.training  # as it was
    answers = task.predict(model, records.asked)
    for answer, spans in zip(answers, records.gold, strict=True):
        assert (answer.text, answer.start) in ([tuple(s) for s in spans] or [("", -1)])
        assert answer.probability > 0.5
    scores = task.tallies(records, answers)
    assert {name: t.value for name, t in scores.items()} == dict.fromkeys(scores, 1.0)
    assert set(scores) == {"f1", "exact_match", "has_answer_f1", "has_answer_exact", "no_answer_accuracy"}
    values = task.evaluate(model)
    assert values["f1"] == values["exact_match"] == 1 and values["loss"] < 0.1


# ---------------------------------------------------------------------------------------------- the task


def test_settings_go_through_json(tokenizer: Tokenizer, arch: Architecture) -> None:
    records = questions(12)
    task = reader(tokenizer, records, length=24)
    model = build(task, arch)
    task.threshold = 0.3
    again = Reader.restore(task.settings(), tokenizer)
    assert again.settings() == task.settings()
    assert again.predict(model, records.asked) == task.predict(model, records.asked)
    with pytest.raises(BundleError, match="lack threshold"):
        Reader.restore({k: v for k, v in task.settings().items() if k != "threshold"}, tokenizer)
    with pytest.raises(BundleError, match="not 'answer'"):
        Reader.restore({"name": "tag"}, tokenizer)


def test_without_unanswerable_questions_there_is_always_an_answer(tokenizer: Tokenizer, arch: Architecture) -> None:
    records = questions(12, silent=0.0)
    task = reader(tokenizer, records, length=24)
    model = build(task, arch)
    assert task.calibrate(model) == 0 and not task.silent
    answers = task.predict(model, records.asked)
    assert all(a.text and a.none == 0 for a in answers)
    assert set(task.tallies(records, answers)) == {"f1", "exact_match"}


def test_the_threshold_decides_between_the_best_span_and_nothing(tokenizer: Tokenizer, arch: Architecture) -> None:
    records = questions(12)
    task = reader(tokenizer, records, length=24)
    model = build(task, arch)
    margins = [r.margin for r in task.read(model, records.asked)]
    task.threshold = float(np.median(margins))
    answers = task.predict(model, records.asked)
    assert [not a.text for a in answers] == [m > task.threshold for m in margins]
    assert all(a.best for a in answers) and all(a.start == -1 for a in answers if not a.text)


def test_saying_nothing_scores_as_the_window_that_is_least_for_it(tokenizer: Tokenizer, arch: Architecture) -> None:
    asked = questions(1, longest=200).asked
    task = reader(tokenizer, questions(12), length=24)
    model = build(task, arch)
    windows = task.windows(asked)
    assert len(windows.sizes) > 2
    nulls = []
    for w in range(len(windows.sizes)):
        ids = windows.windows.tokens[windows.windows.starts[w] : windows.windows.starts[w + 1]]
        types = windows.windows.types[windows.windows.starts[w] : windows.windows.starts[w + 1]]
        row = torch.from_numpy(ids).long()[None]
        with torch.no_grad():
            hidden = model(
                row, torch.ones_like(row), torch.arange(len(ids))[None], torch.from_numpy(types).long()[None]
            )
            nulls.append(model.heads["answer"](hidden[:, 0])[0].tolist())
    expected = sum(min(side) for side in zip(*nulls, strict=True))
    assert task.read(model, asked)[0].null == pytest.approx(expected, abs=1e-5)
    assert expected != pytest.approx(sum(max(side) for side in zip(*nulls, strict=True)), abs=1e-2)


def test_what_is_learned_of_several_answers(tokenizer: Tokenizer) -> None:
    context = "the film was good and the plot was bad"
    both = (Span("good", 13), Span("bad", 35))
    records = Questions([Question("the plot", context)], [(Span("not there", -1), *both)], ["a:1"])
    windows = make_answer_windows(tokenizer, records.asked, length=64, stride=0.0, question=64)
    places = [(0, *tokens_of(span, windows.contexts[0])) for span in both]
    assert make_targets(windows, records).right.tolist() == [list(p) for p in places]
    assert make_targets(windows, records, first=True).right.tolist() == [list(places[0])]
    lost = Questions([Question("the plot", context)], [(Span("not there", -1),)], ["a:1"])
    assert not make_targets(windows, lost).reachable.any()
    with pytest.raises(DataError, match="no right answer stands whole"):
        AnswerStream(reader(tokenizer, lost, length=64, valid=False), lost, batch=1, seed=0)


def test_inputs_are_checked(tokenizer: Tokenizer) -> None:
    task = reader(tokenizer, questions(4))
    task.check([("who?", "the film"), Question("", "x", "3")])
    for bad in (["who?"], [("who?", " ")], [("a", "b", "c", "d")], [(1, "b")]):
        with pytest.raises(DataError, match="input 1: an input is no question with its context"):
            task.check(bad)


def test_rows_and_lines(tokenizer: Tokenizer) -> None:
    records = questions(6)
    task = reader(tokenizer, records)
    for given, gold, spans in zip(records.asked, task.gold(records), records.gold, strict=True):
        row = task.row(given, gold)
        assert (row["answer"], row["id"]) == (spans[0].text if spans else None, given.id)
        assert [n["text"] for n in row["n_best"]] == list(dict.fromkeys(s.text for s in spans))
        assert task.line(given, gold).startswith(spans[0].text if spans else "(no answer)")
