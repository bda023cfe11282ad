"""GGUF, the one-file format of llama.cpp: written of the GPT-2 rows, which its architecture "gpt2" computes.

Tensors keep float32 and our (outputs, inputs) layout, which is GGUF's; q, k and v are one matrix there too.
llama.cpp's gelu is the tanh approximation, looked up in a table of float16: logits agree to about 1e-3, so that the
greedy text is the same but where two tokens are as good as tied.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from wordloom.errors import BundleError
from wordloom.model.architecture import Architecture
from wordloom.model.heads import CausalHead
from wordloom.model.interop.families.gpt2 import GPT2
from wordloom.model.interop.settings import misfits
from wordloom.model.model import Model

_NAMES = {  # ours -> GGUF's, without .weight and .bias
    "embeddings.tokens": "token_embd",
    "embeddings.positions": "position_embd",
    "attention_norm": "attn_norm",
    "attention.qkv": "attn_qkv",
    "attention.output": "attn_output",
    "ffn_norm": "ffn_norm",
    "ffn_in": "ffn_up",
    "ffn_out": "ffn_down",
    "norm": "output_norm",
}


@dataclass(frozen=True)
class Vocabulary:
    """A byte-level BPE vocabulary as GGUF keeps it. tokens, types (V,): types are gguf.TokenType's numbers; merges:
    "a b" in the order of their ranks; add_bos: whether a text begins with bos_id."""

    tokens: Sequence[str]
    types: Sequence[int]
    merges: Sequence[str]
    bos_id: int
    eos_id: int
    pad_id: int
    add_bos: bool


def save_gguf(path: str | Path, model: Model, vocabulary: Vocabulary, *, name: str, overwrite: bool = False) -> None:
    """Write one file that llama.cpp opens, or nothing. name: what it shows as the model's.

    Raises BundleError for a model that is no GPT-2 row or does not predict the next token, where the file exists
    (unless ``overwrite``) or cannot be written, and without the package gguf.
    """
    refuse_unfit(model)
    path = Path(path).absolute()
    if path.exists() and not (overwrite and path.is_file()):
        raise BundleError("exists already", where=path, cure="name another file, or ask to overwrite")
    if len(vocabulary.tokens) != model.arch.vocab_size:
        what = f"{len(vocabulary.tokens)} tokens for a model of {model.arch.vocab_size}"
        raise BundleError(what, where=path, cure="name a token for every row")
    package = require_gguf()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        os.close(handle)
    except OSError as error:
        raise BundleError(f"cannot be written: {error.strerror}", where=path, cure="name another file") from None
    try:
        _write(package, temporary, model, vocabulary, name)
        with open(temporary, "rb") as written:
            os.fsync(written.fileno())
        os.chmod(temporary, 0o644)  # mkstemp makes it private
        os.replace(temporary, path)
    except OSError as error:
        raise BundleError(f"cannot be written: {error.strerror}", where=path, cure="free some space") from None
    finally:
        Path(temporary).unlink(missing_ok=True)


def require_gguf() -> Any:
    """The package gguf. Raises BundleError where it is absent."""
    try:
        import gguf
    except ImportError:
        cure = 'install it with pip install "wordloom[gguf]"'
        raise BundleError("writing gguf needs the package gguf", cure=cure) from None
    return gguf


def refuse_unfit(model: Model) -> None:
    """Raises BundleError unless llama.cpp's "gpt2" computes what this model does."""
    arch, cure = model.arch, "export it with --to hf"
    wrong = misfits(GPT2, arch)
    if not wrong and arch.activation != "gelu_tanh":
        wrong = ["activation"]
    if wrong:
        what = f"gguf is written of the GPT-2 rows alone: this model has another {', '.join(wrong)}"
        raise BundleError(what, cure=cure)
    if not isinstance(dict(model.heads).get("causal"), CausalHead):
        raise BundleError("the model does not predict the next token, which is what gguf files are for", cure=cure)


def tensors(model: Model) -> dict[str, NDArray[np.float32]]:
    """GGUF name -> tensor, in the order of the layers; "output.weight" where it is not the token table."""
    found: dict[str, Tensor] = {}
    for ours, value in model.body.state_dict().items():
        part, _, leaf = ours.rpartition(".")
        layer = ""
        if part.startswith("layers."):
            _, number, part = part.split(".", 2)
            layer = f"blk.{number}."
        found[f"{layer}{_NAMES[part]}.{leaf}"] = value
    output = model.heads["causal"].output
    if output is not None:
        assert isinstance(output, Tensor)
        found["output.weight"] = output
    return {k: v.detach().cpu().float().contiguous().numpy() for k, v in found.items()}


def _write(package: Any, path: str, model: Model, vocabulary: Vocabulary, name: str) -> None:
    writer = package.GGUFWriter(path, "gpt2")
    writer.add_name(name)
    writer.add_file_type(package.LlamaFileType.ALL_F32)
    assert isinstance(model.arch, Architecture)  # refuse_unfit has seen to it
    for key, value in _shape(model.arch).items():
        getattr(writer, f"add_{key}")(value)
    v = vocabulary
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")  # the pattern that splits a text
    writer.add_token_list(list(v.tokens))
    writer.add_token_types(list(v.types))
    writer.add_token_merges(list(v.merges))
    writer.add_bos_token_id(v.bos_id)
    writer.add_eos_token_id(v.eos_id)
    writer.add_pad_token_id(v.pad_id)
    writer.add_add_bos_token(v.add_bos)
    writer.add_add_eos_token(False)
    for key, tensor in tensors(model).items():
        writer.add_tensor(key, tensor)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _shape(arch: Architecture) -> Mapping[str, int | float]:
    """gguf.GGUFWriter's names of the hyperparameters."""
    return {
        "context_length": arch.max_positions,
        "embedding_length": arch.width,
        "block_count": arch.layers,
        "feed_forward_length": arch.ffn_width,
        "head_count": arch.heads,
        "layer_norm_eps": arch.norm_eps,
        "vocab_size": arch.vocab_size,
    }
