"""Reading: targets against the text, the loss against torch's, spans against brute force, answers independent of
batching, and eight questions learned by heart."""

import itertools
import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from tiny_tasks import WORDS

from wordloom.config import AnswerConfig, TokenizerConfig
from wordloom.data.questions import Question, Questions, Span
from wordloom.errors import BundleError, ConfigError, DataError
from wordloom.model.architecture import Architecture
from wordloom.model.build import make_body
from wordloom.model.model import Model
from wordloom.model.recurrent import RecurrentArchitecture
from wordloom.tasks.answer import Reader, log_sum_exp, shared_loss
from wordloom.tasks.answer_baseline import SlidingWindow, best_window
from wordloom.tasks.answer_spans import Piece, best_threshold, read_spans
from wordloom.tasks.answer_stream import AnswerStream
from wordloom.tasks.answer_targets import make_targets
from wordloom.tasks.answer_windows import bounds_of, make_answer_windows, tokens_of, trimmed
from wordloom.text.tokenizer import Tokenizer

RNG = np.random.default_rng(0)
CHINESE = "1928年，手塚治虫在日本大阪府出生。他是漫画家！The 😀 end。"


def questions(count: int, seed: int = 0, longest: int = 60, silent: float = 0.25) -> Questions:
    """Contexts of 5 to ``longest`` words; a right answer is a run of one to three of them, sometimes two are."""
    rng = np.random.default_rng(seed)
    asked, answers = [], []
    for i in range(count):
        words = list(rng.choice(WORDS, int(rng.integers(5, longest))))
        context = " ".join(words)
        spans = []
        for _ in range(0 if rng.random() < silent else int(rng.integers(1, 3))):
            a = int(rng.integers(len(words)))
            b = min(len(words), a + int(rng.integers(1, 4)))
            spans.append(Span(" ".join(words[a:b]), len(" ".join(words[:a])) + (a > 0)))
        asked.append(Question(" ".join(rng.choice(WORDS, int(rng.integers(1, 6)))), context, str(i)))
        answers.append(tuple(spans))
    return Questions(asked, answers, [f"a.json: article, paragraph {i}/{i}" for i in range(count)])


def reader(tokenizer: Tokenizer, records: Questions, length: int = 32, valid: bool = True, **values) -> Reader:
    config = AnswerConfig(**values)
    return Reader.fit(config, records, tokenizer, length=length, valid=records if valid else None)


def build(task: Reader, arch, seed: int = 0) -> Model:
    torch.manual_seed(seed)
    return Model(make_body(arch), task.heads(arch)).eval()


# ---------------------------------------------------------------------------------------------- windows, targets


def test_windows_hold_the_question_whole_beside_every_token_of_the_context(tokenizer: Tokenizer) -> None:
    records = questions(20)
    made = make_answer_windows(tokenizer, records.asked, length=24, stride=0.3, question=64)
    cls, sep = tokenizer.cls_id, tokenizer.sep_id
    for e, asked in enumerate(records.asked):
        question, context = (ids.tolist() for ids in tokenizer.encode_ids([asked.question, asked.context]))
        seen = set()
        for w in range(made.windows.first[e], made.windows.first[e + 1]):
            row = made.windows.tokens[made.windows.starts[w] : made.windows.starts[w + 1]].tolist()
            types = made.windows.types[made.windows.starts[w] : made.windows.starts[w + 1]].tolist()
            a, size = int(made.begin[w]), int(made.sizes[w])
            assert row == [cls, *question, sep, *context[a : a + size], sep] and len(row) <= 24
            assert types == [0] * (len(question) + 2) + [1] * (size + 1)
            seen |= set(range(a, a + size))
        assert seen == set(range(len(context)))
    assert made.questions_cut == 0 and (made.windows.counts > 1).any()
    shared = (
        made.begin[1:][made.owner[1:] == made.owner[:-1]]
        < (made.begin + made.sizes)[:-1][made.owner[1:] == made.owner[:-1]]
    )
    assert shared.all()  # neighbours overlap


def test_long_questions_are_cut_and_counted_and_short_windows_refused(tokenizer: Tokenizer) -> None:
    asked = [Question("good " * 50, "the film was fine " * 9), Question("good", "the film")]
    made = make_answer_windows(tokenizer, asked, length=32, stride=0.3, question=64)
    assert made.questions_cut == 1 and made.lead.tolist()[-1] == 3
    assert set(made.lead[:-1]) == {14 + 2}  # half the room of 29
    with pytest.raises(ConfigError, match="leave no room"):
        make_answer_windows(tokenizer, asked, length=9, stride=0.3, question=64)


def test_every_right_answer_is_a_target_or_reported(tokenizer: Tokenizer) -> None:
    records = questions(60, silent=0.3)
    task = reader(tokenizer, records, length=24, stride=0.2)
    windows = task.windows(records.asked)
    targets = task.targets(windows, records)
    found = 0
    for e, spans in enumerate(records.gold):
        numbers = range(*windows.windows.first[e : e + 2])
        pairs = {(w, windows.begin[w] + i, windows.begin[w] + j) for w, i, j in targets.right.tolist() if w in numbers}
        characters = windows.contexts[e].characters
        expected = set()
        for span in spans:
            i, j = tokens_of(span, windows.contexts[e])
            assert records.asked[e].context[characters[i, 0] : characters[j, 1]] == span.text
            expected |= {(w, i, j) for w in numbers
                         if windows.begin[w] <= i and j < windows.begin[w] + windows.sizes[w]}  # fmt: skip
        assert pairs == expected and targets.reachable[e] == (bool(expected) or not spans)
        found += bool(expected)
    labelled = sum(bool(s) for s in records.gold)
    lost = int((~targets.silent & ~targets.reachable).sum())
    assert found + lost == labelled and found > 0
    stream = AnswerStream(task, records, batch=8, seed=0)
    assert stream.left_out == lost
    rows = task.details(records, task.gold(records))["tables"][1]["rows"]
    assert rows[0][1] == len(records) and rows[-1][1] == lost


def test_chinese_answers_are_slices_of_the_text() -> None:
    tokenizer = Tokenizer.train([CHINESE * 3, "日本の漫画家、手塚治虫。"] * 5, TokenizerConfig(vocab_size=120))
    made = make_answer_windows(tokenizer, [Question("谁？", CHINESE)], length=64, stride=0.0, question=64)
    for text in ("手塚治虫", "日本大阪府", "1928年", "漫画家", "😀"):
        span = Span(text, CHINESE.index(text))
        found = tokens_of(span, made.contexts[0])
        assert found is not None
        i, j = found
        assert CHINESE[made.contexts[0].characters[i, 0] : made.contexts[0].characters[j, 1]] == text
    assert tokens_of(Span("x", -1), made.contexts[0]) is None


@pytest.mark.parametrize("kind", ["wordpiece", "bpe", "byte-bpe", "unigram"])
def test_tokens_never_begin_or_end_with_white_space(kind: str) -> None:
    text = "  Good films,  was the\tplot\n of a film 手塚 治虫 é😀 "
    tokenizer = Tokenizer.train([text * 3, "the film was good"] * 20, TokenizerConfig(kind=kind, vocab_size=320))
    ids, offsets = tokenizer.encode_offsets([text])[0]
    assert ids.tolist() == tokenizer.encode_ids([text])[0].tolist()
    characters = trimmed(text, offsets)
    pieces = [text[a:b] for a, b in characters]
    assert all(piece == piece.strip() for piece in pieces)
    for a, b in offsets:
        held = text[a:b].strip()
        assert not held or held in pieces
    bounds = bounds_of(text, characters)
    assert not bounds[characters[:, 0] == characters[:, 1]].any()  # a blank alone is no answer
    assert bounds.any(0).all()
    covered = {i for a, b in characters for i in range(a, b)}
    assert covered == {i for i, c in enumerate(text) if not c.isspace()}


def test_answers_begin_and_end_with_words_where_words_tell() -> None:
    text = "The unbelievably O'Neill-like 5km 1957年映画スター was не́бо 서울에서 end"
    tokenizer = Tokenizer.train([text] * 2, TokenizerConfig(kind="byte-bpe", vocab_size=270))  # few merges: pieces
    context = make_answer_windows(tokenizer, [Question("who", text)], length=300, stride=0.0, question=9).contexts[0]
    starts = {int(a) for (a, _), may in zip(context.characters, context.bounds[:, 0], strict=True) if may}
    ends = {int(b) for (_, b), may in zip(context.characters, context.bounds[:, 1], strict=True) if may}

    def spans(word: str, begin: int = 0) -> set[str]:
        at = text.index(word, begin)
        return {text[a:b] for a in starts for b in ends if at <= a < b <= at + len(word)}

    assert spans("unbelievably") == {"unbelievably"} and spans("не́бо") == {"не́бо"}
    assert {"O", "Neill", "O'Neill-like", "like"} <= spans("O'Neill-like")
    assert {"5", "km", "5km"} <= spans("5km") and spans("1957") == {"1957"} and "1957年" in spans("1957年映画")
    assert {"映画", "スター", "画ス"} <= spans("映画スター") and {"서울", "에서"} <= spans("서울에서")
    for inside in ("believ", "95", "Neil"):  # a right answer inside a word is widened to it
        i, j = tokens_of(Span(inside, text.index(inside)), context)
        assert text[context.characters[i, 0] : context.characters[j, 1]] in ("unbelievably", "1957", "Neill")


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


# ---------------------------------------------------------------------------------------------- decoding


def brute(pieces: list[Piece], characters: np.ndarray, longest: int) -> dict[tuple[int, int], float]:
    """Sum of exp(score) of every span of the text."""
    found: dict[tuple[int, int], float] = {}
    for p in pieces:
        for i, j in itertools.product(range(len(p.starts)), repeat=2):
            if i <= j < i + longest and p.starts[i] > -np.inf and p.ends[j] > -np.inf:
                place = int(characters[p.begin + i, 0]), int(characters[p.begin + j, 1])
                found[place] = found.get(place, 0.0) + math.exp(p.starts[i] + p.ends[j])
    return found


@pytest.mark.parametrize("seed", range(5))
def test_spans_are_those_of_all_pairs(seed: int) -> None:
    rng = np.random.default_rng(seed)
    characters = np.stack([np.arange(12) * 3, np.arange(12) * 3 + 2], axis=1).astype(np.int32)
    pieces = []
    for begin, n in ((0, 6), (4, 5), (7, 5)):
        starts, ends = rng.normal(size=(2, n)) * 2
        starts[rng.integers(n)] = -np.inf
        pieces.append(Piece(begin, starts, ends))
    reading = read_spans(pieces, characters, 0.7, longest=4)
    expected = brute(pieces, characters, 4)
    assert reading.total == pytest.approx(math.log(sum(expected.values())))
    best = sorted(expected.items(), key=lambda item: -item[1])
    for (place, weight), span in zip(best[:10], reading.spans, strict=False):
        assert (span.start, span.end) == place and span.score == pytest.approx(math.log(weight))
        whole = sum(expected.values()) + math.exp(0.7)
        assert reading.probability(span.score) == pytest.approx(weight / whole)
    assert reading.margin == pytest.approx(0.7 - reading.spans[0].score)
    everything = sum(reading.probability(math.log(w)) for w in expected.values()) + reading.probability(0.7)
    assert everything == pytest.approx(1)


def test_a_context_without_tokens_has_no_span() -> None:
    nothing = [Piece(0, np.zeros(0), np.zeros(0))], np.zeros((0, 2), np.int32)
    reading = read_spans(*nothing, -math.inf, 4)
    assert reading.spans == () and reading.total == -math.inf
    silent = read_spans(*nothing, 0.3, 4)
    assert silent.margin == math.inf and silent.probability(0.3) == 1


@pytest.mark.parametrize("seed", range(6))
def test_the_threshold_is_the_best_of_all(seed: int) -> None:
    rng = np.random.default_rng(seed)
    margins = rng.normal(size=30).round(1)  # with ties
    answered, silent = rng.random(30), (rng.random(30) < 0.4).astype(float)

    def total(t: float) -> float:
        return float(np.where(margins > t, silent, answered).sum())

    found = best_threshold(margins, answered, silent)
    assert total(found) == pytest.approx(max(total(t) for t in np.arange(-5, 5, 0.025)))
    assert best_threshold(margins, np.ones(30), np.ones(30)) == 0.0


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


# ---------------------------------------------------------------------------------------------- baseline


def test_the_sliding_window_finds_the_words_of_the_question() -> None:
    english = "Rome is old. The red cat of Anna slept in Paris all day. Oslo is cold."
    a, b, _ = best_window(Question("Where did the red cat of Anna slept in?", english), 1)
    assert english[a:b] == "Paris"
    a, b, score = best_window(Question("手塚治虫在哪里出生？", CHINESE), 5)
    assert CHINESE[a:b] == "日本大阪府" and 0 < score < 1
    assert best_window(Question("who?", "!?"), 3) == (0, 0, 0.0)


def test_the_baseline_is_fitted_and_answers_like_a_model(tokenizer: Tokenizer) -> None:
    rng = np.random.default_rng(0)
    asked, answers = [], []
    for i in range(40):
        names = rng.permutation(["Anna", "Berta", "Carla", "Dora", "Emil"])
        places = rng.permutation(["rome", "paris", "oslo", "cairo", "delhi"])
        context = ". ".join(f"{n} lives in {p}" for n, p in zip(names[:4], places[:4], strict=True)) + "."
        k = int(rng.integers(5))
        asked.append(Question(f"where lives {names[k]} ?", context, str(i)))
        answers.append((Span(places[k], context.index(places[k])),) if k < 4 else ())
    records = Questions(asked, answers, [f"a:{i}" for i in range(40)])
    baseline = SlidingWindow.fit(records)
    task = reader(tokenizer, records)
    scores = task.tallies(records, baseline.predict(records))
    assert baseline.length == 1 and scores["f1"].value > 0.9 and scores["no_answer_accuracy"].value == 1
