"""Bracket columns in and out: three layouts, written back as they were, and one sentence for every malformed file."""

from pathlib import Path

import pytest

from wordloom.data.frames import Argument, Frame, frame_lines, is_frames, prop_lines, read_frames
from wordloom.errors import DataError

PROPBANK = """\
d.xml\t0\t0\tShe\tPRP\t(S(NP*)\t-\t-\t(ARG0*)\t*
d.xml\t0\t1\tgave\tVBD\t(VP*\tgive\tgive.01\t(V*\t*
d.xml\t0\t2\tup\tRP\t*\t-\t-\t*)\t*
d.xml\t0\t3\tthe\tDT\t(NP*\t-\t-\t(ARG1*\t*
d.xml\t0\t4\tbroken\tVBN\t*\tbreak\tbreak.01\t*\t(V*)
d.xml\t0\t5\ttoy\tNN\t*)))\t-\t-\t*)\t(ARG1*)

d.xml\t1\t0\tYes\tUH\t(X*)\t-\t-
"""

CONLL2012 = """\
#begin document (bc/x); part 000
bc/x 0 0 He  PRP (S* -    -  - Ann *  (ARG0*) -
bc/x 0 1 ran VBD *   run  02 1 Ann *  (V*)    (3)
bc/x 0 2 day NN  *)  day  -  - Ann (DATE) (ARGM-TMP*) -

bc/x 0 0 No UH * - - - Ann * -

#end document
"""

CONLL2005 = """\
The  DT  (NP* (S* (S(NP* * -  -    (A1*)   (A1*
dog  NN  *)   *   *)     * -  -    *       *
that WDT *    *   *      * -  -    (R-A1*) *
ran  VBD *    *   *      * 01 run  (V*)    *)
fell VBD *    *)  *)     * 02 fall (C-A1*) (V*)
"""


def _write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def test_propbank_columns_are_read(tmp_path):
    records = read_frames(_write(tmp_path / "a.conll", PROPBANK))
    first, second = records.sentences
    assert first.words == ("She", "gave", "up", "the", "broken", "toy")
    assert first.frames == (
        Frame(1, "give", "give.01", (Argument(0, 1, "ARG0"), Argument(1, 3, "V"), Argument(3, 6, "ARG1"))),
        Frame(4, "break", "break.01", (Argument(4, 5, "V"), Argument(5, 6, "ARG1"))),
    )
    assert second.words == ("Yes",) and second.frames == ()
    assert records.places == [f"{tmp_path}/a.conll:1", f"{tmp_path}/a.conll:8"]
    assert records.facts() == {"words": 7, "predicates": 2, "arguments": 3}
    assert "propbank columns" in records.columns


@pytest.mark.parametrize("text", [PROPBANK, PROPBANK.replace("\n", "\r\n")])
def test_what_is_read_is_written_back(tmp_path, text):
    records = read_frames(_write(tmp_path / "a.conll", text))
    assert "\n".join(frame_lines(records.sentences)).strip() == PROPBANK.strip()
    assert list(prop_lines(records.sentences))[:3] == ["- (ARG0*) *", "give (V* *", "- *) *"]


def test_conll2012_predicates_are_the_words_with_a_sense(tmp_path):
    records = read_frames(_write(tmp_path / "a.gold_conll", CONLL2012))
    assert [s.words for s in records.sentences] == [("He", "ran", "day"), ("No",)]
    (frame,) = records.sentences[0].frames
    assert (frame.index, frame.lemma, frame.sense) == (1, "run", "02")
    assert [a.label for a in frame.arguments] == ["ARG0", "V", "ARGM-TMP"]
    assert records.places[0].endswith(":2")


def test_conll2005_layout_is_found_with_its_sense(tmp_path):
    records = read_frames(_write(tmp_path / "wsj.props", CONLL2005))
    (sentence,) = records.sentences
    assert sentence.words == ("The", "dog", "that", "ran", "fell")
    assert [(f.index, f.lemma, f.sense) for f in sentence.frames] == [(3, "run", "01"), (4, "fall", "02")]
    said = (Argument(0, 1, "A1"), Argument(2, 3, "R-A1"), Argument(3, 4, "V"), Argument(4, 5, "C-A1"))
    assert sentence.frames[0].arguments == said
    assert sentence.frames[1].arguments == (Argument(0, 4, "A1"), Argument(4, 5, "V"))
    assert "sense 7" in records.columns


def test_a_folder_is_read_file_by_file(tmp_path):
    (tmp_path / "deep").mkdir()
    _write(tmp_path / "deep" / "b.gold_conll", CONLL2012)
    _write(tmp_path / "a.v4_gold_conll", CONLL2012)
    _write(tmp_path / "notes.txt", "nothing")
    assert len(read_frames(tmp_path)) == 4
    assert is_frames("a.conll.gz") and not is_frames("a.txt")


_NO_TOY_END = PROPBANK.replace("toy\tNN\t*)))\t-\t-\t*)", "toy\tNN\t*)))\t-\t-\t*")
_NO_V_END = PROPBANK.replace("up\tRP\t*\t-\t-\t*)", "up\tRP\t*\t-\t-\t*")
_UNMARKED = PROPBANK.replace("Yes\tUH\t(X*)\t-\t-", "Yes\tUH\t(X*)\tyes\tyes.01")
_UNEVEN = PROPBANK.replace("\t-\t-\t*)\t(ARG1*)", "\t-\t-\t*)")
BAD = {
    "uneven": (_UNEVEN, 6, "9 columns where the first line"),
    "unclosed": (_NO_V_END, 4, "argument ARG1 begins inside argument V"),
    "never closed": (_NO_TOY_END, 4, "ARG1 is never closed (column 9)"),
    "not opened": (PROPBANK.replace("(ARG0*)", "*)"), 1, "closes an argument that is not open"),
    "other label": (PROPBANK.replace("(ARG0*)", "(ARG0*ARG1)"), 1, "closes ARG1 that is not open"),
    "no bracket": (PROPBANK.replace("(ARG0*)", "ARG0"), 1, "holds 'ARG0'"),
    "overlap": (PROPBANK.replace("(ARG0*)", "(ARG0(ARG1*))"), 1, "ARG1 begins inside argument ARG0"),
    "predicate without column": (_UNMARKED, 8, "1 predicates and 0 columns"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_malformed_files_say_what_and_where(tmp_path, name):
    text, line, what = BAD[name]
    assert text != PROPBANK
    path = _write(tmp_path / "bad.conll", PROPBANK + "\n" + text)
    with pytest.raises(DataError) as raised:
        read_frames(path, "propbank")
    assert what in str(raised.value)
    assert raised.value.where == f"{path}:{line + len((PROPBANK + chr(10)).splitlines())}"


def test_unknown_layouts_and_empty_files_are_refused(tmp_path):
    with pytest.raises(DataError, match="no known layout"):
        read_frames(_write(tmp_path / "a.conll", "a b c\nd e f\n"))
    with pytest.raises(DataError, match="no sentence in it"):
        read_frames(_write(tmp_path / "b.conll", "\n\n"))
    with pytest.raises(DataError, match="no file there"):
        read_frames(_empty(tmp_path))


def _empty(path: Path) -> Path:
    (path / "none").mkdir()
    return path / "none"


def test_the_public_set_is_written_back_byte_for_byte(shared_data):
    import gzip

    path = shared_data / "srl" / "propbank_ewt" / "test.conll.gz"
    if not path.exists():
        pytest.skip("propbank_ewt is not among the public data sets here")
    records = read_frames(path)
    assert records.facts() == {"words": 24940, "predicates": 4795, "arguments": 9337}
    assert "\n".join(frame_lines(records.sentences)).strip() == gzip.decompress(path.read_bytes()).decode().strip()
