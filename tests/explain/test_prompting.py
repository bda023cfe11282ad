"""k-shot prompting: log p's equal to transformers', the arithmetic by hand, what fits a prompt, and the verb."""

from __future__ import annotations

import csv
import itertools
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from cli_runs import command
from wordloom import api, presets
from wordloom.config import TokenizerConfig
from wordloom.errors import ConfigError, DataError
from wordloom.explain import prompting
from wordloom.explain.prompting import (
    TEMPLATE,
    Template,
    answer_ids,
    answer_log_p,
    calibrated,
    make_prompts,
    normalised,
)
from wordloom.model.build import make_body
from wordloom.model.heads import CausalHead, MaskedHead
from wordloom.model.interop import save_bundle
from wordloom.model.model import Model
from wordloom.text.tokenizer import Tokenizer

FORM = Template.parse(TEMPLATE)
ADJECTIVES = {"pos": ("good", "fine", "great"), "neg": ("bad", "poor", "dull")}
TEXTS = [(f"the {thing} was {word}", label) for label, words in ADJECTIVES.items()
         for thing, word in itertools.product(("film", "plot", "music", "actor", "scene"), words)]  # fmt: skip
SMALL = {"layers": 2, "width": 32, "heads": 4, "ffn_width": 48, "max_positions": 96}


@pytest.fixture(scope="module")
def words() -> Tokenizer:
    config = TokenizerConfig(kind="byte-bpe", vocab_size=330, lowercase=False)
    return Tokenizer.train([FORM.example(text, label) for text, label in TEXTS] * 2, config)


@pytest.fixture(scope="module")
def model(words: Tokenizer) -> Model:
    torch.manual_seed(0)
    arch = presets.architecture("gpt2-tiny", words.vocab_size, **SMALL)
    made = Model(make_body(arch), {"causal": CausalHead(arch)})
    with torch.no_grad():
        for p in made.parameters():
            p.add_(torch.randn_like(p) * 0.2)
    return made.eval()


# --- numbers ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shared", [False, True])
def test_log_p_is_transformers(model: Model, words: Tokenizer, tmp_path: Path, shared: bool) -> None:
    import transformers

    save_bundle(tmp_path / "b", model, "pretrained", {}, also=words.save)
    public = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "b").eval()
    prompts = [
        words.encode_ids([t])[0].tolist() for t in ("the film", "Text: a plot was\nLabel:", "x", "an actor " * 9)
    ]
    if shared:
        shots = words.encode_ids(["the music was dull, the scene was great, " * 3])[0].tolist()[:30]
        prompts = [[*shots, *prompt] for prompt in prompts]
    answers = [words.encode_ids([t])[0].tolist() for t in (" pos", " a longer answer", " a longer film", "x")]
    assert len({len(a) for a in answers}) > 1
    for start in (None, words.cls_id):
        expected = np.zeros((len(prompts), len(answers)))
        for (i, prompt), (j, answer) in itertools.product(enumerate(prompts), enumerate(answers)):
            ids = [*([] if start is None else [start]), *prompt, *answer]
            logs = public(torch.tensor([ids])).logits[0].double().log_softmax(-1)
            n = len(ids) - len(answer)
            expected[i, j] = sum(float(logs[n + k - 1, token].detach()) for k, token in enumerate(answer))
        for batch_tokens in (1, 40, 8192):
            found = answer_log_p(model, prompts, answers, start_id=start, batch_tokens=batch_tokens)
            assert np.abs(found - expected).max() < 1e-4


@pytest.mark.parametrize(
    ("preset", "slots"),
    [("gpt2-tiny", {}), ("gpt3-tiny", {"window": 4}), ("loom-tiny", {"window": 5}), ("lstm-tiny", None),
     *(("gpt2-tiny", {"position": position}) for position in ("rotary", "alibi", "t5", "xl"))],
)  # fmt: skip
def test_what_prompts_share_is_read_once(
    preset: str, slots: dict[str, Any] | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same log p's as when every prompt is read whole, of fewer tokens computed."""
    torch.manual_seed(0)
    arch = presets.architecture(preset, 60, **({"width": 32} if slots is None else {**SMALL, **slots}))
    hybrid = preset == "loom-tiny"
    head = "masked" if hybrid else "causal"
    made = Model(make_body(arch), {head: (MaskedHead if hybrid else CausalHead)(arch)}).double().eval()
    shots = torch.randint(5, 60, (20,)).tolist()
    prompts = [[*shots, *torch.randint(5, 60, (n,)).tolist()] for n in (1, 7, 3, 12, 0)]
    answers, seen = [[7], [8, 9], [8, 10], [11, 12, 13]], []
    forward = type(made.body).forward

    def counted(self: Any, tokens: Any, *rest: Any, **more: Any) -> Any:
        seen.append(tokens.numel())
        return forward(self, tokens, *rest, **more)

    monkeypatch.setattr(type(made.body), "forward", counted)
    for start in (None, 3):
        found, once = answer_log_p(made, prompts, answers, start_id=start, hybrid=hybrid, batch_tokens=90), sum(seen)
        with monkeypatch.context() as patch:
            patch.setattr(prompting, "WORTH", 10**9)
            whole = answer_log_p(made, prompts, answers, start_id=start, hybrid=hybrid, batch_tokens=90)
        every = sum(seen) - once
        seen.clear()
        np.testing.assert_allclose(found, whole, rtol=0, atol=1e-10)
        assert once == every if slots is None else once < 0.6 * every


class Bigrams(torch.nn.Module):
    """p(next | token) from a table: what a prompt is worth can be counted by hand."""

    def __init__(self, p: list[list[float]]):
        super().__init__()
        self.table = torch.nn.Parameter(torch.tensor(p, dtype=torch.float64).log())
        self.body = lambda tokens, *rest: torch.nn.functional.one_hot(tokens, len(p)).double()
        self.heads = {"causal": lambda states, table: states @ table}
        self.arch = type("Arch", (), {"vocab_size": len(p), "limit": None})()

    @property
    def token_embedding(self) -> torch.Tensor:
        return self.table

    def next_token_head(self, hybrid: bool) -> str:
        return "causal"


def test_by_hand() -> None:
    model = Bigrams([[0.5, 0.3, 0.2], [0.1, 0.6, 0.3], [0.25, 0.25, 0.5]])
    logs = answer_log_p(model, [[0], [2, 1], []], [[1], [2, 0], [2, 1]], start_id=2)
    by_hand = [[0.3, 0.2 * 0.25, 0.2 * 0.25], [0.6, 0.3 * 0.25, 0.3 * 0.25], [0.25, 0.5 * 0.25, 0.5 * 0.25]]
    assert np.allclose(np.exp(logs), by_hand)
    p = normalised(logs)
    assert np.allclose(p[0], [0.75, 0.125, 0.125])
    # p_cf = (.5, .3, .2), of which two content-free prompts are the mean: p / p_cf = (1.5, 5/12, 5/8), over their sum
    free = np.array([[0.6, 0.2, 0.2], [0.4, 0.4, 0.2]])
    total = 1.5 + 5 / 12 + 5 / 8
    assert np.allclose(calibrated(p, free)[0], [1.5 / total, 5 / 12 / total, 5 / 8 / total])
    assert np.allclose(calibrated(p, np.full((2, 3), 1 / 3)), p)
    assert calibrated(np.array([[0.6, 0.4]]), np.array([[0.8, 0.2]])).argmax() == 1  # a bias that is undone


# --- prompts ---------------------------------------------------------------------------------------------------------


def test_a_prompt_ends_before_the_word_and_its_blank(words: Tokenizer) -> None:
    shots = [("a {label} film", "pos"), ("bad", "neg")]
    made = make_prompts(words, FORM, shots, ["the plot", ""], [[1]], None)
    head = "Text: a {label} film\nLabel: pos\n\nText: bad\nLabel: neg\n\n"
    assert [words.decode(ids) for ids in made.ids] == [head + "Text: the plot\nLabel:", head + "Text: \nLabel:"]
    answers = answer_ids(words, FORM, {"pos": "good", "neg": "bad"})
    assert [words.decode(ids) for ids in answers] == [" good", " bad"]
    chinese = Template.parse("评论：{text}\n情感：{label}\n")
    assert chinese.question("好") == "评论：好\n情感：" and chinese.answer("正面") == "正面"


@pytest.mark.parametrize("form", ["{text}", "{label}", "{label} {text}", "{text}{label}", "{text} {text} {label}"])
def test_templates_that_ask_nothing(form: str) -> None:
    with pytest.raises(ConfigError, match="a template holds"):
        Template.parse(form)


def test_what_does_not_fit_is_cut_and_counted(words: Tokenizer) -> None:
    answers = [[1, 2]]
    texts = ["the film was good " * 40, "the plot", "数据 😀 naïve " * 30]
    shots = [("the music was dull " * 30, "neg"), ("fine", "pos")]
    for limit in (60, 75, 90, 200):
        made = make_prompts(words, FORM, shots, texts, answers, limit)
        lengths = [len(ids) for ids in made.ids]
        assert max(lengths) <= limit - 2 and min(lengths[0], lengths[2]) > limit - 12  # no room is wasted
        assert (made.cut, made.cut_shots) == (2, 1)
        for ids in made.ids:
            assert words.decode(ids).endswith("\nLabel:") and words.decode(ids).startswith("Text: the music was")
    assert "Text: the plot\nLabel:" in words.decode(made.ids[1])
    whole = make_prompts(words, FORM, shots, texts, answers, 5000)
    assert (whole.cut, whole.cut_shots) == (0, 0) and whole.ids == make_prompts(words, FORM, shots, texts, [], None).ids
    with pytest.raises(ConfigError, match=r"2 examples leave \d tokens for each text of the 20"):
        make_prompts(words, FORM, shots, texts, answers, 20)


def test_words_must_differ(words: Tokenizer) -> None:
    with pytest.raises(ConfigError, match="label a: the word 'x' stands for two labels"):
        answer_ids(words, FORM, {"a": "x", "b": "x"})
    with pytest.raises(ConfigError, match="is no token"):
        answer_ids(words, Template.parse("{text}\n{label}"), {"a": "", "b": "x"})


# --- the verb --------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that has read prompts of this very kind, four to a text, and a labelled file of other texts."""
    folder = tmp_path_factory.mktemp("prompting")
    rng = np.random.default_rng(0)
    rows = []
    for _ in range(400):
        chosen = [TEXTS[i] for i in rng.integers(len(TEXTS), size=4)]
        rows.append("".join(FORM.example(text, label) for text, label in chosen).strip())
    (folder / "corpus.jsonl").write_text("".join(json.dumps({"text": row}) + "\n" for row in rows))
    with (folder / "test.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("text", "label"), *((f"{text} indeed", label) for text, label in TEXTS)])
    api.pretrain(
        folder / "corpus.jsonl", folder / "run", preset="gpt2-tiny", quiet=True, **{
            "model.layers": 2, "model.width": 64, "model.heads": 4, "model.ffn_width": 128, "train.steps": 120,
            "train.batch": 16, "train.length": 96, "train.threads": 1, "tokenizer.vocab_size": 360, "train.lr": 0.01,
        },
    )  # fmt: skip
    return folder


def test_a_model_that_knows_the_form_answers(made: Path) -> None:
    found = api.prompt(made / "run", made / "test.csv", shots=3, draws=2)
    assert found.settings["tokens"] == 96 and found.settings["words"] == {"neg": "neg", "pos": "pos"}
    assert found.accuracy["calibrated"].value > 0.9
    majority = next(iter(found.accuracy))
    texts, shown = 30, {place for draw in found.draws for place in draw.shots}
    assert found.examples == texts - len(shown) and all(len(draw.shots) == 3 for draw in found.draws)
    assert found.gains[f"calibrated - {majority}"].low > 0
    for draw in found.draws:
        assert math.isclose(sum(draw.content_free.values()), 1.0)
    mean = np.mean([draw.scores["prompted"]["accuracy"].value for draw in found.draws])
    assert math.isclose(found.accuracy["prompted"].value, mean)
    again = api.prompt(made / "run", made / "test.csv", shots=3, draws=2)
    assert again.to_json() == found.to_json()
    assert api.prompt(made / "run", made / "test.csv", shots=3, seed=1, draws=1).draws[0].shots == found.draws[1].shots


def test_examples_of_another_file(made: Path, tmp_path: Path) -> None:
    with (tmp_path / "shots.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("text", "label"), ("the film was good indeed", "pos"), *TEXTS])
    found = api.prompt(made / "run", made / "test.csv", source=tmp_path / "shots.csv", shots=2, draws=1, limit=20)
    assert found.examples == 20 and any("1 possible examples were left out" in note for note in found.notes)
    assert all("shots.csv" in place for place in found.draws[0].shots)
    none = api.prompt(made / "run", made / "test.csv", shots=0, words={"pos": "good", "neg": "bad"})
    assert none.examples == 30 and none.draws[0].shots == [] and none.settings["words"] == {"neg": "bad", "pos": "good"}


def test_the_verb(made: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    def say(*more: object) -> Any:
        return command(monkeypatch, capfd, "prompt", made / "run", made / "test.csv", *more)

    said = say("--shots", 2, "--draws", 1)
    assert said.code == 0 and "majority" in said.out and "calibrated - prompted" in said.out, said.err
    said = say("--shots", 2, "--draws", 1, "--json", "--template", r"Text: {text}\nLabel: {label}\n\n",
               "--word", "pos=pos", "--limit", 10)  # fmt: skip
    values = json.loads(said.out)
    assert values["template"] == TEMPLATE and values["examples"] == 10
    assert values["draws"][0]["calibrated"]["accuracy"]["value"] == values["accuracy"]["calibrated"]["value"]
    for more, message in (
        (("--shots", 30), "every text is an example"), (("--word", "pos"), "--word has no ="),
        (("--word", "nope=x"), "no example has the label 'nope'"), (("--shots", 20, "--draws", 1), "fewer --shots"),
        (("--shots", -1), "shots below 0"),
    ):  # fmt: skip
        said = say(*more)
        assert said.code == 2 and message in said.err and "Traceback" not in said.err


def test_labels_of_other_kinds(made: Path, tmp_path: Path) -> None:
    (tmp_path / "r.jsonl").write_text("".join(json.dumps({"text": f"t {i}", "label": i / 7}) + "\n" for i in range(30)))
    with pytest.raises(DataError, match="where one word must be the answer"):
        api.prompt(made / "run", tmp_path / "r.jsonl")
