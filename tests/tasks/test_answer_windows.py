"""Windows hold the question and every token once or more; right answers are found in them, or reported."""

import dataclasses

import pytest
from tiny_answers import questions, reader

from wordloom.config import TokenizerConfig
from wordloom.data.questions import Question, Questions, Span
from wordloom.errors import ConfigError
from wordloom.model.architecture import Architecture
from wordloom.tasks.answer.stream import AnswerStream
from wordloom.tasks.answer.windows import bounds_of, make_answer_windows, tokens_of, trimmed
from wordloom.text.tokenizer import Tokenizer

CHINESE = "1928年，手塚治虫在日本大阪府出生。他是漫画家！The 😀 end。"


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


def test_words_of_the_question_are_marked_by_their_segment(tokenizer: Tokenizer, arch: Architecture) -> None:
    asked = [Question("good film", "the film was good and the plot was bad")]
    rows = {m: make_answer_windows(tokenizer, asked, length=64, stride=0.0, question=9, match=m) for m in (False, True)}
    plain, marked = (rows[m].windows for m in (False, True))
    assert plain.tokens.tolist() == marked.tokens.tolist()
    lead = int(rows[True].lead[0])
    question = set(tokenizer.encode_ids(["good film"])[0].tolist())
    context = marked.tokens[lead:-1].tolist()
    assert marked.types.tolist() == [0] * lead + [int(t not in question) for t in context] + [1]
    assert plain.types.tolist() == [0] * lead + [1] * (len(context) + 1)
    task = reader(tokenizer, questions(4), match=True)
    task.heads(arch)
    with pytest.raises(ConfigError, match="no segments"):
        task.heads(dataclasses.replace(arch, types=0))


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
    assert rows[0][1] == len(records) and rows[-2][1] == lost
    assert rows[-1] == [f"questions whose answers all have more than {task.longest} tokens", 0]


def test_answers_longer_than_allowed_are_reported(tokenizer: Tokenizer) -> None:
    """They can be learned from, and never given whole: of two right answers the shorter decides."""
    text = "good film the plot was bad"
    long, short = Span(text, 0), Span("good film", 0)
    asked = [Question("what", text, str(i)) for i in range(4)]
    places = [f"a:{i}" for i in range(4)]
    records = Questions(asked, [(long,), (long, short), (short,), ()], places)
    task = reader(tokenizer, records, length=64, max_answer=5)
    targets = task.targets(task.windows(records.asked), records)
    whole, part = (len(tokenizer.encode_ids([t])[0]) for t in (text, "good film"))
    assert targets.shortest.tolist() == [whole, part, part, 0] and part <= 5 < whole
    assert targets.reachable.all()
    rows = task.details(records, task.gold(records))["tables"][1]["rows"]
    assert rows[-1] == ["questions whose answers all have more than 5 tokens", 1]
    unscored = task.details(records, task.gold(records))["unscored"]
    assert unscored["count"] == 1 and unscored["reason"].endswith("1 have more than 5 tokens")


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
