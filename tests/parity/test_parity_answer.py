"""The span head against transformers' *ForQuestionAnswering of every family that has one, weights in both ways."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from family_models import PAD, PUBLIC, D, V, lift_casts, public_model, scatter_weights

from wordloom import presets
from wordloom.config import AnswerConfig
from wordloom.data.batch import Batch
from wordloom.errors import BundleError
from wordloom.model.build import make_body
from wordloom.model.interop import apply_states, load_bundle, load_hf, save_bundle
from wordloom.model.model import Model
from wordloom.tasks.answer.task import Reader, span_logits

transformers = pytest.importorskip("transformers")
torch.set_num_threads(1)

_T5 = {"d_model": D, "d_kv": 8, "d_ff": 48, "num_layers": 2, "num_heads": 4, "pad_token_id": PAD, "eos_token_id": 3,
       "decoder_start_token_id": PAD}  # fmt: skip
ROWS: dict[str, tuple[str, dict[str, Any]]] = {
    **{kind: (PUBLIC[kind][0], PUBLIC[kind][1]) for kind in ("bert", "roberta", "albert", "gpt2", "gpt_neo")},
    "modernbert": PUBLIC["modernbert"][:2],
    "electra": ("ElectraConfig", {**PUBLIC["bert"][1], "embedding_size": 16}),
    "xlnet": ("XLNetConfig", {"d_model": D, "n_layer": 2, "n_head": 4, "d_inner": 48, "pad_token_id": PAD}),
    "t5": ("T5Config", _T5),
}
# XLNet's public code has its distances in float32 whatever the weights are, T5's its norms
SINGLE, ROUNDED = ("xlnet",), ("xlnet", "t5")
LENGTHS = (11, 7)  # tokens of two windows in one row here, in rows of their own there


def public(kind: str) -> Any:
    config_class, values = ROWS[kind]
    config = getattr(transformers, config_class)(vocab_size=V, **values)
    config._attn_implementation = "eager"
    torch.manual_seed(0)
    model = transformers.AutoModelForQuestionAnswering.from_config(config)
    return scatter_weights(model if kind in SINGLE else model.double()).eval()


def both(theirs: Any, ours: Any, kind: str) -> tuple[torch.Tensor, torch.Tensor]:
    """(N, 2) logits of every token but a window's first, theirs and ours."""
    g = torch.Generator().manual_seed(1)
    tokens = [torch.randint(5, V, (n,), generator=g) for n in LENGTHS]
    types = [(torch.arange(n) >= 4).long() for n in LENGTHS]
    segments = getattr(ours.arch, "types", 0) > 1
    expected = []
    with torch.no_grad():
        for ids, kinds in zip(tokens, types, strict=True):
            out = theirs(ids[None], **({"token_type_ids": kinds[None]} if segments else {}))
            expected.append(torch.stack([out.start_logits[0], out.end_logits[0]], dim=1)[1:])
        at = torch.cat([torch.arange(1, LENGTHS[0]), torch.arange(1, LENGTHS[1]) + LENGTHS[0]])
        batch = Batch(
            torch.cat(tokens)[None],
            torch.cat([torch.full((n,), i + 1) for i, n in enumerate(LENGTHS)])[None],
            torch.cat([torch.arange(n) for n in LENGTHS])[None],
            torch.cat(types)[None],
            examples={"at": at, "ends_at": torch.tensor([[0, LENGTHS[0] - 1], [LENGTHS[0], sum(LENGTHS) - 1]])},
        )
        found, _ = span_logits(ours, batch)
    return torch.cat(expected), found


@pytest.mark.parametrize("kind", list(ROWS))
def test_public_weights_give_equal_logits_and_a_bundle_of_ours_opens_there(
    tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if kind not in SINGLE:
        lift_casts(monkeypatch)
    theirs = public(kind)
    theirs.save_pretrained(tmp_path / "hf")
    loaded = load_hf(tmp_path / "hf", ["answer"])
    # a head of GPT-2 or T5 with nothing of its own is always there: it is the tied output matrix
    assert set(loaded.states) - {"causal"} == {"body", "answer"} and loaded.family == kind
    ours = Model(make_body(loaded.arch), Reader.heads(_without_tokenizer(), loaded.arch)).eval()
    ours.to(next(theirs.parameters()).dtype)
    assert apply_states(ours, loaded.states) == []
    expected, found = both(theirs, ours, kind)
    tolerance = (2e-6 if kind in ROUNDED else 1e-11) * float(expected.abs().max())
    assert torch.allclose(expected, found, rtol=0, atol=tolerance)

    save_bundle(tmp_path / "ours", ours, "answer", {})
    bundle = load_bundle(tmp_path / "ours")
    assert bundle.twin == "exact" and torch.equal(both(theirs, bundle.model, kind)[1], found)
    again, info = transformers.AutoModelForQuestionAnswering.from_pretrained(
        tmp_path / "ours", dtype=next(theirs.parameters()).dtype, attn_implementation="eager", output_loading_info=True
    )
    assert not any(info[key] for key in ("missing_keys", "unexpected_keys", "mismatched_keys")), info
    assert torch.allclose(both(again.eval(), ours, kind)[0], expected, rtol=0, atol=1e-12)


def _without_tokenizer() -> Any:
    task = object.__new__(Reader)
    task.config = AnswerConfig()
    return task


def test_rows_without_a_public_reader_keep_the_head_beside_the_body(tmp_path: Path) -> None:
    arch = presets.architecture("gpt-tiny", V)
    model = Model(make_body(arch), Reader.heads(_without_tokenizer(), arch)).eval()
    save_bundle(tmp_path / "gpt", model, "answer", {})
    bundle = load_bundle(tmp_path / "gpt")
    assert bundle.twin == "body" and (tmp_path / "gpt/head.safetensors").exists()
    assert torch.equal(bundle.model.heads["answer"].output.weight, model.heads["answer"].output.weight)


def test_a_classifier_of_two_classes_is_not_taken_for_a_reader(tmp_path: Path) -> None:
    """ModernBERT's heads have the same names: the class in config.json tells them apart."""
    config_class, values = ROWS["modernbert"]
    config = getattr(transformers, config_class)(vocab_size=V, num_labels=2, **values)
    transformers.ModernBertForSequenceClassification(config).save_pretrained(tmp_path)
    with pytest.raises(BundleError, match=r"unexpected classifier.weight"):
        load_hf(tmp_path)
    public_model("modernbert", "masked", torch.float32).save_pretrained(tmp_path / "masked")
    assert set(load_hf(tmp_path / "masked").states) == {"body", "masked"}
