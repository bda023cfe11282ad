"""Translation and summaries: tiny pairs that every body must learn by heart, and what must not change an answer."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import numpy as np
import pytest
import torch

from wordloom import api, presets
from wordloom.config import SummarizeConfig, TokenizerConfig, TranslateConfig
from wordloom.data.batch import Batch
from wordloom.data.parallel import Parallel
from wordloom.errors import BundleError, ConfigError, DataError
from wordloom.infer.task_predictor import TaskPredictor
from wordloom.model.build import make_body
from wordloom.model.model import Model
from wordloom.tasks.seq2seq.pair_rows import lay_pairs, place_pairs
from wordloom.tasks.seq2seq.task import Seq2Seq, pieces
from wordloom.tasks.seq2seq.writing import Written, search
from wordloom.text.tokenizer import Tokenizer

PAIRS = (
    ("A dog runs over the snow.", "Ein Hund rennt über den Schnee."),
    ("Two men are talking.", "Zwei Männer reden."),
    ("The girl in a red dress sings a song on the stage of the theatre.", "Das Mädchen im roten Kleid singt ein Lied."),
    ("Hi!", "Hallo!"),
    ("A man and a woman sit on a bench.", "Ein Mann und eine Frau sitzen auf einer Bank."),
    ("Snow.", "Schnee."),
    ("A dog and a man.", "Ein Hund und ein Mann."),
    ("The song is red.", "Das Lied ist rot."),
)
LEARNED = ("transformer-tiny", "t5-tiny", "lstm-seq2seq-tiny", "gru-seq2seq-tiny")
ROWS = (*LEARNED, "t5v1.1-tiny")


def records(count: int = len(PAIRS)) -> Parallel:
    pairs = [PAIRS[i % len(PAIRS)] for i in range(count)]
    return Parallel([s for s, _ in pairs], [(t,) for _, t in pairs], [f"a.en:{i + 1}" for i in range(count)])


@pytest.fixture(scope="module")
def words() -> Tokenizer:
    config = TokenizerConfig(kind="byte-bpe", vocab_size=330, lowercase=False)
    return Tokenizer.train([t for pair in PAIRS for t in pair], config)


def task_of(tokenizer: Tokenizer, length: int = 64, **values: Any) -> Seq2Seq:
    return Seq2Seq.fit(TranslateConfig(**values), records(), tokenizer, length=length, valid=records())


def model_of(preset: str, task: Seq2Seq, seed: int = 0, **values: Any) -> Model:
    recurrent = "seq2seq" in preset
    small: dict[str, Any] = {"width": 48, "layers": 2, "dropout": 0.0, "pad_id": task.tokenizer.pad_id}
    if not recurrent:
        small |= {"decoder_layers": 2, "heads": 4, "ffn_width": 96, "attention_dropout": 0.0}
        small |= {"attention_width": 48} if "attention_width" in presets.PRESETS[preset].values else {}
    small |= {"init_std": 0.4 if recurrent else 0.15}
    torch.manual_seed(seed)
    arch = presets.architecture(preset, task.tokenizer.vocab_size, **{**small, **values})
    return Model(make_body(arch), task.heads(arch))


def learn(task: Seq2Seq, model: Model, data: Parallel, steps: int = 100, lr: float = 7e-3) -> float:
    stream = task.stream(data, batch=len(data), seed=0)
    optimiser = torch.optim.AdamW(model.parameters(), lr=lr, weight_decay=0.0)
    model.train()
    loss = torch.zeros(())
    for step in range(steps):
        optimiser.param_groups[0]["lr"] = lr * min(1.0, (step + 1) / 20, (steps - step) / 40)
        (batch,) = stream.step(step, 1)
        term = task.loss(model, batch)[0]["tokens"]
        loss = term.sum / term.count
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
    model.eval()
    return float(loss.detach())


@pytest.fixture(scope="module")
def learned(words: Tokenizer) -> dict[str, tuple[Seq2Seq, Model]]:
    found = {}
    for preset in LEARNED:
        task = task_of(words, label_smoothing=0.0)
        model = model_of(preset, task)
        learn(task, model, records())
        found[preset] = task, model
    return found


@pytest.mark.parametrize("preset", LEARNED)
def test_eight_pairs_are_learned_by_heart(learned: dict[str, tuple[Seq2Seq, Model]], preset: str) -> None:
    task, model = learned[preset]
    answers = task.predict(model, task.inputs(records()))
    assert [a.text for a in answers] == [t for _, t in PAIRS]
    assert all(a.ended and a.score is not None and -0.5 < a.score < 0 for a in answers)
    scores = {name: tally.value for name, tally in task.tallies(records(), answers).items()}
    assert scores == {"bleu": 1.0, "chrf": 1.0, "bleu_lower": 1.0}
    found = task.evaluate(model)
    assert found["bleu"] == 1.0 and found["loss"] < 0.3 and found["perplexity"] == pytest.approx(np.exp(found["loss"]))
    assert task.score == ("bleu", True) and replace_config(task, sample=0).score == ("loss", False)


def replace_config(task: Seq2Seq, **values: Any) -> Seq2Seq:
    changed = task.config.model_copy(update=values)
    return Seq2Seq(changed, task.tokenizer, length=task.length, script=task.script, max_tokens=task.max_tokens,
                   lead=task.lead)  # fmt: skip


@pytest.mark.parametrize("preset", ROWS)
def test_scores_are_log_probabilities_and_do_not_depend_on_the_batch(words: Tokenizer, preset: str) -> None:
    """Of a model that knows nothing: alone, in company, greedy and read again, the same numbers."""
    task = task_of(words, beams=3, answers=3, length_penalty=0.6, max_tokens=12)
    model = model_of(preset, task, seed=4).eval()
    asked = [s for s, _ in PAIRS]
    together = task.predict(model, asked)
    task.budget = 1
    for text, before in zip(asked, together, strict=True):
        (alone,) = task.predict(model, [text])
        assert alone.text == before.text and alone.score == pytest.approx(before.score, abs=1e-4)
        assert [t for t, _ in alone.others] == [t for t, _ in before.others] and len(alone.others) == 2
    sources = task.encode_sources(asked)
    for text, answers in zip(asked, search(model, sources, task.decoding(), task.end_id, task.length), strict=True):
        for a in answers:
            assert a.score == pytest.approx(
                _by_hand(task, model, text, pieces(task.tokenizer, a.ids), a.ended), abs=1e-4
            )
    greedy = replace_config(task, beams=1, answers=1, alignments=True)
    for answer, text in zip(greedy.predict(model, asked), asked, strict=True):
        ids = words.encode_ids([text])[0].tolist()
        aligned = answer.alignment
        assert aligned is not None and aligned.weights.shape == (len(aligned.target), len(ids) + 1)
        assert np.allclose(aligned.weights.sum(1), 1, atol=1e-5) and aligned.source[:-1] == pieces(task.tokenizer, ids)
        assert answer.score == pytest.approx(_by_hand(task, model, text, aligned.target, answer.ended), abs=1e-4)


def _by_hand(task: Seq2Seq, model: Model, source: str, pieces: tuple[str, ...], ended: bool) -> float:
    """Mean log p of the tokens of one answer, one forward pass of one row."""
    said = [task.tokenizer.backend.token_to_id(p) for p in pieces] + [task.end_id] * ended
    read = torch.tensor([[*task.tokenizer.encode_ids([source])[0].tolist(), task.tokenizer.sep_id]])
    given = torch.tensor([[task.start_id, *said[:-1]]])
    rows = [(x, torch.ones_like(x), torch.arange(x.shape[1])[None], torch.zeros_like(x)) for x in (given, read)]
    with torch.inference_mode():
        hidden = model.body(*rows[0], Batch(*rows[1]))
        logs = torch.log_softmax(model.heads["causal"](hidden[0], model.token_embedding), -1)
    return float(logs[torch.arange(len(said)), torch.tensor(said)].mean())


@pytest.mark.parametrize("preset", ROWS)
def test_rows_that_hold_several_pairs_give_each_its_own_loss(words: Tokenizer, preset: str) -> None:
    task = task_of(words)
    model = model_of(preset, task, seed=2).eval()
    sources, targets, owner = task.encode_pairs(records())
    batch = lay_pairs(sources, targets, (owner, owner), start_id=task.start_id, window=64)
    assert batch.rows < len(PAIRS) and batch.source is not None
    said = []
    for row in range(batch.rows):
        for number in range(1, int(batch.documents[row].max()) + 1):
            here, there = batch.documents[row] == number, batch.source.documents[row] == number
            given, wanted = batch.tokens[row][here].tolist(), batch.targets["tokens"][row][here].tolist()
            assert given == [task.start_id, *wanted[:-1]] and wanted[-1] == task.end_id
            said.append(
                (task.tokenizer.decode(batch.source.tokens[row][there].tolist()), task.tokenizer.decode(wanted))
            )
    assert sorted(said) == sorted(PAIRS)
    term = task.loss(model, batch)[0]["tokens"]
    alone = [
        task.loss(model, lay_pairs(sources, targets, (owner[i : i + 1],) * 2, start_id=task.start_id, window=64))[0]
        for i in range(len(PAIRS))
    ]
    assert term.count == sum(t["tokens"].count for t in alone) == len(targets.tokens) == task.counts(batch)["tokens"]
    assert term.sum.item() == pytest.approx(sum(t["tokens"].sum.item() for t in alone), rel=1e-5)


def test_label_smoothing_is_torchs_and_in_training_alone(words: Tokenizer) -> None:
    task = task_of(words, label_smoothing=0.2)
    model = model_of("transformer-tiny", task)
    (batch,) = task.stream(records(), batch=8, seed=0).step(0, 1)
    hidden = model.body(batch.tokens, batch.documents, batch.positions, batch.types, batch.source)
    logits, said = model.heads["causal"](hidden, model.token_embedding).flatten(0, 1), batch.targets["tokens"].flatten()
    for smoothing in (0.2, 0.0):
        model.train(smoothing > 0)
        wanted = torch.nn.functional.cross_entropy(logits, said, reduction="sum", label_smoothing=smoothing)
        assert task.loss(model, batch)[0]["tokens"].sum.item() == pytest.approx(wanted.item(), rel=1e-5)


def test_place_pairs_fills_both_sides() -> None:
    rng = np.random.default_rng(0)
    s, t = rng.integers(2, 30, 100), rng.integers(2, 30, 100)
    row = place_pairs(s, t)
    assert sorted(set(row.tolist())) == list(range(row.max() + 1))
    widths = [np.bincount(row, n).max() for n in (s, t)]
    assert (row.max() + 1) * sum(widths) < 1.25 * (s.sum() + t.sum())
    assert place_pairs(np.array([400]), np.array([3])).tolist() == [0]


def test_micro_batches_hold_the_same_pairs(words: Tokenizer) -> None:
    task = task_of(words)
    data = Parallel(records().sources, [(t, t + "!") for _, t in PAIRS], records().places)  # two references each
    stream = task.stream(data, batch=6, seed=1)
    assert stream.steps_per_epoch == 3 and stream.smallest_step == 5
    for step in range(4):
        whole, parts = stream.step(step, 1), stream.step(step, 3)
        assert sorted(n for b in parts for n in b.ids) == sorted(whole[0].ids)
        assert sum(task.counts(b)["tokens"] for b in parts) == task.counts(whole[0])["tokens"]
    seen = [n for step in range(3) for n in stream.step(step, 1)[0].ids]
    assert sorted(seen) == sorted([*data.places, *data.places])


@pytest.mark.parametrize("preset", ["transformer-tiny", "t5-tiny", "lstm-seq2seq-tiny"])
def test_a_long_source_is_read_in_windows_and_what_is_cut_is_counted(words: Tokenizer, preset: str) -> None:
    """The last word of a text of several windows changes the answer's score; one cut off does not, and is counted."""
    task = task_of(words, length=16, windows=3, beams=2, max_tokens=8)
    model = model_of(preset, task, seed=1, **({"max_positions": 16} if preset.startswith("transformer") else {})).eval()
    tail = " ".join(s for s, _ in PAIRS)
    ids = words.encode_ids([tail])[0]
    long = [words.decode(ids[:44]), words.decode([*ids[:43], ids[50]])]
    lengths = task.encode_sources(long).lengths
    assert (lengths > 32).all() and (lengths <= 48).all()
    a, b = task.predict(model, long)
    assert a.score != pytest.approx(b.score, abs=1e-6)
    whole, more = task.predict(model, [tail, tail + " Hi! Hi!"])
    assert whole == more
    table = task.details(Parallel([tail, "Hi!"], [("x",), ("y",)], ["a:1", "a:2"]), [whole, whole])["tables"][0]
    rows = dict(table["rows"])
    assert rows["sources"] == 2 and rows["sources of more than 16 tokens, read in windows"] == 1
    assert rows["sources of more than 48 tokens, cut there"] == 1 and rows["tokens cut off these"] == len(ids) - 47
    cut = sum(len(words.encode_ids([t])[0]) + 1 > 16 for _, t in PAIRS)
    assert cut and rows["training targets of more than 16 tokens, cut there"] == cut


def test_a_window_is_encoded_by_itself(words: Tokenizer) -> None:
    task = task_of(words, length=16)
    model = model_of("transformer-tiny", task).eval()
    tokens = torch.randint(5, 300, (1, 24), generator=torch.Generator().manual_seed(0))
    ones, zeros = torch.ones_like(tokens), torch.zeros_like(tokens)
    positions = torch.cat([torch.arange(12), torch.arange(12)])[None]
    both = model.body.encode(tokens, ones, positions, zeros)  # type: ignore[operator]
    half = model.body.encode(tokens[:, 12:], ones[:, 12:], positions[:, 12:], zeros[:, 12:])  # type: ignore[operator]
    assert torch.allclose(both.states[:, 12:], half.states, atol=1e-6) and both.documents.equal(ones)


def test_blank_sources_and_wrong_inputs(words: Tokenizer) -> None:
    task = task_of(words, beams=1)
    model = model_of("transformer-tiny", task)
    blank, other = task.predict(model, ["  ", "Hi!"])
    assert blank == Written("", 0.0) and other.score is not None and model.training
    with pytest.raises(DataError, match="input 2 is int, not text"):
        task.check(["a", 3])
    with pytest.raises(ConfigError, match="needs a model with a decoder"):
        task.heads(presets.architecture("bert-tiny", 100))


@pytest.mark.parametrize("preset", ["transformer-tiny", "t5-tiny", "lstm-seq2seq-tiny"])
def test_a_bundle_answers_as_before_and_opens_in_the_public_class(
    learned: dict[str, tuple[Seq2Seq, Model]], preset: str, tmp_path: Path
) -> None:
    task, model = learned[preset]
    asked = [*task.inputs(records()), "A red dog."]
    before = task.predict(model, asked)
    TaskPredictor(model, task.tokenizer, task).save(tmp_path / "bundle")
    loaded = api.load(tmp_path / "bundle")
    assert loaded.predict(asked) == before
    assert loaded.task.settings() == task.settings()
    facts = json.loads((tmp_path / "bundle" / "wordloom.json").read_text())
    assert (facts["kind"], facts["twin"]) == ("translate", "none" if "lstm" in preset else "exact")
    with pytest.raises(BundleError, match="lack"):
        Seq2Seq.restore({"name": "translate"}, task.tokenizer)
    if facts["twin"] == "exact":
        transformers = pytest.importorskip("transformers")
        tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path / "bundle")
        public = transformers.AutoModelForSeq2SeqLM.from_pretrained(tmp_path / "bundle").eval()
        for text, answer in zip(asked, before, strict=True):
            ids = task.encode_sources([text])[0].tolist()
            said = public.generate(torch.tensor([ids]), max_new_tokens=task.max_tokens, num_beams=4, do_sample=False)
            assert tokenizer.decode(said[0], skip_special_tokens=True).strip() == answer.text


def texts_in(tokens: torch.Tensor, documents: torch.Tensor) -> list[list[int]]:
    """Ids of every document of the rows."""
    rows = zip(tokens, documents, strict=True)
    return [row[numbers == n].tolist() for row, numbers in rows for n in range(1, int(numbers.max()) + 1)]


@pytest.mark.parametrize("preset", ["t5-tiny", "lstm-seq2seq-tiny"])
def test_a_prefix_begins_every_source_once(
    words: Tokenizer, preset: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """T5's text-to-text prefix: in training, in validation, in answers of a task at hand and of a loaded bundle."""
    prefix, asked = "The song: ", [s for s, _ in PAIRS]
    sources = sorted([*words.encode_ids([prefix + s])[0].tolist(), words.sep_id] for s in asked)
    begin = words.encode_ids([prefix.rstrip()])[0].tolist()
    assert len(begin) > 1 and all(ids[: len(begin)] == begin for ids in sources)

    task = task_of(words, prefix=prefix, max_tokens=6)
    (batch,) = task.stream(records(), batch=8, seed=0).step(0, 1)
    assert batch.source is not None and sorted(texts_in(batch.source.tokens, batch.source.documents)) == sources
    said = texts_in(batch.targets["tokens"], batch.documents)
    assert sorted(said) == sorted([*words.encode_ids([t])[0].tolist(), words.eos_id] for _, t in PAIRS)  # no prefix

    model = model_of(preset, task, seed=3)
    TaskPredictor(model, words, task).save(tmp_path / "bundle")
    loaded = api.load(tmp_path / "bundle")
    greedy = replace_config(task, beams=1)  # reads its answers again, to score them
    ways: list[tuple[Any, Callable[[], object]]] = [
        (model.body, lambda: task.evaluate(model)),
        (model.body, lambda: greedy.predict(model, asked)),
        (loaded.model.body, lambda: loaded.predict(asked)),
    ]
    name = "begin" if preset.startswith("lstm") else "encode"
    for body, answer in ways:
        spy = Mock(wraps=getattr(body, name))
        with monkeypatch.context() as patch:
            patch.setattr(body, name, spy)
            answer()
        seen = {tuple(ids) for call in spy.call_args_list for ids in texts_in(*call.args[:2])}
        assert sorted(map(list, seen)) == sources

    by_hand = task_of(words, max_tokens=6).predict(model, [prefix + s for s in asked])
    assert task.predict(model, asked) == by_hand == loaded.predict(asked)
    assert task.inputs(records()) == asked  # what a report and the rows of predictions show


def test_summaries_are_scored_by_rouge_beside_a_lead(words: Tokenizer) -> None:
    texts = ["A dog runs. Two men are talking. The song is red."] * 3
    data = Parallel(texts, [("A dog runs.", "Two men.")] * 3, ["a:1", "a:2", "a:3"])
    for choose, value in (("first", 0.0), ("max", 1.0)):
        task = Seq2Seq.fit(SummarizeConfig(references=choose), data, words, length=64)
        answers = [Written("Two men.")] * 3
        scores = task.tallies(data, answers)
        assert list(scores) == ["rouge_1", "rouge_2", "rouge_l"] and task.main == "rouge_l"
        assert scores["rouge_l"].value == pytest.approx(value) and len(scores["rouge_l"].counts) == 3
        tables = task.details(data, answers)["tables"]
        assert tables[1]["rows"][0] == ["first sentence", 100.0, 100.0, 100.0]
    assert task.restore(json.loads(json.dumps(task.settings())), words).lead == task.lead


def test_finetune_evaluate_predict(tmp_path: Path) -> None:
    for name, count in (("train", 24), ("test", 5)):
        for side in (0, 1):
            lines = "".join(PAIRS[i % 8][side] + "\n" for i in range(count))
            (tmp_path / f"{name}.{('en', 'de')[side]}").write_text(lines, encoding="utf-8")
    train, test = (f"{tmp_path / n}.en,{tmp_path / n}.de" for n in ("train", "test"))
    tiny = {"model.width": 32, "model.layers": 1, "model.heads": 2, "model.ffn_width": 64, "train.epochs": 2,
            "train.batch": 8, "train.length": 48, "train.threads": 1, "tokenizer.vocab_size": 300,
            "valid": test}  # fmt: skip
    run = tmp_path / "run"
    result = api.finetune("transformer-tiny", train, run, task="translate", test=test, quiet=True, **tiny)
    scores = json.loads((run / "scores.json").read_text())
    assert scores["main"] == "bleu" and scores["baseline"]["name"] == "word by word (IBM Model 1)"
    assert set(scores["scores"]) == {"bleu", "chrf", "bleu_lower"} and scores["examples"] == 5
    assert len(scores["samples"]) == 5 and "BLEU" in (run / "report.html").read_text()
    lines = [json.loads(line) for line in (run / "predictions.jsonl").read_text().splitlines()]
    assert [row["gold"]["prediction"] for row in lines] == [t for _, t in PAIRS[:5]]
    again = api.evaluate([run], test)
    assert again.scores[str(run)]["bleu"].value == pytest.approx(result.scores["scores"]["bleu"]["value"], abs=1e-9)
    out = list(api.predict_lines(run, str(tmp_path / "test.en")))
    assert len(out) == 5 and out == [" ".join(row["prediction"].split()) for row in lines]
    asked = [json.loads(line) for line in api.predict_lines(run, str(tmp_path / "test.en"), as_json=True)]
    assert [row["score"] for row in asked] == [row["score"] for row in lines]
    assert list(api.predict_lines(run, str(tmp_path / "test.en"), form="plain")) == out
    api.predict_file(run, str(tmp_path / "test.en"), tmp_path / "out.csv", form="csv")
    with (tmp_path / "out.csv").open(newline="", encoding="utf-8") as file:
        assert list(csv.reader(file))[1:] == [[str(i), row["prediction"]] for i, row in enumerate(lines)]
    wide = {"task.beams": 3, "task.answers": 2}
    best = [
        line.split(" ||| ") for line in api.predict_lines(run, str(tmp_path / "test.en"), form="nbest", settings=wide)
    ]
    assert [row[0] for row in best] == [n for n in "01234" for _ in range(2)]
    assert all(float(a[2]) >= float(b[2]) for a, b in zip(best[::2], best[1::2], strict=True))
    for wrong, match in (
        ({"task.beam": 3}, "did you mean 'beams'"),
        ({"prefix": "x"}, "cannot be changed in a finish"),
    ):
        with pytest.raises(ConfigError, match=match):
            api.load(run, wrong)
    with pytest.raises(ConfigError, match="1 beams cannot give 2"):
        api.load(run, {"beams": 1, "answers": 2})
    report = api.check([train], against=[test], task="translate")
    assert "24 records" in "\n".join(report.lines())
    with pytest.raises(ConfigError, match="no decoder that reads a source"):
        api.finetune("bert-tiny", train, tmp_path / "no", task="translate", quiet=True, **tiny)
    (tmp_path / "test.de").write_text("eins\n", encoding="utf-8")
    assert "no partner" in api.check([test], task="translate").facts[0].places[0]
