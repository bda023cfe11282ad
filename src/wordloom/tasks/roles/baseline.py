"""The baseline of semantic role labelling: the commonest of everything, by lemma and position, without syntax.

A word is a predicate where most of its occurrences in training are; its sense is the lemma's commonest; a word plays
the role that most words play at its distance from a predicate of that lemma (beyond ten words: on that side), or of
any lemma where that one was seen too rarely there. Neighbours in the same role are one argument.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Hashable, Sequence

from wordloom.data.frames import Argument, Frame, FrameRecords, Sentence
from wordloom.tasks.roles.answers import Answer
from wordloom.tasks.roles.lexicon import Lexicon

FAR = 10  # words; distances beyond it count as it
SEEN = 3  # occurrences from which a lemma's own roles at a distance are believed
OUTSIDE = ""


class MajorityRoles:
    """Fitted on training sentences; answers of the task's own type."""

    name = "commonest role by lemma and distance"

    def __init__(self, train: FrameRecords, gold: bool):
        """gold: whether the frames it is scored by are those of the predicates in the data."""
        self.gold, self.lexicon = gold, Lexicon.fit(train.sentences)
        seen: Counter[str] = Counter()
        marked: Counter[str] = Counter()
        counts: dict[Hashable, Counter[str]] = defaultdict(Counter)
        for sentence in train.sentences:
            seen.update(w.lower() for w in sentence.words)
            marked.update(sentence.words[f.index].lower() for f in sentence.frames)
            for frame in sentence.frames:
                roles = _roles(frame, len(sentence.words))
                for place, role in enumerate(roles):
                    distance = _distance(place, frame.index)
                    counts[frame.lemma, distance][role] += 1
                    counts[distance][role] += 1
        self.predicates = {w for w, n in marked.items() if 2 * n > seen[w]}
        self.roles = {key: min(c, key=lambda role: (-c[role], role)) for key, c in counts.items()
                      if not isinstance(key, tuple) or c.total() >= SEEN}  # fmt: skip

    def predict(self, records: FrameRecords) -> list[Answer]:
        return [self._answer(s) for s in records.sentences]

    def _answer(self, sentence: Sentence) -> Answer:
        words = sentence.words
        found = [(i, self.lexicon.lemma(w)) for i, w in enumerate(words) if w.lower() in self.predicates]
        given = tuple(self._frame(words, f.index, f.lemma) for f in sentence.frames)
        predicted = tuple(self._frame(words, i, lemma) for i, lemma in found)
        return Answer(words, given if self.gold else predicted, predicted, given)

    def _frame(self, words: Sequence[str], index: int, lemma: str) -> Frame:
        places = [_distance(i, index) for i in range(len(words))]
        roles = [self.roles.get((lemma, d), self.roles.get(d, OUTSIDE)) for d in places]
        roles[index] = "V"
        found: list[Argument] = []
        for i, role in enumerate(roles):
            if role == OUTSIDE or (role == "V" and i != index):
                continue
            if found and found[-1][1:] == (i, role):
                found[-1] = found[-1]._replace(end=i + 1)
            else:
                found.append(Argument(i, i + 1, role))
        return Frame(index, lemma, self.lexicon.candidates(lemma)[0], tuple(found))


def _roles(frame: Frame, words: int) -> list[str]:
    roles = [OUTSIDE] * words
    for start, end, label in frame.arguments:
        roles[start:end] = [label] * (end - start)
    return roles


def _distance(place: int, predicate: int) -> int:
    return max(-FAR, min(FAR, place - predicate))
