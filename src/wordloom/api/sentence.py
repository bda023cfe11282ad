"""sentence-transformers folders in and out: an encoder with its pooling, as a run's bundle of the task ``retrieve``."""

from __future__ import annotations

from pathlib import Path

from wordloom.api.loading import load
from wordloom.api.start import bundle_folder
from wordloom.config import RetrieveConfig
from wordloom.errors import BundleError
from wordloom.infer.own_tokenizer import own_tokenizer
from wordloom.infer.task_predictor import TaskPredictor
from wordloom.model.interop import has_segments, load_hf, model_of, save_hf
from wordloom.model.interop.sentence import SentenceRule, read_sentence_rule, write_sentence_files
from wordloom.model.model import Model
from wordloom.tasks.retrieve.task import HEAD, Retrieve


def import_sentence_folder(source: str | Path, out: str | Path, *, overwrite: bool = False) -> list[str]:
    """Write a bundle that gives the vectors of a sentence-transformers folder; what there is to say.

    Its first ``max_seq_length`` tokens are read and no more, as there (task.long_texts "first"). Raises BundleError
    for what cannot be read exactly.
    """
    source = Path(source)
    found = load_hf(source)
    rule = read_sentence_rule(source, found.arch.limit or 10**9)
    tokenizer = own_tokenizer(source, found.arch.vocab_size)
    config = RetrieveConfig(pooling=rule.pooling, long_texts="first", query_prefix=rule.query_prefix,
                            document_prefix=rule.document_prefix, method="pairs")  # fmt: skip
    task = Retrieve(config, tokenizer, length=rule.length)
    model = Model(model_of(found).body, task.heads(found.arch))
    facts = {"imported": {"family": found.family, "from": source.name, "report": list(found.report)}}
    TaskPredictor(model, tokenizer, task, facts).save(out, overwrite=overwrite)
    parameters = sum(p.numel() for p in model.parameters())
    how = f"pooling {rule.pooling}, the first {rule.length} tokens of a text"
    lines = [f"{found.family} encoder: {parameters:,} parameters, {how}"]
    if not rule.normalized:
        lines.append("note: its vectors have lengths of their own; ours have length 1, and the same cosines")
    return [*lines, *(f"note: {line}" for line in found.report if not line.startswith("no ")), f"written: {out}"]


def export_sentence_folder(source: str | Path, out: str | Path, *, overwrite: bool = False) -> list[str]:
    """Write a run of the task ``retrieve`` as a folder that sentence-transformers opens with equal vectors.

    Raises BundleError for another task, or a body without a public twin.
    """
    predictor = load(bundle_folder(source))
    if not isinstance(getattr(predictor, "task", None), Retrieve):
        raise BundleError("is no encoder of texts", where=source, cure="fine-tune one with --task retrieve")
    task, model, tokenizer = predictor.task, predictor.model, predictor.tokenizer
    config = task.config
    pooling = model.heads[HEAD].settings()["pooling"]
    rule = SentenceRule(pooling, task.length, True, config.query_prefix, config.document_prefix)

    def beside(folder: Path) -> None:
        tokenizer.save(folder, segments=has_segments(model.arch))
        write_sentence_files(folder, rule, model.arch.width)

    save_hf(out, Model(model.body, {}), tokens=tokenizer.ends, also=beside, overwrite=overwrite)
    lines = []
    if config.long_texts == "windows":
        read = f"the first {task.length} only"
        lines.append(f"note: of texts over {task.length} tokens sentence-transformers reads {read}; "
                     "here their vector is the mean of all windows")  # fmt: skip
    return [*lines, f"written: {out}"]
