"""What vectors know before any task: similarity of word pairs against people's judgements, and analogies.

The numbers equal gensim's ``evaluate_word_pairs`` and ``evaluate_word_analogies`` on the same vectors, and come with an
interval and with the coverage: a score over the pairs that happen to be in the vocabulary is not comparable with one
over all. Intervals are of the items of the set; the questions of an analogy section are built from the same few
words, so they are not independent and the interval of an analogy score is on the narrow side.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from wordloom.errors import ConfigError, DataError
from wordloom.metrics import Score, interval
from wordloom.metrics.weighted import RESAMPLES, correlation, ranks, resample_weights
from wordloom.vectors.embeddings import EPSILON, Vectors

Missing = Literal["skip", "zero", "subwords"]

_BLOCK = 32_000_000  # cosines held at a time: 128 MB


@dataclass(frozen=True)
class Pair:
    first: str
    second: str
    score: float  # people's judgement, on any scale


@dataclass(frozen=True)
class Question:
    """a is to b as c is to ``expected``."""

    a: str
    b: str
    c: str
    expected: str
    section: str


@dataclass(frozen=True)
class PairsResult:
    spearman: Score
    covered: int  # pairs with both words in the vocabulary
    total: int
    gold: NDArray[np.float64]  # (total,)
    similarity: NDArray[np.float64]  # (total,) cosines; NaN where the pair does not count


@dataclass(frozen=True)
class AnalogiesResult:
    accuracy: Score
    covered: int  # questions with all four words in the (restricted) vocabulary
    total: int
    sections: dict[str, tuple[Score, int, int]]  # accuracy, covered, total of each
    correct: NDArray[np.float64]  # (total,) 1, 0, or NaN where the question does not count


# --- files ---------------------------------------------------------------------------------------------------------


def read_pairs(path: Path) -> list[Pair]:
    """Word pairs with a score: three columns, divided by tabs, else commas, else white space; further columns
    (single judgements) are left aside, as are empty lines, lines that start with #, and a header. Raises DataError."""
    pairs: list[Pair] = []
    for number, line in _lines(path):
        if line.startswith("#"):
            continue
        divider = next((d for d in ("\t", ",") if d in line), None)
        cells = [cell.strip() for cell in line.split(divider)]
        score = _number(cells[2]) if len(cells) > 2 else None
        if score is None and number == 1 and len(cells) > 2:
            continue
        if score is None or not (cells[0] and cells[1]):
            raise DataError(
                "no word pair with a score", where=f"{path}:{number}", cure="write: word, tab, word, tab, number"
            )
        pairs.append(Pair(cells[0], cells[1], score))
    if not pairs:
        raise DataError("no word pairs", where=path, cure="give a file of lines: word, tab, word, tab, number")
    return pairs


def read_analogies(path: Path) -> list[Question]:
    """Lines of four words below ``: section`` headers (questions-words, CA8); before any header the section is the
    name of the file. Empty lines are left aside. Raises DataError."""
    questions: list[Question] = []
    section = Path(path).stem
    for number, line in _lines(path):
        if line.startswith(":"):
            section = line[1:].strip()
            continue
        words = line.split()
        if len(words) != 4:
            raise DataError(
                f"an analogy of {len(words)} words",
                where=f"{path}:{number}",
                cure="write four words, or : and a section",
            )
        questions.append(Question(words[0], words[1], words[2], words[3], section))
    if not questions:
        raise DataError("no analogies", where=path, cure="give a file of lines of four words")
    return questions


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    """Number and text of each line that is not empty; line ends of all systems, a byte order mark is no text."""
    try:
        text = Path(path).read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise DataError(f"cannot be read: {error.strerror}", where=path) from None
    except UnicodeDecodeError as error:
        bad = error.object[: error.start].count(b"\n") + 1
        raise DataError("bytes that are no UTF-8", where=f"{path}:{bad}", cure="save the file as UTF-8") from None
    for number, line in enumerate(text.replace("\r\n", "\n").replace("\r", "\n").split("\n"), start=1):
        if line.strip():
            yield number, line.strip()


def _number(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None


# --- words ---------------------------------------------------------------------------------------------------------


def _folded(vectors: Vectors, restrict: int | None, fold: bool) -> dict[str, int]:
    """Form -> row among the first ``restrict`` words. With ``fold`` the form is the upper-case one, as in gensim, and
    of several spellings the first row has it: the most frequent word where the vocabulary is sorted."""
    if restrict is not None and restrict < 1:
        raise ConfigError(f"a vocabulary restricted to {restrict} words", cure="use 1 or more, or none")
    rows: dict[str, int] = {}
    for row, word in enumerate(vectors.words[:restrict]):
        rows.setdefault(word.upper() if fold else word, row)
    return rows


def _unit(rows: NDArray) -> NDArray[np.float64]:
    lengths = np.linalg.norm(np.asarray(rows, np.float64), axis=-1, keepdims=True)
    return np.divide(rows, lengths, out=np.zeros(np.shape(rows)), where=lengths > 0)


# --- pairs ---------------------------------------------------------------------------------------------------------


def evaluate_pairs(
    vectors: Vectors,
    pairs: Sequence[Pair],
    *,
    missing: Missing = "skip",
    fold: bool = True,
    restrict: int | None = None,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> PairsResult:
    """Spearman's correlation of the cosines of word pairs with the judgements, 95 % bootstrap interval over pairs.

    missing: a pair with a word outside the vocabulary does not count ("skip"), has similarity 0 ("zero": comparable
    between vocabularies; gensim's dummy4unknown), or has the cosine of vectors composed of n-grams ("subwords": of a
    model that has them, the word in lower case if ``fold``; where even that fails the pair does not count).
    fold: upper and lower case are one, see ``_folded``. restrict: only the first so many words; absent: all.
    """
    if missing not in ("skip", "zero", "subwords"):
        raise ConfigError(f"unknown way {missing!r} with missing words", cure='use "skip", "zero" or "subwords"')
    rows = _folded(vectors, restrict, fold)
    gold = np.array([pair.score for pair in pairs], np.float64)
    similarity = np.full(len(pairs), np.nan)
    covered = 0
    for i, pair in enumerate(pairs):
        forms = [w.upper() if fold else w for w in (pair.first, pair.second)]
        known = [rows.get(form) for form in forms]
        if None not in known:
            covered += 1
        elif missing != "subwords":
            similarity[i] = 0 if missing == "zero" else np.nan
            continue
        found = [_vector(vectors, row, w, fold) for row, w in zip(known, (pair.first, pair.second), strict=True)]
        if found[0] is None or found[1] is None:
            continue
        # a word with itself is 1 exactly: rounding would put such pairs in an order of their own
        similarity[i] = 1.0 if forms[0] == forms[1] else float(_unit(found[0]) @ _unit(found[1]))
    return PairsResult(_spearman(gold, similarity, resamples, seed), covered, len(pairs), gold, similarity)


def _vector(vectors: Vectors, row: int | None, word: str, fold: bool) -> NDArray[np.float32] | None:
    if row is not None:
        return vectors.matrix[row]
    try:
        return vectors.vector(word.lower() if fold else word)
    except DataError:
        return None


def _spearman(gold: NDArray[np.float64], similarity: NDArray[np.float64], resamples: int, seed: int) -> Score:
    used = np.isfinite(similarity)
    note = "" if used.all() else f"{int(used.sum())} of {len(used)} pairs"
    gold, similarity = gold[used], similarity[used]
    if len(gold) < 2 or np.ptp(gold) == 0 or np.ptp(similarity) == 0:  # a correlation needs two different values
        return Score(math.nan, math.nan, math.nan, note)
    value = float(stats.spearmanr(gold, similarity).statistic)
    of_gold, of_cosines = ranks(gold), ranks(similarity)
    chunks = resample_weights(len(gold), resamples, seed)
    return Score(value, *interval(np.concatenate([correlation(of_gold(w), of_cosines(w), w) for w in chunks])), note)


def spearman_gain(
    ours: Sequence[PairsResult], theirs: Sequence[PairsResult], *, resamples: int = RESAMPLES, seed: int = 0
) -> Score:
    """Mean Spearman of our seeds minus theirs on the same set, with the paired hierarchical bootstrap's interval: each
    resample draws pairs (the same for both sides) and, on each side, seeds. Pairs count where both sides have them.

    With S seeds the drawn-seed part understates their variance by (S - 1) / S; a side's seeds are spread about
    their mean by sqrt(S / (S - 1)) to make up for it, as in ``metrics.gain_over_seeds``.
    """
    results = [*ours, *theirs]
    if not ours or not theirs or any(not np.array_equal(r.gold, results[0].gold) for r in results):
        raise DataError("the results are not of one set of word pairs", cure="compare results of the same file")
    used = np.all([np.isfinite(r.similarity) for r in results], axis=0)
    if used.sum() < 2:
        raise DataError("fewer than two word pairs are known to both sides", cure='count missing words as "zero"')
    gold, sides = results[0].gold[used], ([r.similarity[used] for r in ours], [r.similarity[used] for r in theirs])
    value = float(np.subtract(*(np.mean([stats.spearmanr(gold, s).statistic for s in side]) for side in sides)))
    of_gold, of_sides = ranks(gold), [[ranks(s) for s in side] for side in sides]
    means: list[list[NDArray[np.float64]]] = [[], []]
    rng = np.random.default_rng((seed, 1))
    for w in resample_weights(len(gold), resamples, seed):
        ranked = of_gold(w)
        for out, side in zip(means, of_sides, strict=True):
            by_seed = np.stack([correlation(ranked, of_seed(w), w) for of_seed in side], 1)  # (r, S)
            S = len(side)
            mean = by_seed.mean(1, keepdims=True)
            wide = mean + (by_seed - mean) * math.sqrt(S / (S - 1)) if S > 1 else by_seed
            out.append((wide * rng.multinomial(S, np.full(S, 1 / S), size=len(w)) / S).sum(1))
    return Score(value, *interval(np.concatenate(means[0]) - np.concatenate(means[1])))


# --- analogies -----------------------------------------------------------------------------------------------------


def evaluate_analogies(
    vectors: Vectors,
    questions: Sequence[Question],
    *,
    restrict: int | None = 30_000,
    method: Literal["add", "mul"] = "add",
    missing: Literal["skip", "zero"] = "skip",
    fold: bool = True,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> AnalogiesResult:
    """Share of questions whose best answer is the expected word, in all and by section, 95 % bootstrap interval.

    restrict: words and answers are the first so many of the vocabulary (30,000 in the authors' script, 300,000 in
    gensim), absent: all. method: 3CosAdd or 3CosMul (Levy & Goldberg 2014, "Linguistic regularities", equations 3
    and 4). missing: a question with a word outside does not count, or counts as wrong ("zero"). fold: upper and lower
    case are one, for the question, the words excluded (the three given) and the answer.
    """
    if method not in ("add", "mul") or missing not in ("skip", "zero"):
        raise ConfigError(f"unknown method {method!r} or {missing!r}", cure='use "add" or "mul", "skip" or "zero"')
    rows = _folded(vectors, restrict, fold)
    table = np.array(
        [[rows.get(w.upper() if fold else w, -1) for w in (q.a, q.b, q.c, q.expected)] for q in questions], np.int64
    ).reshape(-1, 4)  # (Q, 4) rows of the vocabulary
    inside = np.all(table >= 0, axis=1)
    correct = np.full(len(questions), np.nan if missing == "skip" else 0.0)
    words = vectors.words[:restrict]
    first = np.array([rows[word.upper() if fold else word] for word in words], np.int64)  # row of the same form
    best = _answers(vectors, table[inside, :3], first, method)
    correct[inside] = first[best] == table[inside, 3]
    names = np.array([q.section for q in questions], object)
    sections = {}
    for name in dict.fromkeys(names.tolist()):
        here = names == name
        sections[name] = _accuracy(correct[here], resamples, seed), int(inside[here].sum()), int(here.sum())
    return AnalogiesResult(_accuracy(correct, resamples, seed), int(inside.sum()), len(questions), sections, correct)


def _answers(vectors: Vectors, given: NDArray[np.int64], first: NDArray[np.int64], method: str) -> NDArray[np.int64]:
    """Best row (Q,) for rows a, b, c ``given`` (Q, 3), the words of their forms excluded.

    The questions of a set ask about few words, so the cosines of those U words with the vocabulary are one matrix
    product (in blocks of the vocabulary) and a question is the sum of three of its rows: for the 19,544 Google
    questions about 905 words, 22 times fewer multiplications than a product for each.
    """
    asked, places = np.unique(given, return_inverse=True)
    places = places.reshape(given.shape)  # (Q, 3) rows of the product below
    spellings: dict[int, list[int]] = {}  # rows of one form, for the forms asked about
    for row in np.flatnonzero(np.isin(first, asked)).tolist():
        spellings.setdefault(int(first[row]), []).append(row)
    excluded = [np.unique([row for word in three for row in spellings[word]]) for three in given.tolist()]
    top = np.full(len(given), -np.inf)
    best = np.zeros(len(given), np.int64)
    queries = _unit(vectors.matrix[asked]).astype(np.float32)  # (U, D)
    step = max(1, _BLOCK // max(1, len(asked)))
    for start in range(0, len(first), step):
        stop = min(start + step, len(first))
        cosines = queries @ vectors.matrix[start:stop].T  # (U, R)
        cosines *= vectors.inverse_norms[start:stop]
        if method == "mul":
            cosines += 1  # to [0, 1], the paper's footnote 7
            cosines /= 2
        score = np.empty(stop - start, np.float32)
        for i, (a, b, c) in enumerate(places):
            if method == "add":
                np.add(cosines[b], cosines[c], out=score)
                score -= cosines[a]
            else:
                np.multiply(cosines[b], cosines[c], out=score)
                score /= cosines[a] + np.float32(EPSILON)
            barred = excluded[i] - start
            score[barred[(barred >= 0) & (barred < stop - start)]] = -np.inf
            at = int(score.argmax())
            if score[at] > top[i]:
                top[i], best[i] = score[at], start + at
    return best


def _accuracy(correct: NDArray[np.float64], resamples: int, seed: int) -> Score:
    used = correct[np.isfinite(correct)]
    n = len(used)
    if not n:
        return Score(math.nan, math.nan, math.nan)
    # the mean of n draws with replacement from zeros and ones is binomial: the bootstrap without the drawing
    samples = np.random.default_rng(seed).binomial(n, used.mean(), size=resamples) / n
    return Score(float(used.mean()), *(interval(samples) if n > 1 else (math.nan, math.nan)))
