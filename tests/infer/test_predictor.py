"""A loaded bundle answers as the model that was saved: in order, for any number, in one process or the next."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from wordloom.config import ClassifyConfig, TokenizerConfig
from wordloom.data.examples import Examples
from wordloom.errors import BundleError, DataError
from wordloom.infer import predictor as module
from wordloom.infer.predictor import Predictor
from wordloom.infer.task_predictor import TaskPredictor
from wordloom.metrics import classification_scores
from wordloom.model.architecture import Architecture
from wordloom.model.interop import save_bundle
from wordloom.model.model import Model
from wordloom.model.transformer import Transformer
from wordloom.tasks.classify.task import Classify
from wordloom.text.tokenizer import Tokenizer

WORDS = ("good", "fine", "great", "bad", "poor", "dull", "the", "film", "was", "and", "very", "plot", "actor", "scene")
KINDS = ["single", "multi", "regression"]


def texts(count: int, seed: int = 0) -> list[str]:
    rng = np.random.default_rng(seed)
    return [" ".join(rng.choice(WORDS, int(rng.integers(1, 40)))) for _ in range(count)]


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    torch.set_num_threads(1)
    return Tokenizer.train(texts(200), TokenizerConfig(vocab_size=100))


def made(tokenizer: Tokenizer, kind: str = "single", pairs: bool = False, **config: object) -> Predictor:
    rng = np.random.default_rng(5)
    labels = {
        "single": [str(rng.choice(["neg", "pos", "so-so"])) for _ in range(60)],
        "multi": [[n for n in ("x", "y") if rng.random() < 0.5] for _ in range(60)],
        "regression": [float(v) for v in rng.normal(50, 9, 60)],
    }[kind]
    train = Examples(texts(60, 1), labels, [f"t:{i}" for i in range(60)], texts(60, 2) if pairs else None, kind)
    task = Classify.fit(ClassifyConfig(**config), train, tokenizer, length=24, valid=train)
    arch = Architecture(tokenizer.vocab_size, width=16, layers=1, heads=2, ffn_width=32, max_positions=48, init_std=0.6)
    torch.manual_seed(0)
    model = Model(Transformer(arch), task.heads(arch))
    task.temperature = 0.7  # fitting it to a random model would only flatten everything
    return Predictor(model, tokenizer, task, {"seed": 3})


@pytest.mark.parametrize("pooling", ["cls", "mean"])
@pytest.mark.parametrize("kind", KINDS)
def test_saved_and_loaded_predict_the_same(tokenizer: Tokenizer, tmp_path: Path, kind: str, pooling: str) -> None:
    first = made(tokenizer, kind, pooling=pooling)
    first.save(tmp_path / "bundle")
    again = Predictor.load(tmp_path / "bundle", Classify.restore)
    unseen = texts(30, 9)
    np.testing.assert_array_equal(again.predict_proba(unseen), first.predict_proba(unseen))
    assert again.predict(unseen) == first.predict(unseen)
    assert (again.labels, again.kind, again.extra["seed"]) == (first.labels, kind, 3)
    again.save(tmp_path / "copy")  # and once more, nothing added, nothing lost
    ours, theirs = (json.loads((tmp_path / n / "wordloom.json").read_text()) for n in ("bundle", "copy"))
    assert ours == theirs
    with pytest.raises(BundleError, match="exist"):
        again.save(tmp_path / "copy")


def test_auto_model_gives_the_logits_of_short_texts(tokenizer: Tokenizer, tmp_path: Path) -> None:
    """The folder without Wordloom: same tokenizer, same logits where a text fits one window."""
    ours = made(tokenizer)
    ours.save(tmp_path / "b")
    short = ["the film was good", "dull plot"]
    public = AutoModelForSequenceClassification.from_pretrained(tmp_path / "b").eval()
    inputs = AutoTokenizer.from_pretrained(tmp_path / "b")(short, return_tensors="pt", padding=True)
    with torch.no_grad():
        logits = public(**inputs).logits
    torch.testing.assert_close(ours.task.logits(ours.model, short), logits, rtol=0, atol=1e-5)
    assert public.config.id2label == dict(enumerate(ours.labels))
    p = torch.softmax(logits.double() / ours.task.temperature, 1)
    np.testing.assert_allclose(ours.predict_proba(short), p.numpy(), atol=1e-6)


def test_any_number_in_input_order(tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch) -> None:
    ours, many = made(tokenizer), texts(57, 4)
    one_by_one = np.concatenate([ours.predict_proba([t]) for t in many])
    assert one_by_one.std(0).min() > 0.01
    monkeypatch.setattr(module, "CHUNK", 10)
    np.testing.assert_allclose(ours.predict_proba(many), one_by_one, atol=1e-6)
    assert ours.predict([]) == []
    assert ours.predict_proba([]).shape == (0, 3)
    assert ours.predict_proba(many).sum(1) == pytest.approx(1)


def test_stream_is_lazy_and_equal(tokenizer: Tokenizer) -> None:
    ours, many, taken = made(tokenizer), texts(25, 4), []

    def source():
        for t in many:
            taken.append(t)
            yield t

    stream = ours.predict_stream(source(), chunk=10)
    first = next(stream)
    assert len(taken) == 10
    answers = [first, *stream]
    assert [a.value for a in answers] == ours.predict(many)
    np.testing.assert_allclose(np.stack([a.probabilities for a in answers]), ours.predict_proba(many), atol=1e-6)


def test_pairs(tokenizer: Tokenizer) -> None:
    ours, a, b = made(tokenizer, pairs=True), texts(8, 1), texts(8, 2)
    p = ours.predict_proba(a, b)
    assert abs(p - ours.predict_proba(b, a)).max() > 1e-3  # the sides differ
    assert [x.value for x in ours.predict_stream(zip(a, b, strict=True))] == ours.predict(a, b)
    for bad, message in (
        (lambda: ours.predict(a), "reads pairs"),
        (lambda: ours.predict(a, b[:3]), "8 first and 3 second"),
        (lambda: list(ours.predict_stream(a)), "reads pairs"),
        (lambda: list(made(tokenizer).predict_stream(a[0])), "one string"),  # not an answer for each character
        (lambda: made(tokenizer).predict(a, b), "single texts, not pairs"),
    ):
        with pytest.raises(DataError, match=message):
            bad()


def test_one_string_is_not_a_stream_of_characters(tokenizer: Tokenizer) -> None:
    any_task = TaskPredictor(made(tokenizer).model, tokenizer, task=None)
    for answer in (any_task.predict, lambda text: list(any_task.predict_stream(text))):
        with pytest.raises(DataError, match="one string"):
            answer("a text")


@pytest.mark.parametrize("kind", KINDS)
def test_evaluate_examples_and_file(tokenizer: Tokenizer, tmp_path: Path, kind: str) -> None:
    ours, many = made(tokenizer, kind), texts(40, 6)
    rng = np.random.default_rng(8)
    if kind == "multi":
        gold = rng.integers(0, 2, (40, 2))
        labels = [[n for n, v in zip("xy", row, strict=True) if v] for row in gold]
    else:
        gold = rng.integers(0, 3, 40) if kind == "single" else rng.normal(50, 9, 40)
        labels = [ours.labels[g] for g in gold] if kind == "single" else [float(g) for g in gold]
    scores = ours.evaluate(Examples(many, labels, ["x"] * 40, None, kind))
    assert scores == classification_scores(gold, ours.predict_proba(many), kind, ours.labels)
    path = tmp_path / "d.jsonl"
    path.write_text("".join(json.dumps({"text": t, "label": v}) + "\n" for t, v in zip(many, labels, strict=True)))
    assert ours.evaluate(path, text="text", label="label") == scores


def test_clean_html_is_remembered(tokenizer: Tokenizer, tmp_path: Path) -> None:
    ours = made(tokenizer)
    ours.extra["clean_html"] = True
    ours.save(tmp_path / "b")
    again = Predictor.load(tmp_path / "b", Classify.restore)
    np.testing.assert_allclose(again.predict_proba(["good<br />film"]), again.predict_proba(["good film"]), atol=1e-7)


def test_bad_input_is_one_sentence(tokenizer: Tokenizer) -> None:
    ours = made(tokenizer)
    for bad, message in (
        (lambda: ours.predict("one text"), "one string was given"),
        (lambda: ours.predict(["a", None]), "example 2 is NoneType"),
        (lambda: ours.evaluate(Examples(["a"], None, ["f.csv:2"])), "no label to score"),
        (lambda: ours.evaluate(Examples(["a"], ["odd"], ["f.csv:2"])), "f.csv:2: label 'odd'"),
    ):
        with pytest.raises(DataError, match=message):
            bad()


def test_foreign_bundles_are_refused(tokenizer: Tokenizer, tmp_path: Path) -> None:
    ours = made(tokenizer)
    ours.save(tmp_path / "b")
    other = Tokenizer.train(["quite another corpus of words here"] * 9, TokenizerConfig(vocab_size=60))
    other.save(tmp_path / "b")
    with pytest.raises(BundleError, match="tokenizer beside these weights is not the one"):
        Predictor.load(tmp_path / "b", Classify.restore)
    tokenizer.save(tmp_path / "b")
    where = tmp_path / "b" / "wordloom.json"
    where.write_text(where.read_text().replace('"so-so"', '"so", "so-so"'))
    with pytest.raises(BundleError, match="not the one in the weights"):
        Predictor.load(tmp_path / "b", Classify.restore)
    save_bundle(tmp_path / "p", Model(Transformer(replace(ours.model.arch)), {}), "pretrained", {})
    with pytest.raises(BundleError, match="without a task"):
        Predictor.load(tmp_path / "p", Classify.restore)
    with pytest.raises(BundleError):
        Predictor.load(tmp_path / "nothing", Classify.restore)
