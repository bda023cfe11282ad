"""Runs behind NLTK's interfaces, and NLTK's corpus readers as files to train on."""

from pathlib import Path

import pytest

nltk = pytest.importorskip("nltk", reason="NLTK is not installed (extra nltk)")

from wordloom import api  # noqa: E402
from wordloom.data.examples import read_examples  # noqa: E402
from wordloom.data.tagged import read_tagged  # noqa: E402
from wordloom.errors import ConfigError, DataError  # noqa: E402
from wordloom.integrations.nltk import (  # noqa: E402
    RunClassifier,
    RunTagger,
    write_chunked,
    write_labelled,
    write_tagged,
)

TOKENS = ["This", "film", "was", "warm", "."]


def test_taggers(runs: dict[str, Path]) -> None:
    names, parts = RunTagger(runs["names"]), RunTagger(runs["parts"])
    assert names.tag(TOKENS) == list(zip(TOKENS, ["O", "B-WORK", "O", "O", "O"], strict=True))
    assert parts.tag_sents([TOKENS, []]) == [list(zip(TOKENS, ["X", "NOUN", "X", "ADJ", "X"], strict=True)), []]
    gold = [parts.tag(TOKENS), [("warm", "NOUN")]]
    assert parts.accuracy(gold) == 5 / 6  # NLTK's own count, of its TaggerI


def test_classifier(runs: dict[str, Path]) -> None:
    classifier = RunClassifier(runs["mood"])
    text = "the film was lovely after all."
    predictor = api.load(runs["mood"])
    dist = classifier.prob_classify(text)
    assert classifier.labels() == ["neg", "pos"] == sorted(dist.samples())
    assert [dist.prob(label) for label in predictor.labels] == pytest.approx(
        predictor.predict_proba([text])[0].tolist()
    )
    assert classifier.classify(text) == predictor.predict([text])[0] == classifier.classify(text.split())
    pairs = [(text, "pos"), ("the film was awful after all.", "neg")]
    right = sum(classifier.classify(t) == label for t, label in pairs)
    assert nltk.classify.accuracy(classifier, pairs) == right / 2
    with pytest.raises(DataError, match="dict is neither a text nor a list of tokens"):
        classifier.classify({"contains(good)": True})
    with pytest.raises(ConfigError, match="a run of the task 'classify', not 'tag'"):
        RunTagger(runs["mood"])
    with pytest.raises(ConfigError, match="a run of the task 'tag', not 'classify'"):
        RunClassifier(runs["names"])


def test_corpora_become_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from nltk.corpus.reader import CategorizedPlaintextCorpusReader, ConllChunkCorpusReader, TaggedCorpusReader

    monkeypatch.setattr(nltk.data, "path", [str(tmp_path)])  # NLTK opens nothing elsewhere
    (tmp_path / "a.pos").write_text("The/DT cat/NN sat/VBD ./.\nDogs/NNS bark/VBP\n")
    tagged = read_tagged(str(write_tagged(TaggedCorpusReader(str(tmp_path), r".*\.pos"), tmp_path / "pos.conll")))
    assert list(tagged.texts()) == ["The cat sat .", "Dogs bark"] and tagged.each
    assert [s.type for s in tagged.spans[0]] == ["DT", "NN", "VBD", "."]

    (tmp_path / "a.chunk").write_text("He PRP B-NP\nsaw VBD B-VP\nthe DT B-NP\ncat NN I-NP\n")
    reader = ConllChunkCorpusReader(str(tmp_path), r".*\.chunk", ["NP", "VP"])
    chunked = read_tagged(str(write_chunked(reader, tmp_path / "chunk.conll", chunk_types=["NP"])))
    assert [tuple(s) for s in chunked.spans[0]] == [(0, 2, "NP"), (7, 14, "NP")]

    for name, text in (("pos/1.txt", "good\nfilm"), ("neg/1.txt", "bad film"), ("neg/2.txt", "dull")):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    reader = CategorizedPlaintextCorpusReader(str(tmp_path), r"(pos|neg)/.*\.txt", cat_pattern=r"(\w+)/.*")
    labelled = read_examples(str(write_labelled(reader, tmp_path / "all.jsonl")))
    assert labelled.labels == ["neg", "neg", "pos"] and labelled.texts[2] == "good\nfilm"
    several = CategorizedPlaintextCorpusReader(
        str(tmp_path), r"(pos|neg)/.*\.txt",
        cat_map={"pos/1.txt": ["a", "b"], "neg/1.txt": ["a"], "neg/2.txt": ["b"]},
    )  # fmt: skip
    assert read_examples(str(write_labelled(several, tmp_path / "many.jsonl"))).kind == "multi"


def test_faults_are_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="sentence 2 has a token without a tag"):
        write_tagged([[("a", "X")], [("b", None)]], tmp_path / "a.conll")
    with pytest.raises(DataError, match="the corpus is empty"):
        write_tagged([], tmp_path / "a.conll")
    with pytest.raises(DataError, match="cannot be written"):
        write_tagged([[("a", "X")]], tmp_path / "no" / "a.conll")
