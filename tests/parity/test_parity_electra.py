"""ELECTRA against transformers, both ways: body, discriminator and generator; and our own rows' bundles."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from family_models import LENGTHS, PAD, agree, public_outputs, rows, scatter_weights
from torch import nn

from wordloom import presets
from wordloom.api.objectives import without_auxiliary
from wordloom.config import MaskedConfig, ReplacedConfig
from wordloom.model.heads import MaskedHead, ReplacedHead
from wordloom.model.interop import apply_states, load_bundle, load_hf, save_bundle, save_hf
from wordloom.model.interop.settings import family_of
from wordloom.model.model import Model
from wordloom.model.transformer import Transformer
from wordloom.objectives.masked import Masked
from wordloom.objectives.replaced import Replaced

V = 60
CLASSES = {"body": "ElectraModel", "replaced": "ElectraForPreTraining", "masked": "ElectraForMaskedLM"}
HEADS: dict[str, Any] = {"replaced": ReplacedHead, "masked": MaskedHead}
WIDTHS = pytest.mark.parametrize("embedding", [16, 32])  # 32 is the width: no matrix between
PARTS = pytest.mark.parametrize("head", CLASSES)


def public(head: str, dtype: torch.dtype, embedding: int) -> Any:
    transformers = pytest.importorskip("transformers")
    config = transformers.ElectraConfig(
        vocab_size=V, embedding_size=embedding, hidden_size=32, num_hidden_layers=3, num_attention_heads=4,
        intermediate_size=48, max_position_embeddings=24, pad_token_id=PAD,
    )  # fmt: skip
    config._attn_implementation = "eager"
    torch.manual_seed(0)
    return scatter_weights(getattr(transformers, CLASSES[head])(config).to(dtype)).eval()


def outputs(model: Model, head: str, given: dict[str, torch.Tensor]) -> torch.Tensor:
    states = model(**given)[given["documents"] > 0]
    if head == "masked":
        return model.heads[head](states, model.token_embedding)
    return model.heads[head](states) if head == "replaced" else states


@WIDTHS
@PARTS
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@torch.no_grad()
def test_public_weights_give_equal_outputs(tmp_path: Path, head: str, dtype: torch.dtype, embedding: int) -> None:
    theirs = public(head, dtype, embedding)
    theirs.save_pretrained(tmp_path)
    found = load_hf(tmp_path, [head] if head != "body" else [])
    family = family_of(found.arch, ["replaced"])
    assert found.family == "electra" and family is not None and family.model_type == "electra"
    model = Model(Transformer(found.arch), {head: HEADS[head](found.arch)} if head != "body" else {}).to(dtype).eval()
    assert apply_states(model, found.states) == []
    ours, given = rows()
    agree(outputs(model, head, ours), public_outputs(theirs, head, given), dtype)


@WIDTHS
@PARTS
@torch.no_grad()
def test_random_models_of_ours_open_in_transformers(tmp_path: Path, head: str, embedding: int) -> None:
    transformers = pytest.importorskip("transformers")
    arch = presets.architecture(
        "electra-tiny", V, width=32, heads=4, ffn_width=48, embedding_width=embedding if embedding < 32 else None
    )
    made: dict[str, nn.Module] = {head: HEADS[head](arch)} if head != "body" else {}
    model = Model(Transformer(arch), made).eval()  # type: ignore[arg-type]
    scatter_weights(model)
    save_hf(tmp_path / "m", model, family="electra")
    theirs, info = getattr(transformers, CLASSES[head]).from_pretrained(tmp_path / "m", output_loading_info=True)
    assert not info["missing_keys"] and not info["unexpected_keys"] and not info["mismatched_keys"]
    ours, given = rows()
    agree(outputs(model, head, ours), public_outputs(theirs.eval(), head, given), torch.float32)


@WIDTHS
@torch.no_grad()
def test_the_bundle_holds_the_model_without_its_generator(tmp_path: Path, embedding: int) -> None:
    """What pre-training saves opens as ElectraForPreTraining, exactly."""
    transformers = pytest.importorskip("transformers")
    objective = Replaced(ReplacedConfig(), Masked(MaskedConfig(), vocab_size=V, mask_id=4, special_ids=range(5)))
    arch = presets.architecture(
        "electra-tiny", V, width=32, heads=4, ffn_width=48, embedding_width=embedding if embedding < 32 else None
    )
    model = Model(Transformer(arch), objective.heads(arch)).eval()  # type: ignore[arg-type]
    scatter_weights(model)
    save_bundle(tmp_path / "b", without_auxiliary(model, objective), "pretrained", {})
    found = load_bundle(tmp_path / "b")
    assert (found.twin, set(found.model.heads)) == ("exact", {"replaced"})
    ours, given = rows()
    assert torch.equal(outputs(found.model, "replaced", ours), outputs(model, "replaced", ours))
    theirs = transformers.AutoModelForPreTraining.from_pretrained(tmp_path / "b").eval()
    assert type(theirs).__name__ == "ElectraForPreTraining"
    logits = theirs(**given).logits  # (B, T)
    assert logits.shape == (len(LENGTHS), max(LENGTHS))
    agree(outputs(model, "replaced", ours), logits[given["attention_mask"] > 0], torch.float32)
