"""What a user asks of semantic role labelling and what is said: words with their places, frames for a person to read.

Text is cut into words as PropBank's treebanks cut English (contractions, punctuation and hyphens apart), Chinese by
jieba where it is installed, else into characters.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from wordloom.data.frames import NONE, Argument, Frame, Sentence
from wordloom.errors import DataError
from wordloom.text import chinese

_WORD = re.compile(
    r"""(?:https?://|www\.)\S+ | [\w.+-]+@[\w-]+(?:\.[\w-]+)+          # addresses
      | \d+(?:[.,:]\d+)+                                               # 1,000.5
      | \w+(?=n['’]t\b) | n['’]t\b | ['’](?:s|m|d|ll|re|ve)\b         # do n't, we 'll
      | (?:[A-Za-z]\.){2,} | (?:Mr|Mrs|Ms|Dr|St|Prof|Jr|Sr|vs|etc)\.   # U.S., Mr.
      | \w+ | ([^\w\s])\1*                                             # words; runs of one mark: ... --""",
    re.VERBOSE | re.IGNORECASE,
)
MEANINGS = {
    "ARG0": "who", "ARG1": "whom, what", "ARGM-TMP": "when", "ARGM-LOC": "where", "ARGM-MNR": "how",
    "ARGM-CAU": "why", "ARGM-PRP": "what for", "ARGM-PNC": "what for", "ARGM-DIR": "which way", "ARGM-GOL": "where to",
    "ARGM-EXT": "how much", "ARGM-NEG": "not", "ARGM-MOD": "may, must, will", "ARGM-COM": "with whom",
    "ARGM-DIS": "linking", "ARGM-ADV": "circumstance", "ARGM-ADJ": "of what kind", "ARGM-PRD": "in what state",
    "ARGM-REC": "each other", "ARGM-LVB": "light verb", "ARGM-PRR": "said by a light verb",
}  # fmt: skip


@dataclass(frozen=True)
class Asked:
    """words (n,). predicates: (place, lemma or None) where they are known; None: find them. text and offsets (n, 2) of
    the words in it, where a text was given. source: the sentence of a file, whose other columns are written back."""

    words: tuple[str, ...]
    predicates: tuple[tuple[int, str | None], ...] | None = None
    text: str | None = None
    offsets: tuple[tuple[int, int], ...] = ()
    source: Sentence | None = None


@dataclass(frozen=True)
class Answer:
    """frames: with the predicates the task is asked to use. found: with predicted ones. given: with those asked about,
    None where none were."""

    words: tuple[str, ...]
    frames: tuple[Frame, ...]
    found: tuple[Frame, ...]
    given: tuple[Frame, ...] | None = None


def split_words(text: str) -> list[tuple[int, int]]:
    """(start, end) of each word in characters."""
    found = [m.span() for m in _WORD.finditer(text)]
    if not chinese.has_chinese(text):
        return found
    han, inside = chinese.is_chinese(text), chinese.continues_word(text)
    out = []
    for start, end in found:
        cuts = [i for i in range(start + 1, end) if (han[i] or han[i - 1]) and not inside[i]]
        out += list(zip([start, *cuts], [*cuts, end], strict=True))
    return out


def asked_of(given: Any) -> Asked:
    """A text, a list of words, an object {"text": ...} or {"words": [...]} with "predicates" (places of words) if they
    are known, or an `Asked`. Raises DataError for anything else."""
    if isinstance(given, Asked):
        return given
    if isinstance(given, str):
        offsets = split_words(given)
        return Asked(tuple(given[a:b] for a, b in offsets), None, given, tuple(offsets))
    if isinstance(given, dict) and isinstance(given.get("text", ""), str) and ("text" in given or "words" in given):
        base = asked_of(given["words"] if "words" in given else given["text"])
        places = given.get("predicates")
        if places is None:
            return base
        if isinstance(places, list | tuple) and all(isinstance(p, int) and 0 <= p < len(base.words) for p in places):
            return Asked(base.words, tuple((p, None) for p in sorted(set(places))), base.text, base.offsets)
        raise DataError(f"predicates {places!r} are not places of words", cure="give numbers of words, the first is 0")
    if isinstance(given, list | tuple) and all(isinstance(w, str) and w and not w.isspace() for w in given):
        return Asked(tuple(given))
    what = f"roles are of a sentence, and a {type(given).__name__} was given"
    raise DataError(what, cure='give a text, a list of words, or {"words": [...], "predicates": [...]}')


def sentence_asked(sentence: Sentence) -> Asked:
    """The question of a labelled sentence: its words and its predicates, without senses and arguments."""
    return Asked(sentence.words, tuple((f.index, f.lemma) for f in sentence.frames), source=sentence)


def answered(asked: Asked, answer: Answer) -> Sentence:
    """The answer in the columns of the file it was asked from, else in PropBank's."""
    source = asked.source
    if source is None:
        return Sentence(answer.words, answer.frames)
    return Sentence(answer.words, answer.frames, source.place, source.cells, source.layout)


def answer_row(asked: Asked, answer: Answer) -> dict[str, Any]:
    """JSON: words, and of each frame the predicate and its arguments; "characters" where a text was asked about."""
    row: dict[str, Any] = {} if asked.text is None else {"text": asked.text}
    row["words"] = list(answer.words)
    row["frames"] = [
        {
            "predicate": {"index": f.index, "word": answer.words[f.index], "lemma": f.lemma, "sense": f.sense},
            "arguments": [_argument_row(asked, answer.words, a) for a in f.arguments],
        }
        for f in answer.frames
    ]
    return row


def _argument_row(asked: Asked, words: Sequence[str], argument: Argument) -> dict[str, Any]:
    start, end, label = argument
    row: dict[str, Any] = {"label": label, "start": start, "end": end}
    if not asked.offsets or asked.text is None:
        return {**row, "text": " ".join(words[start:end])}
    characters = [asked.offsets[start][0], asked.offsets[end - 1][1]]
    return {**row, "text": asked.text[slice(*characters)], "characters": characters}


def answer_table(asked: Asked, answer: Answer) -> str:
    """Who did what to whom: the sentence, and below each predicate with its sense a line per argument."""
    lines = [" ".join(asked.text.split()) if asked.text is not None else " ".join(answer.words)]
    if not answer.frames:
        lines.append("  (no predicate)")
    for frame in answer.frames:
        sense = "" if frame.sense == NONE else f" [{frame.sense}]"
        lines.append(f"  {answer.words[frame.index]}{sense}")
        rows = [(label, meaning(label), " ".join(answer.words[a:b])) for a, b, label in frame.arguments if label != "V"]
        widths = [max((len(r[i]) for r in rows), default=0) for i in range(2)]
        lines += [f"    {label:<{widths[0]}}  {said:<{widths[1]}}  {words}" for label, said, words in rows]
    return "\n".join(lines)


def meaning(label: str) -> str:
    """The question a label answers; "" where it depends on the predicate (ARG2 and above)."""
    for prefix, said in (("C-", "(goes on)"), ("R-", "(refers back)")):
        if label.startswith(prefix):
            return f"{meaning(label[2:])} {said}".strip()
    return MEANINGS.get(label, MEANINGS.get(re.sub(r"^A(?=[0-9M])", "ARG", label).replace("AM-", "ARGM-"), ""))


def asked_lines(lines: Iterator[str]) -> Iterator[Asked]:
    """A sentence per line."""
    return (asked_of(line) for line in lines)
