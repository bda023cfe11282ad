"""Texts gone on with and prompts answered: learned by heart, every token scored once, the same in any company."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from wordloom import api, presets
from wordloom.api.language import open_language
from wordloom.config import GenerateConfig, TokenizerConfig
from wordloom.data.batch import IGNORE
from wordloom.data.prompts import Prompts, read_prompts
from wordloom.errors import BundleError, ConfigError, DataError
from wordloom.infer.task_predictor import TaskPredictor
from wordloom.model.build import make_body
from wordloom.model.model import Model
from wordloom.tasks.generate.bigram import Bigram
from wordloom.tasks.generate.continuations import sequences, window_edges
from wordloom.tasks.generate.task import Asked, Generate, Yardstick, distinct
from wordloom.text.tokenizer import Tokenizer

PAIRS = (
    ("What runs over the snow?", "A dog."),
    ("Who is talking?", "Two men are talking."),
    ("What colour is the dress?", "Red."),
    ("Say hello.", "Hello, hello!"),
    ("Where do they sit?", "A man and a woman sit on a bench."),
    ("What lies on the bench?", "Snow."),
    ("What does the girl sing?", "A song on the stage of the theatre, in a red dress."),
    ("Which song?", "The red song."),
)
ROWS = ("gpt-tiny", "gpt2-tiny", "gpt3-tiny", "lstm-tiny", "gru-tiny")


def prompts() -> Prompts:
    return Prompts([p for p, _ in PAIRS], [r for _, r in PAIRS], [f"a.jsonl:{i + 1}" for i in range(len(PAIRS))])


def raw() -> Prompts:
    return Prompts([""] * len(PAIRS), [f"{p} {r}" for p, r in PAIRS], [f"a.txt:{i + 1}" for i in range(len(PAIRS))])


@pytest.fixture(scope="module")
def words() -> Tokenizer:
    config = TokenizerConfig(kind="byte-bpe", vocab_size=330, lowercase=False)
    return Tokenizer.train([t for pair in PAIRS for t in pair], config)


def task_of(words: Tokenizer, data: Prompts, length: int = 64, **values: Any) -> Generate:
    return Generate.fit(GenerateConfig(**values), data, words, length=length, valid=data)


def model_of(preset: str, task: Generate, seed: int = 0, **values: Any) -> Model:
    small: dict[str, Any] = {"width": 48, "layers": 2, "pad_id": task.tokenizer.pad_id, "init_std": 0.4}
    if preset.startswith("gpt"):
        small |= {"heads": 4, "ffn_width": 96, "dropout": 0.0, "attention_dropout": 0.0, "max_positions": 64,
                  "init_std": 0.15}  # fmt: skip
    torch.manual_seed(seed)
    arch = presets.architecture(preset, task.tokenizer.vocab_size, **{**small, **values})
    return Model(make_body(arch), task.heads(arch))


def learn(task: Generate, model: Model, data: Prompts, steps: int = 80, lr: float = 7e-3) -> None:
    stream = task.stream(data, batch=len(data), seed=0)
    optimiser = torch.optim.AdamW(model.parameters(), lr=lr, weight_decay=0.0)
    model.train()
    for step in range(steps):
        optimiser.param_groups[0]["lr"] = lr * min(1.0, (step + 1) / 10, (steps - step) / 30)
        (batch,) = stream.step(step, 1)
        term = task.loss(model, batch)[0]["tokens"]
        optimiser.zero_grad()
        (term.sum / term.count).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
    model.eval()


@pytest.fixture(scope="module")
def learned(words: Tokenizer) -> dict[str, tuple[Generate, Model]]:
    found = {}
    for preset in ("gpt2-tiny", "lstm-tiny"):
        task = task_of(words, prompts())
        model = model_of(preset, task)
        learn(task, model, prompts())
        found[preset] = task, model
    return found


@pytest.mark.parametrize("preset", ["gpt2-tiny", "lstm-tiny"])
def test_eight_responses_are_learned_by_heart(learned: dict[str, tuple[Generate, Model]], preset: str) -> None:
    task, model = learned[preset]
    answers = task.predict(model, task.inputs(prompts()))
    assert [a.text for a in answers] == [r for _, r in PAIRS] and all(a.ended for a in answers)
    assert [a.text for a in task.predict(model, [p for p, _ in PAIRS])] == [r for _, r in PAIRS]
    scores = {name: tally.value for name, tally in task.tallies(prompts(), answers).items()}
    assert list(scores) == ["bits_per_byte", "perplexity", "rouge_l", "chrf"]
    assert scores["rouge_l"] == scores["chrf"] == 1.0 and 1 < scores["perplexity"] < 1.2
    assert task.evaluate(model)["perplexity"] == pytest.approx(scores["perplexity"], rel=1e-6)


@pytest.mark.parametrize("preset", ROWS)
def test_the_loss_is_of_the_response_and_its_end_alone(words: Tokenizer, preset: str) -> None:
    """By hand: one row, one record, the log-probabilities of the public formula; and the same in any company."""
    task = task_of(words, prompts())
    model = model_of(preset, task, seed=3).eval()
    answers = task.predict(model, task.inputs(prompts()))
    for (prompt, response), answer in zip(PAIRS, answers, strict=True):
        before = [words.cls_id, *words.encode_ids([prompt])[0].tolist(), words.sep_id]
        said = [*words.encode_ids([response])[0].tolist(), words.eos_id]
        x = torch.tensor([[*before, *said[:-1]]])
        with torch.inference_mode():
            hidden = model(x, torch.ones_like(x), torch.arange(x.shape[1])[None], torch.zeros_like(x))
            logs = torch.log_softmax(model.heads["causal"](hidden[0], model.token_embedding), -1)
        wanted = -float(logs[torch.arange(len(before) - 1, x.shape[1]), torch.tensor(said)].sum())
        assert answer.nats == pytest.approx(wanted, rel=1e-5) and answer.tokens == len(said)
        assert answer.bytes == len(response.encode())
    total = sum(a.nats for a in answers), sum(a.tokens for a in answers), sum(a.bytes for a in answers)
    tallies = task.tallies(prompts(), answers)
    assert tallies["perplexity"].value == pytest.approx(math.exp(total[0] / total[1]))
    assert tallies["bits_per_byte"].value == pytest.approx(total[0] / math.log(2) / total[2])
    (batch,) = task.stream(prompts(), batch=8, seed=0).step(0, 1)
    term = task.loss(model, batch)[0]["tokens"]
    assert (float(term.sum.detach()), term.count) == (pytest.approx(total[0], rel=1e-5), total[1])
    assert term.count == task.counts(batch)["tokens"] and batch.rows < 8


@pytest.mark.parametrize("preset", ["gpt2-tiny", "lstm-tiny"])
def test_answers_do_not_depend_on_the_batch(words: Tokenizer, preset: str) -> None:
    """Drawn ones too: the draws are a function of the prompt."""
    task = task_of(words, prompts(), temperature=1.0, max_tokens=8)
    model = model_of(preset, task, seed=5).eval()
    asked = [p for p, _ in PAIRS]
    together = task.predict(model, asked)
    task.budget = 1
    assert [task.predict(model, [p])[0] for p in asked] == together
    assert len({a.text for a in together}) > 4


def test_every_token_is_predicted_once_whatever_the_window() -> None:
    rng = np.random.default_rng(0)
    for _ in range(60):
        room, shared = int(rng.integers(4, 20)), int(rng.integers(0, 3))
        first = int(rng.integers(0, 30))
        total = first + int(rng.integers(1, 60))
        edges = window_edges(total, first, room, shared)
        assert [t for _, at, end in edges for t in range(at, end)] == list(range(first, total))
        assert all(0 <= begin <= at < end and end - begin <= room for begin, at, end in edges)
        assert all(at - begin >= min(at, shared) for begin, at, _ in edges[1:])
    assert window_edges(10, 4, 10, 0) == [(0, 4, 10)]  # what fits is read whole
    found = sequences([[7, 8]], [[1, 2, 3]], start_id=9, length=8, stride=0.5)
    assert (found.given.tolist(), found.said.tolist()) == ([9, 7, 8, 1, 2], [IGNORE, IGNORE, 1, 2, 3])


@pytest.mark.parametrize("preset", ["gpt2-tiny", "lstm-tiny"])
def test_long_texts_and_long_prompts_are_read_in_windows(words: Tokenizer, preset: str) -> None:
    text = " ".join(r for _, r in PAIRS) * 3
    data = Prompts(["Say it. " * 30, "Hi."], [text, "Snow."], ["a:1", "a:2"])
    task = task_of(words, data, length=24, max_tokens=6)
    model = model_of(preset, task, seed=1, **({"max_positions": 24} if preset.startswith("gpt") else {})).eval()
    answers = task.predict(model, task.inputs(data))
    assert answers[0].tokens == len(words.encode_ids([text.strip()])[0]) + 1 and answers[1].text is not None
    rows = dict(task.details(data, answers)["tables"][0]["rows"])
    assert rows["read in several windows of 24 tokens"] == 1
    assert rows["tokens predicted"] == sum(a.tokens for a in answers)


def test_raw_texts_are_predicted_whole_and_gone_on_with(words: Tokenizer) -> None:
    task = task_of(words, raw(), begin=3, sample=5, max_tokens=6)
    model = model_of("gpt2-tiny", task, seed=2)
    asked = task.inputs(raw())
    assert asked[0] == Asked(words.decode(words.encode_ids([raw().responses[0]])[0][:3]), raw().responses[0])
    answers = task.predict(model, asked)
    assert model.training and sum(a.text is not None for a in answers) == 5
    assert [a.tokens for a in answers] == [len(ids) + 1 for ids in words.encode_ids(raw().responses)]
    assert list(task.tallies(raw(), answers)) == ["bits_per_byte", "perplexity"]
    found = task.details(raw(), answers)
    assert len(found["samples"]) == 5 and found["tables"][1]["rows"][0][0] == "distinct-1"
    assert distinct([[1, 2, 1, 2]], 1) == 0.5 and distinct([[1, 2, 1, 2]], 2) == pytest.approx(2 / 3)
    assert task.decoding().top_p == 0.95 and task_of(words, prompts()).decoding().temperature == 0


def test_bigram_by_hand() -> None:
    """0 a b | 0 a c, a = 1, b = 2, c = 3, V = 5: c(0a) = 2, c(ab) = c(ac) = 1, n1 = 2, n2 = 1: D = 1/2.

    Follows: a 1, b 1, c 1 of 3 pairs; all once: D1 = 0.9; p1(a) = 0.1/3 + 0.9/5, p1(4) = 0.9/5.
    p(b | a) = (1 - 1/2)/2 + 1/2 * 2/2 * p1(b); after b, which nothing follows, p1 itself.
    """
    made = Bigram.fit(np.array([0, 1, 0, 1]), np.array([1, 2, 1, 3]), 5)
    one, none = 0.1 / 3 + 0.18, 0.18
    found = np.exp(made.log_probabilities(np.array([1, 1, 2, 2, 0]), np.array([2, 4, 1, 4, 1])))
    assert found == pytest.approx([0.25 + 0.5 * one, 0.5 * none, one, none, 1.5 / 2 + 0.25 * one])
    for before in range(5):
        assert np.exp(made.log_probabilities(np.full(5, before), np.arange(5))).sum() == pytest.approx(1)


def test_the_yardstick_counts_the_same_tokens(words: Tokenizer) -> None:
    task = task_of(words, prompts())
    model = model_of("gpt2-tiny", task)
    ours = task.predict(model, task.inputs(prompts()))
    theirs = Yardstick(task, task.bigram(prompts())).predict(prompts())
    assert [(a.tokens, a.bytes) for a in ours] == [(a.tokens, a.bytes) for a in theirs]
    assert task.tallies(prompts(), theirs)["perplexity"].value < 10 and theirs[0].text is None


def test_micro_batches_hold_the_same_windows(words: Tokenizer) -> None:
    task = task_of(words, prompts())
    stream = task.stream(prompts(), batch=6, seed=1)
    for step in range(3):
        whole, parts = stream.step(step, 1), stream.step(step, 3)
        assert sorted(n for b in parts for n in b.ids) == sorted(whole[0].ids)
        assert sum(task.counts(b)["tokens"] for b in parts) == task.counts(whole[0])["tokens"]


def test_a_bundle_answers_as_before_and_opens_in_the_public_class(
    learned: dict[str, tuple[Generate, Model]], tmp_path: Path
) -> None:
    task, model = learned["gpt2-tiny"]
    before = task.predict(model, task.inputs(prompts()))
    TaskPredictor(model, task.tokenizer, task).save(tmp_path / "bundle")
    loaded = api.load(tmp_path / "bundle")
    assert loaded.predict(task.inputs(prompts())) == before and loaded.task.settings() == task.settings()
    assert open_language(tmp_path / "bundle").start_id == task.start_id
    transformers = pytest.importorskip("transformers")
    public = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "bundle").eval()
    ids = [task.start_id, *task.tokenizer.encode_ids([PAIRS[1][0]])[0].tolist(), task.tokenizer.sep_id]
    said = public.generate(torch.tensor([ids]), max_new_tokens=task.max_tokens, do_sample=False)[0, len(ids) :]
    assert task.tokenizer.decode(said.tolist()).strip() == PAIRS[1][1]
    with pytest.raises(BundleError, match="lack"):
        Generate.restore({"name": "generate"}, task.tokenizer)
    with pytest.raises(DataError, match="input 1 is int"):
        loaded.predict([3])


def write(path: Path, rows: list[Any]) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return str(path)


def test_readers(tmp_path: Path) -> None:
    rows = [
        {"instruction": "Add.", "input": "1 1", "output": "2"},
        {"instruction": "Hi.", "input": "", "output": "Ho."},
    ]
    found = read_prompts(write(tmp_path / "a.jsonl", rows))
    assert found.prompts == ["Add.\n1 1", "Hi."] and found.responses == ["2", "Ho."]
    assert "prompt 'instruction' and 'input', response 'output' (guessed" in found.columns
    found = read_prompts(write(tmp_path / "b.jsonl", [{"prompt": "a", "completion": " b"}]))
    assert (found.prompts, found.responses, found.places) == (["a"], ["b"], [f"{tmp_path / 'b.jsonl'}:1"])
    assert read_prompts(write(tmp_path / "c.jsonl", [{"id": 1, "text": "some words"}])).responses == ["some words"]
    (tmp_path / "d.txt").write_text("one line\nand another\n", encoding="utf-8")
    found = read_prompts(str(tmp_path / "d.txt"))
    assert found.responses == ["one line", "and another"] and not found.prompted and found.places[1].endswith("d.txt:2")


@pytest.mark.parametrize(
    ("rows", "what"),
    [
        ([{"prompt": "a", "response": "b"}, {"prompt": "a", "response": " "}], "x.jsonl:2: the response is empty"),
        ([{"prompt": "a", "response": 3}], "x.jsonl:1: the response holds int"),
        ([{"prompt": "a", "other": "b"}], "looks like the prompt, and none like the response"),
        ([{"text": "a"}, {"text": None}], "x.jsonl:2: the text is empty"),
        ([{"prompt": "a\0", "response": "b"}], "x.jsonl:1: half a surrogate pair or a NUL"),
    ],
)
def test_malformed_files_are_located(tmp_path: Path, rows: list[Any], what: str) -> None:
    path = write(tmp_path / "x.jsonl", rows)
    with pytest.raises(DataError, match=what):
        read_prompts(path)
    assert what in api.check([path], task="generate").facts[0].places[0]


def test_finetune_evaluate_predict(tmp_path: Path) -> None:
    rows = [{"prompt": p, "response": r} for p, r in PAIRS]
    train, test = write(tmp_path / "train.jsonl", rows * 3), write(tmp_path / "test.jsonl", rows[:5])
    tiny: dict[str, Any] = {"model.width": 32, "model.layers": 1, "model.heads": 2, "model.ffn_width": 64}
    tiny |= {"train.epochs": 2, "train.batch": 8, "train.length": 48, "train.threads": 1}
    tiny |= {"tokenizer.vocab_size": 300, "valid": test}
    run = tmp_path / "run"
    result = api.finetune("gpt2-tiny", train, run, task="generate", test=test, quiet=True, **tiny)
    scores = json.loads((run / "scores.json").read_text())
    assert scores["main"] == "bits_per_byte" and scores["baseline"]["name"] == "bigram (Kneser-Ney)"
    assert set(scores["scores"]) == {"bits_per_byte", "perplexity", "rouge_l", "chrf"} and len(scores["samples"]) == 5
    assert "Bits per byte" in (run / "report.html").read_text()
    again = api.evaluate([run], test).scores[str(run)]
    assert again["perplexity"].value == pytest.approx(result.scores["scores"]["perplexity"]["value"], rel=1e-6)
    lines = [json.loads(line) for line in (run / "predictions.jsonl").read_text().splitlines()]
    (tmp_path / "asked.txt").write_text("".join(p + "\n" for p, _ in PAIRS[:5]), encoding="utf-8")
    out = list(api.predict_lines(run, str(tmp_path / "asked.txt")))
    assert out == [" ".join(row["prediction"].split()) for row in lines]
    assert list(api.predict_lines(run, test, form="plain")) == out
    assert next(api.predict_lines(run, test, form="csv")) == "id,prediction"
    (tmp_path / "raw.txt").write_text("".join(f"{i} {p} {r}\n" for i in range(3) for p, r in PAIRS), encoding="utf-8")
    second = api.finetune(run, tmp_path / "raw.txt", tmp_path / "run2", task="generate", quiet=True, baseline=False,
                          **{k: v for k, v in tiny.items() if k.startswith("train")})  # fmt: skip
    assert "rouge_l" not in second.scores["scores"]
    with pytest.raises(ConfigError, match="does not predict the next token"):
        api.finetune("bert-tiny", train, tmp_path / "no", task="generate", quiet=True, **tiny)
