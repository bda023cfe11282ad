"""``task.vocabularies = "separate"``: the source and the target each have a vocabulary of their own."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from wordloom import api, presets
from wordloom.api.importing import export_model, import_folder
from wordloom.api.language import open_language
from wordloom.config import TokenizerConfig, TranslateConfig
from wordloom.data.batch import Batch
from wordloom.data.parallel import Parallel
from wordloom.errors import BundleError, ConfigError, TokenizerError
from wordloom.infer.own_tokenizer import Tokenizers
from wordloom.infer.task_predictor import TaskPredictor
from wordloom.model.build import make_body
from wordloom.model.model import Model
from wordloom.tasks.seq2seq.task import Seq2Seq
from wordloom.text.tokenizer import Tokenizer

PAIRS = (
    ("两只狗在雪地里跑。", "Two dogs run in the snow."),
    ("女孩唱歌。", "The girl sings."),
    ("他们在谈话。", "They are talking."),
    ("你好！", "Hello!"),
    ("一个男人坐在长椅上。", "A man sits on a bench."),
    ("雪。", "Snow."),
    ("这首歌是红色的。", "The song is red."),
    ("狗和男人。", "A dog and a man."),
)
ROWS = ("transformer-tiny", "t5-tiny", "t5v1.1-tiny", "lstm-seq2seq-tiny", "gru-seq2seq-tiny")
RECORDS = Parallel([s for s, _ in PAIRS], [(t,) for _, t in PAIRS], [f"a.zh:{i + 1}" for i in range(len(PAIRS))])


@pytest.fixture(scope="module")
def sides() -> tuple[Tokenizer, Tokenizer]:
    """Of the source (characters) and of the target: other sizes, other ids."""
    config = TokenizerConfig(kind="wordpiece", vocab_size=90, lowercase=False)
    written = TokenizerConfig(kind="byte-bpe", vocab_size=320, lowercase=False)
    return Tokenizer.train(RECORDS.sources, config), Tokenizer.train(RECORDS.targets, written)


def task_of(sides: tuple[Tokenizer, Tokenizer], **values: Any) -> Seq2Seq:
    config = TranslateConfig(label_smoothing=0.0, vocabularies="separate", **values)
    return Seq2Seq.fit(config, RECORDS, sides[1], length=64, valid=RECORDS, source_tokenizer=sides[0])


def architecture(preset: str, sizes: tuple[int, int], pad_id: int = 0) -> Any:
    """sizes: tokens of the source and of the target."""
    small: dict[str, Any] = {"width": 48, "layers": 2, "dropout": 0.0, "pad_id": pad_id, "init_std": 0.4}
    if "seq2seq" not in preset:
        small |= {"decoder_layers": 2, "heads": 4, "ffn_width": 96, "attention_dropout": 0.0, "init_std": 0.15}
        small |= {"attention_width": 48} if "attention_width" in presets.PRESETS[preset].values else {}
    return replace(presets.architecture(preset, sizes[1], **small), source_vocab_size=sizes[0])  # type: ignore[call-overload]


def learned_model(preset: str, task: Seq2Seq, steps: int = 120, lr: float = 7e-3) -> Model:
    torch.manual_seed(0)
    sizes = task.source_tokenizer.vocab_size, task.tokenizer.vocab_size
    arch = architecture(preset, sizes, int(task.tokenizer.pad_id))
    model = Model(make_body(arch), task.heads(arch))
    stream = task.stream(RECORDS, batch=len(RECORDS), seed=0)
    optimiser = torch.optim.AdamW(model.parameters(), lr=lr, weight_decay=0.0)
    for step in range(steps):
        optimiser.param_groups[0]["lr"] = lr * min(1.0, (step + 1) / 20, (steps - step) / 40)
        (batch,) = stream.step(step, 1)
        term = task.loss(model, batch)[0]["tokens"]
        optimiser.zero_grad()
        (term.sum / term.count).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
    return model.eval()


@pytest.mark.parametrize("preset", ROWS)
def test_two_tables_are_one_whose_ids_do_not_overlap(preset: str) -> None:
    """The states of a model with two tables are those of one with both tables under each other."""
    torch.manual_seed(1)
    apart = make_body(architecture(preset, (7, 11))).eval()
    joint = make_body(replace(architecture(preset, (7, 11), pad_id=7), vocab_size=18, source_vocab_size=None)).eval()
    states = apart.state_dict()
    names = {n for n in states if n.endswith("tokens.weight")}
    (source,) = (n for n in names if states[n].shape[0] == 7)
    (target,) = names - {source}
    rest = {k: v for k, v in states.items() if k not in names}
    (shared,) = (n for n in joint.state_dict() if n.endswith("tokens.weight"))
    joint.load_state_dict({**rest, shared: torch.cat([states[source], states[target]])})
    read, said = torch.tensor([[3, 1, 6, 2], [5, 5, 0, 4]]), torch.tensor([[0, 10, 4], [0, 2, 8]])
    ones, places = torch.ones_like(said), torch.arange(3).expand(2, 3)
    source_rows = Batch(read, torch.ones_like(read), torch.arange(4).expand(2, 4), torch.zeros_like(read), {})
    found = apart(said, ones, places, torch.zeros_like(said), source_rows)
    wanted = joint(said + 7, ones, places, torch.zeros_like(said), source_rows)
    torch.testing.assert_close(found, wanted)


@pytest.mark.parametrize("preset", ["transformer-tiny", "lstm-seq2seq-tiny"])
def test_pairs_are_learned_and_a_bundle_reads_with_both(
    sides: tuple[Tokenizer, Tokenizer], preset: str, tmp_path: Path
) -> None:
    task = task_of(sides, alignments=True)
    model = learned_model(preset, task)
    answers = task.predict(model, RECORDS.sources)
    assert [a.text for a in answers] == RECORDS.targets
    assert task.evaluate(model)["bleu"] == 1.0
    seen = answers[3].alignment
    assert (seen is not None and seen.source[:2] == ("你", "##好")) or seen.source[:2] == ("你", "好")
    assert len(model.heads["causal"](torch.zeros(1, 48), model.token_embedding)[0]) == sides[1].vocab_size

    TaskPredictor(model, sides[1], task).save(tmp_path / "bundle")
    loaded = api.load(tmp_path / "bundle")
    assert [a.text for a in loaded.predict(RECORDS.sources)] == RECORDS.targets
    facts = json.loads((tmp_path / "bundle" / "wordloom.json").read_text())
    assert facts["architecture"]["source_vocab_size"] == sides[0].vocab_size
    assert facts["twin"] == ("exact" if preset == "transformer-tiny" else "none")
    if facts["twin"] == "exact":  # public code takes its source from the one tokenizer, and its answer from the other
        transformers = pytest.importorskip("transformers")
        reads, says = (
            transformers.AutoTokenizer.from_pretrained(tmp_path / "bundle" / name) for name in ("source_tokenizer", "")
        )
        public = transformers.AutoModelForSeq2SeqLM.from_pretrained(tmp_path / "bundle").eval()
        for text, wanted in PAIRS:
            ids = [*reads(text, add_special_tokens=False)["input_ids"], reads.sep_token_id]
            said = public.generate(torch.tensor([ids]), max_new_tokens=task.max_tokens, num_beams=4, do_sample=False)
            assert says.decode(said[0], skip_special_tokens=True).strip() == wanted
    loaded.save(tmp_path / "again")
    assert [a.text for a in api.load(tmp_path / "again").predict(RECORDS.sources)] == RECORDS.targets

    sides[1].save(tmp_path / "bundle" / "source_tokenizer")  # another than the one it was trained with
    with pytest.raises(BundleError, match="not the one they were trained with"):
        api.load(tmp_path / "bundle")


TINY = {"model.width": 32, "model.layers": 1, "model.heads": 2, "model.ffn_width": 64, "train.epochs": 2,
        "train.batch": 8, "train.length": 48, "train.threads": 1, "tokenizer.vocab_size": 300}  # fmt: skip


def test_from_files_to_answers_and_on(tmp_path: Path) -> None:
    for side in (0, 1):
        (tmp_path / f"t.{side}").write_text("".join(p[side] + "\n" for p in PAIRS * 3), encoding="utf-8")
    pairs, run = f"{tmp_path / 't.0'},{tmp_path / 't.1'}", tmp_path / "run"
    how: dict[str, Any] = {"task": "translate", "valid": pairs, "test": pairs, "quiet": True}
    separate = {"task.vocabularies": "separate"}
    api.finetune("transformer-tiny", pairs, run, **how, **TINY, **separate)
    read = json.loads((run / "bundle" / "source_tokenizer" / "tokenizer.json").read_text())
    said = json.loads((run / "bundle" / "tokenizer.json").read_text())
    learned = [{t for t in json_["model"]["vocab"] if len(t) > 1} for json_ in (read, said)]
    byte = "ä"  # how byte-level tokenizers write the first byte of many Han characters
    assert any(byte in token for token in learned[0]) and not any(byte in token for token in learned[1])
    hashes = json.loads((run / "manifest.json").read_text())["hashes"]
    assert len({hashes["tokenizer"], hashes["source tokenizer"]}) == 2
    lines = [json.loads(line)["prediction"] for line in (run / "predictions.jsonl").read_text().splitlines()]
    assert [a.text for a in api.load(run).predict(list(RECORDS.sources))] == lines[:8]

    further = api.finetune(run, pairs, tmp_path / "further", **how, **{"train.epochs": 1, "train.length": 48})
    kept = json.loads((further.path / "manifest.json").read_text())["hashes"]
    assert kept == hashes
    public, imported = tmp_path / "public", tmp_path / "imported"
    export_model(run, public)
    import_folder(public, imported)
    assert Tokenizers.open(imported, api.load(run).model.arch, strict=True).hashes == {
        "tokenizer_hash": hashes["tokenizer"], "source_tokenizer_hash": hashes["source tokenizer"]
    }  # fmt: skip
    shutil.rmtree(public / "source_tokenizer")
    with pytest.raises(TokenizerError, match="source_tokenizer"):
        import_folder(public, tmp_path / "no")
    with pytest.raises(ConfigError, match="cannot fill in spans"):
        api.pretrain(str(tmp_path / "t.1"), tmp_path / "no", start=run, quiet=True)
    with pytest.raises(ConfigError, match="has one side"):
        api.finetune("bert-tiny", pairs, tmp_path / "no", **how, **separate)
    with pytest.raises(ConfigError, match="one tokenizer, and two vocabularies"):
        api.finetune("t5-tiny", pairs, tmp_path / "no", **how, **separate, **{"tokenizer.path": str(run / "bundle")})
    with pytest.raises(BundleError, match="another vocabulary than it writes"):
        open_language(run)
    joint = tmp_path / "joint"
    api.finetune("transformer-tiny", pairs, joint, **how, **TINY)
    with pytest.raises(ConfigError, match="one vocabulary serves both sides of this start"):
        api.finetune(joint, pairs, tmp_path / "no", **how, **separate, **{"train.length": 48})
