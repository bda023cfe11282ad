"""Public folders in and out: ``import`` makes a bundle of one, ``export --to hf`` makes one of a run.

A bundle with a public twin already opens in transformers. What export adds is a folder of that alone, without
wordloom.json, which holds nothing that the public code would leave unread: a head of ours alone is refused by name.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

from wordloom.api.start import bundle_folder
from wordloom.errors import BundleError
from wordloom.infer.linear import refuse_linear
from wordloom.infer.own_tokenizer import Tokenizers
from wordloom.model.interop import has_segments, load_bundle, load_hf, model_of, save_bundle, save_hf
from wordloom.model.interop.sentence import is_sentence_folder


def import_folder(source: str | Path, out: str | Path, *, overwrite: bool = False) -> list[str]:
    """Read config.json, weights and tokenizer of a public folder and write a bundle at ``out``; what there is to say.

    The bundle goes where a run goes: finetune, pretrain's model.start, export. Its classes, where it has some, are kept
    with their weights. Raises BundleError or TokenizerError where anything cannot be read exactly, with the whole list.
    """
    source = Path(source)
    if not source.is_dir():
        raise BundleError("no such folder", where=source, cure="give the folder of a public model")
    if (source / "wordloom.json").exists() or (source / "manifest.json").exists():
        raise BundleError("is a run or bundle of ours already", where=source, cure="use it as it is")
    if is_sentence_folder(source):
        from wordloom.api.sentence import import_sentence_folder  # an encoder is a task, not only weights

        return import_sentence_folder(source, out, overwrite=overwrite)
    found = load_hf(source)
    tokenizers = Tokenizers.open(source, found.arch)
    model = model_of(found)
    extra: dict[str, Any] = {
        **tokenizers.hashes,
        "imported": {"family": found.family, "from": source.name, "report": list(found.report)},
    }
    if found.labels:
        extra |= {"labels": list(found.labels), "problem_type": found.problem_type}
    also = partial(tokenizers.save, segments=has_segments(found.arch))
    save_bundle(out, model, "pretrained", extra, also=also, tokens=tokenizers.own.ends, overwrite=overwrite)
    parameters = sum(p.numel() for p in model.parameters())
    heads = ", ".join(model.heads) or "none"
    lines = [f"{found.family}: {parameters:,} parameters, heads: {heads}, tokenizer of {tokenizers.own.vocab_size:,}"]
    return [*lines, *(f"note: {line}" for line in found.report), f"written: {out}"]


def export_model(
    source: str | Path, out: str | Path, *, family: str | None = None, overwrite: bool = False
) -> list[str]:
    """Write a run's or bundle's model as a public folder with its tokenizer; what there is to say.

    family: the model_type to write; None: the one that has the architecture. Raises BundleError where the model, or
    one of its heads, has no public twin.
    """
    folder = bundle_folder(source)
    cure = "export its vectors, where it has some, or serve the run itself"
    refuse_linear(folder, "a linear classifier has no public twin", cure)
    bundle = load_bundle(folder)
    tokenizers = Tokenizers.open(folder, bundle.model.arch)
    tokenizer = tokenizers.own
    head = dict(bundle.model.heads).get("classify")
    if getattr(head, "pooling", None) == "last" and tokenizer.pad_id == tokenizer.sep_id:
        what = "its classifier reads the end token, which is its padding too: public code would read the token before"
        raise BundleError(what, where=source, cure="fine-tune a model whose tokenizer has a padding token")
    save_hf(
        out,
        bundle.model,
        labels=bundle.extra.get("labels"),
        problem_type=bundle.extra.get("problem_type"),
        tokens=tokenizer.ends,
        family=family,
        also=partial(tokenizers.save, segments=has_segments(bundle.model.arch)),
        overwrite=overwrite,
    )
    return [f"written: {out}"]
