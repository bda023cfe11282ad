"""Contracts of values: save and load, singles, context, batch size, and parity with transformers."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from contract_cases import CASES, COVER, OBJECTIVES, ROWS, Case, Setup, World, changed, outputs, set_up
from torch import Tensor

import tiny
from wordloom import api, presets
from wordloom.api.objectives import without_auxiliary
from wordloom.config import TokenizerConfig
from wordloom.data.batch import IGNORE, Batch
from wordloom.infer.predictor import Predictor
from wordloom.model.interop import has_segments, load_bundle, save_bundle
from wordloom.objectives.pretraining import Pretraining
from wordloom.text.tokenizer import Tokenizer

TEXTS = ["the film was good to everyone.", "Every SCENE felt awful!", "", "unknown: zebra 雪 [MASK] #42 " * 9]
SECOND = ["a", "this plot seemed warm.", "the music", "that ending was cold after all " * 3]


def pairs_of(setup: Setup) -> list[str] | None:
    return SECOND if getattr(setup.job, "pairs", False) else None


def save(setup: Setup, folder: Path) -> Path:
    """As the api saves: a bundle of the pre-trained model, or a predictor's."""
    if setup.case.pretrains:
        extra = {"tokenizer_hash": setup.tokenizer.hash}
        whole = without_auxiliary(setup.model, setup.job.objective)
        also = partial(setup.tokenizer.save, segments=has_segments(setup.model.arch))
        save_bundle(folder, whole, "pretrained", extra, also=also)
    else:
        Predictor(setup.model, setup.tokenizer, setup.job).save(folder)
    return folder


@pytest.mark.parametrize("case", CASES, ids=str)
def test_saved_and_loaded_is_identical(tmp_path: Path, world: World, case: Case) -> None:
    """[2] Every bit of every answer."""
    setup = set_up(world, case)
    setup.job.temperature = 1.7  # of a task: kept with it
    folder = save(setup, tmp_path / "bundle")
    if case.pretrains:
        loaded = load_bundle(folder)
        again = Setup(case, setup.job, loaded.model, setup.stream, Tokenizer.load(folder))
        assert again.tokenizer.hash == setup.tokenizer.hash == loaded.extra["tokenizer_hash"]
        assert torch.equal(outputs(again, setup.batch()), outputs(setup, setup.batch()))
        return
    before, after = Predictor(setup.model, setup.tokenizer, setup.job), api.load(folder)
    np.testing.assert_array_equal(
        after.predict_proba(TEXTS, pairs_of(setup)), before.predict_proba(TEXTS, pairs_of(setup))
    )
    assert after.predict(TEXTS, pairs_of(setup)) == before.predict(TEXTS, pairs_of(setup))
    assert (after.labels, after.kind) == (before.labels, before.kind)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_a_batch_equals_its_singles(world: World, case: Case) -> None:
    """[4]"""
    setup = set_up(world, case)
    setup.model.eval()
    if not case.pretrains:
        pairs = pairs_of(setup)
        whole = setup.job.logits(setup.model, TEXTS, pairs)
        singles = [setup.job.logits(setup.model, [t], pairs and [pairs[i]]) for i, t in enumerate(TEXTS)]
        assert float(whole.std()) > 0.05  # an untrained head that answers alike would agree with anything
        torch.testing.assert_close(whole, torch.cat(singles), rtol=1e-4, atol=1e-5)
        return
    with torch.no_grad():
        whole, _ = setup.job.loss(setup.model, setup.batch(), None)
        rows = [setup.job.loss(setup.model, row, None)[0] for row in setup.batch().split(8)]
    for name, term in whole.items():
        assert term.count == sum(row[name].count for row in rows) > 8 / 2
        assert float(term.sum) == pytest.approx(sum(float(row[name].sum) for row in rows), rel=1e-5)


# what a model carries from batch to batch makes the batch a part of the value
@pytest.mark.parametrize("case", [c for c in CASES if not c.variant.endswith("streams")], ids=str)
def test_evaluation_does_not_depend_on_batch_size(world: World, case: Case) -> None:
    """[9]"""
    setup = set_up(world, case)
    setup.model.eval()
    if case.pretrains:
        rows = [row for batch in setup.job.held_out for row in batch.split(batch.rows)]
        found = [Pretraining(setup.job.objective, batches).evaluate(setup.model)
                 for batches in (rows, setup.job.held_out, rows[:5] + setup.job.held_out[:0] + rows[5:])]  # fmt: skip
        assert len({tuple(setup.job.counts(row).values()) for row in rows}) > 1  # unequal: averages of averages show
    else:
        found = []
        for budget in (1, 100, 8192):
            setup.job.budget = budget
            found.append(setup.job.evaluate(setup.model))
    for other in found[1:]:
        assert other == pytest.approx(found[0], rel=1e-5, abs=1e-6)


# --- [7] what a prediction may see -----------------------------------------------------------------------------------

MASKED = [case for case in CASES if case.pretrains and OBJECTIVES[case.variant].get("name", "masked") == "masked"]
CAUSAL = [case for case in CASES if OBJECTIVES.get(case.variant, {}).get("name") == "causal"]


def logits_at(setup: Setup, batch: Batch, row: int, column: int) -> Tensor:
    """(V,) of the masked head at one place."""
    with torch.no_grad():
        hidden = setup.model.eval()(batch.tokens, batch.documents, batch.positions, batch.types)
        return setup.model.heads["masked"](hidden[row, column][None], setup.model.token_embedding)[0]


def masked_place(setup: Setup, batch: Batch) -> tuple[int, int]:
    """A [MASK] in a row of several documents, in a document with two other plain tokens."""
    plain = ~torch.isin(batch.tokens, torch.tensor(setup.tokenizer.special_ids))
    for row, column in (batch.tokens == setup.tokenizer.mask_id).nonzero().tolist():
        mine = batch.documents[row] == batch.documents[row, column]
        if int((plain[row] & mine).sum()) >= 2:
            texts = int((batch.tokens[row] == setup.tokenizer.sep_id).sum())
            if int(batch.documents[row].max()) > 1 or (setup.case.variant == "separated" and texts > 1):
                return row, column
    raise AssertionError("no such row: the tiny corpus has changed")


@pytest.mark.parametrize("case", MASKED, ids=str)
def test_a_prediction_sees_its_own_document_only(world: World, case: Case) -> None:
    setup = set_up(world, case)
    batch = setup.batch()
    row, column = masked_place(setup, batch)
    before = logits_at(setup, batch, row, column)
    plain = ~torch.isin(batch.tokens[row], torch.tensor(setup.tokenizer.special_ids))
    document = batch.documents[row]
    inside = (plain & (document == document[column])).nonzero().flatten().tolist()
    outside = (plain & (document != document[column])).nonzero().flatten().tolist()
    if case.variant == "separated":  # one document number for the row: texts on both sides of a [SEP] are context
        assert not outside and int(document[document > 0].unique().numel()) == 1
        near = (batch.tokens[row, :column] == setup.tokenizer.sep_id).sum()
        inside = [c for c in inside if (batch.tokens[row, :c] == setup.tokenizer.sep_id).sum() != near] or inside
    else:
        assert outside
    for place in inside:
        other = int(batch.tokens[row, place]) ^ 1 if int(batch.tokens[row, place]) > 9 else 20
        after = logits_at(setup, changed(batch, row, place, other), row, column)
        assert float((after - before).abs().max()) > 1e-4, place
    for place in outside:
        other = int(batch.tokens[row, place]) ^ 1 if int(batch.tokens[row, place]) > 9 else 20
        after = logits_at(setup, changed(batch, row, place, other), row, column)
        assert float((after - before).abs().max()) < 1e-6, place


@pytest.mark.parametrize("case", MASKED, ids=str)
def test_a_prediction_never_sees_the_original(world: World, case: Case) -> None:
    """Another original under the same mask: the same prediction, another loss."""
    setup = set_up(world, case)
    layout, corrupt = setup.stream.layout, setup.job.objective.corrupt
    clean = layout.batch(layout.order(0, 8))
    batch = corrupt(clean, np.random.default_rng(5), 0.0)
    row, column = masked_place(setup, batch)
    original = int(clean.tokens[row, column])
    other = corrupt(changed(clean, row, column, original - 1 if original > 20 else original + 1),
                    np.random.default_rng(5), 0.0)  # fmt: skip
    assert torch.equal(other.tokens, batch.tokens) and not torch.equal(other.targets["masked"], batch.targets["masked"])
    terms = []
    with torch.no_grad():
        for b in (batch, other):
            terms.append(float(setup.job.loss(setup.model.eval(), b, None)[0]["masked"].sum))
    assert torch.equal(logits_at(setup, batch, row, column), logits_at(setup, other, row, column))
    assert terms[0] != terms[1]


@pytest.mark.parametrize("case", MASKED, ids=str)
def test_targets_are_where_the_layout_put_the_tokens(world: World, case: Case) -> None:
    """The right context: undoing the corruption with the targets gives the text of the store, document by document."""
    setup = set_up(world, case)
    layout = setup.stream.layout
    clean, batch = layout.batch(layout.order(0, 8)), setup.batch()
    target = batch.targets["masked"]
    restored = batch.tokens.where(target == IGNORE, target)
    assert torch.equal(restored, clean.tokens) and int((target != IGNORE).sum()) >= 8
    if case.variant in ("masked", "whole-word", "span", "schedule", "ngram"):
        text = setup.tokenizer.decode(restored[0][batch.documents[0] == 1].tolist())
        whole = [" ".join(d.lower().replace(".", " . ").split()) for d in tiny.documents()]
        assert any(" ".join(text.replace(".", " . ").split()) in d for d in whole)


@pytest.mark.parametrize("case", CAUSAL, ids=str)
def test_a_causal_model_does_not_see_the_future(world: World, case: Case) -> None:
    """[11] Another token at t: everything before t stays, in its document what follows moves, other documents stay."""
    setup = set_up(world, case)
    batch = setup.batch()
    row = int(batch.documents.amax(1).argmax())
    before = hidden_of(setup, batch)[row]
    for place in (0, 1, 7, batch.tokens.shape[1] - 1):
        if int(batch.documents[row, place]) == 0:
            continue
        other = 20 if int(batch.tokens[row, place]) != 20 else 21
        moved = (hidden_of(setup, changed(batch, row, place, other))[row] - before).abs().amax(-1)
        mine = batch.documents[row] == batch.documents[row, place]
        after = torch.arange(len(moved)) >= place
        assert float((moved * ~(mine & after)).max()) < 1e-6
        assert float(moved[place]) > 1e-4
        follows = (mine & after).nonzero().flatten().tolist()
        assert len(follows) < 2 or float(moved[follows[1]]) > 1e-6  # what follows reads it


def hidden_of(setup: Setup, batch: Batch) -> Tensor:
    with torch.no_grad():
        return setup.model.eval()(batch.tokens, batch.documents, batch.positions, batch.types)


@pytest.mark.parametrize("case", [c for c in CASES if not c.pretrains], ids=str)
def test_an_answer_sees_its_own_text_only(world: World, case: Case) -> None:
    setup = set_up(world, case)
    pairs = pairs_of(setup)
    before = setup.job.logits(setup.model, TEXTS, pairs)
    for i in range(len(TEXTS)):
        texts = [*TEXTS]
        texts[i] = "the film was bad"
        after = setup.job.logits(setup.model, texts, pairs)
        moved = (after - before).abs().amax(1)
        assert float(moved[i]) > 1e-4
        assert float(moved[[j for j in range(len(TEXTS)) if j != i]].max()) < 1e-5


# --- [10] transformers -----------------------------------------------------------------------------------------------


def padded(tokenizer: Any, texts: list[str], pairs: list[str] | None) -> Any:
    return tokenizer(texts, pairs, return_tensors="pt", padding=True)


# recurrent networks have no twin; the other families' own heads: tests/parity
TWINS = [c for c in COVER if c.preset.startswith(("bert", "roberta", "albert", "gpt", "electra", "loom"))
         and c.variant not in ("replaced", "hybrid", "sentence-order")]  # fmt: skip


@pytest.mark.parametrize("case", TWINS, ids=str)
def test_the_folder_is_a_hugging_face_folder(tmp_path: Path, world: World, case: Case) -> None:
    """[10] Ids and outputs of the saved folder in plain AutoTokenizer and AutoModel, offline."""
    transformers = pytest.importorskip("transformers")
    setup = set_up(world, case)
    folder = str(save(setup, tmp_path / "bundle"))
    if case.variant == "causal-adaptive":  # no public twin of the head, and the folder says so
        assert json.loads((Path(folder) / "wordloom.json").read_text())["twin"] == "body"
        return
    texts = TEXTS[:3]
    pairs = SECOND[:3] if case.variant.startswith("pairs") or case.variant == "next-sentence" else None
    theirs = transformers.AutoTokenizer.from_pretrained(folder, padding_side="right")
    inputs = padded(theirs, texts, pairs)
    cls, sep = setup.tokenizer.cls_id, setup.tokenizer.sep_id
    for i, text in enumerate(texts):
        ids = [cls, *setup.tokenizer.encode([text])[0].ids.tolist(), sep]
        ids += [*setup.tokenizer.encode([pairs[i]])[0].ids.tolist(), sep] if pairs else []
        assert inputs["input_ids"][i][inputs["attention_mask"][i] > 0].tolist() == ids
    mask = inputs["attention_mask"]
    positions = torch.arange(mask.shape[1]).expand_as(mask)
    types = inputs.get("token_type_ids", torch.zeros_like(mask))
    with torch.no_grad():
        hidden = setup.model.eval()(inputs["input_ids"], mask, positions, types)
        if case.pretrains:
            name = "masked" if "masked" in setup.model.heads else "causal"
            ours = setup.model.heads[name](hidden, setup.model.token_embedding)
            auto = transformers.AutoModelForMaskedLM if name == "masked" else transformers.AutoModelForCausalLM
            model = auto.from_pretrained(folder).eval()
            close(model(**inputs).logits[mask > 0], ours[mask > 0])
            if case.variant == "next-sentence":
                both = transformers.AutoModelForPreTraining.from_pretrained(folder).eval()
                close(both(**inputs).seq_relationship_logits, setup.model.heads["next_sentence"](hidden[:, 0]))
            return
        if case.variant.endswith(("mean", "max")):  # no public twin: the body opens, the head is ours
            body = transformers.AutoModel.from_pretrained(folder).eval()
            close(body(**inputs).last_hidden_state[mask > 0], hidden[mask > 0])
            return
        model = transformers.AutoModelForSequenceClassification.from_pretrained(folder).eval()
        close(model(**inputs).logits, setup.job.logits(setup.model, texts, pairs))
        if setup.job.labels:
            assert tuple(model.config.id2label[i] for i in range(len(setup.job.labels))) == setup.job.labels


def close(theirs: Tensor, ours: Tensor) -> None:
    assert float((theirs - ours).abs().max()) <= 1e-5 * max(1.0, float(ours.abs().max()))


# --- the ground the contracts stand on -------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["wordpiece", "bpe", "byte-bpe"])  # unigram does not: see text/training.py
def test_the_same_text_gives_the_same_tokenizer(kind: str) -> None:
    """Else the same seed could not give the same losses: the library's trainers break ties by a random hash map."""
    texts = [*tiny.documents(), *("".join(chr(0x4E00 + (7 * i + j) % 90) for j in range(12)) for i in range(40))]
    texts += [f"Été{i} naïve Straße {c}x{c} x{c}" for i, c in enumerate("αβγδεζηθικλ")]
    config = TokenizerConfig(kind=kind, vocab_size=220 if kind != "byte-bpe" else 320, lowercase=False)  # type: ignore[arg-type]
    assert len({Tokenizer.train(texts, config).hash for _ in range(4)}) == 1


def test_the_grid_holds_every_preset_objective_and_task() -> None:
    """A new preset enters by itself; a new value of [objective] or [task] must be given its variant here."""
    from contract_cases import TASKS

    from wordloom.config import OBJECTIVES as CONFIGS
    from wordloom.config import ClassifyConfig, MaskedConfig

    assert {case.preset for case in CASES} == set(ROWS) == {case.preset for case in COVER}
    assert {case.variant for case in COVER} == {*OBJECTIVES, *TASKS} == {case.variant for case in CASES}
    assert {v.get("name", "masked") for v in OBJECTIVES.values()} == set(CONFIGS)
    masked = {key for v in OBJECTIVES.values() for key in v if v.get("name", "masked") == "masked"}
    assert masked | {"rate"} == set(MaskedConfig.model_fields) - {"name"}
    # numbers, tested in tests/tasks; and what is decided after training: tests/test_decisions.py
    untested = {"dropout", "stride", "max_windows", "separator", "positive", "precision"}
    assert set(ClassifyConfig.model_fields) - {"name"} - untested == {k for v in TASKS.values() for k in v}
    learners = [name for name in ROWS if presets.PRESETS[name].pretrains]
    own = {name: next((c for c in CASES if c.preset == name and c.pretrains), None) for name in learners}
    assert all(own.values()), "a preset that no objective fits"
    assert {n.partition("-")[0] for n in presets.PRESETS if not presets.PRESETS[n].pretrains} == {"dan", "textcnn"}
