"""A run inside a spaCy pipeline: same answers as predict, also after the pipeline was written and read elsewhere."""

import shutil
from pathlib import Path
from typing import Any

import pytest

spacy = pytest.importorskip("spacy", reason="spaCy is not installed (extra spacy)")

import wordloom.integrations.spacy  # noqa: E402, F401  # the installed package says so by its entry point
from wordloom import api  # noqa: E402
from wordloom.errors import ConfigError  # noqa: E402

TEXTS = ["This film was warm and the actor seemed fine.", "The music felt grim.", "", "  That plot was bad!"]


def pipeline(path: Path) -> Any:
    nlp = spacy.blank("en")
    nlp.add_pipe("wordloom", config={"path": str(path)})
    return nlp


def entities(docs: list[Any]) -> list[list[tuple[int, int, str]]]:
    return [[(e.start_char, e.end_char, e.label_) for e in doc.ents] for doc in docs]


def test_entities_are_those_of_predict(runs: dict[str, Path]) -> None:
    nlp = pipeline(runs["names"])
    found = entities([nlp(text) for text in TEXTS])
    expected = [[(m.start, m.end, m.type) for m in some] for some in api.load(runs["names"]).predict(TEXTS)]
    assert found == expected and sum(map(len, found)) >= 3
    assert entities(list(nlp.pipe(TEXTS, batch_size=3))) == found


def test_a_pipeline_survives_its_run(runs: dict[str, Path], tmp_path: Path) -> None:
    """Written, read and answering without the run; written again over itself."""
    run = tmp_path / "run"
    shutil.copytree(runs["names"], run)
    nlp = pipeline(run)
    before = entities(list(nlp.pipe(TEXTS)))
    nlp.to_disk(tmp_path / "nlp")
    shutil.rmtree(run)
    (tmp_path / "nlp").rename(tmp_path / "moved")
    again = spacy.load(tmp_path / "moved")
    assert entities(list(again.pipe(TEXTS))) == before
    again.to_disk(tmp_path / "moved")
    assert entities(list(spacy.load(tmp_path / "moved").pipe(TEXTS))) == before


def test_a_label_for_every_word(runs: dict[str, Path]) -> None:
    doc = pipeline(runs["parts"])("  The film was warm.")
    tags = {token.text: token.tag_ for token in doc if not token.is_space}
    assert (
        tags["film"] == "NOUN"
        and tags["warm"] == "ADJ"
        and tags["The"] == "X"
        and set(tags.values()) == {"NOUN", "ADJ", "X"}
    )
    assert doc[0].is_space and doc[0].tag_ == ""


def test_categories_are_the_probabilities_of_predict(runs: dict[str, Path]) -> None:
    docs = list(pipeline(runs["mood"]).pipe(TEXTS[:2]))
    predictor = api.load(runs["mood"])
    for doc, row in zip(docs, predictor.predict_proba(TEXTS[:2]), strict=True):
        assert doc.cats == pytest.approx(dict(zip(predictor.labels, row, strict=True)))


def test_what_has_no_place_in_a_document_is_refused(tmp_path: Path) -> None:
    import tiny
    from wordloom.integrations.spacy import Component

    data = tiny.write_labelled(tmp_path / "a.csv", 24, kind="regression")
    api.finetune("bert-tiny", data, tmp_path / "run", kind="regression", baseline=False, quiet=True, **tiny.TINY)
    with pytest.raises(ConfigError, match="no place for the answers of regression"):
        pipeline(tmp_path / "run")("text")
    with pytest.raises(ConfigError, match="the component has no model"):
        Component()(spacy.blank("en").make_doc("text"))
