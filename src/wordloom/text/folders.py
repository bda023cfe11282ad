"""Tokenizers of public folders: tokenizer.json, vocab.txt, vocab.json + merges.txt, SentencePiece ``.model``.

The pipeline of each kind (normaliser, splitting, special tokens) is that of transformers' class of that name, so that
ids are equal. Which kind it is, is said by tokenizer_config.json, else by config.json, else by the files themselves.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import tokenizers
from tokenizers import AddedToken, decoders, models, normalizers, pre_tokenizers, processors

from wordloom.errors import TokenizerError
from wordloom.text import training
from wordloom.text.pieces import CONTROL, UNIGRAM, USER_DEFINED, read_pieces

ROLES = ("pad_token", "unk_token", "cls_token", "sep_token", "mask_token", "bos_token", "eos_token")
Roles = Mapping[str, str]
_BERT = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]", "mask_token": "[MASK]"}
_ANGLES = {"pad_token": "<pad>", "unk_token": "<unk>", "mask_token": "<mask>", "bos_token": "<s>", "eos_token": "</s>"}
# kind -> the special tokens that its class has unless the folder names others
DEFAULTS: Mapping[str, Roles] = {
    "bert": _BERT,
    "gpt2": dict.fromkeys(("unk_token", "bos_token", "eos_token"), "<|endoftext|>"),
    "roberta": {**_ANGLES, "cls_token": "<s>", "sep_token": "</s>"},
    "openai-gpt": {"unk_token": "<unk>"},
    "xlnet": {**_ANGLES, "cls_token": "<cls>", "sep_token": "<sep>"},
    "albert": {**_BERT, "pad_token": "<pad>", "unk_token": "<unk>", "bos_token": "[CLS]", "eos_token": "[SEP]"},
    "t5": {"pad_token": "<pad>", "unk_token": "<unk>", "eos_token": "</s>"},
}
_CLASSES = {"Bert": "bert", "GPT2": "gpt2", "Roberta": "roberta", "OpenAIGPT": "openai-gpt", "XLNet": "xlnet",
            "Albert": "albert", "T5": "t5"}  # fmt: skip
_MODELS = {**{kind: kind for kind in DEFAULTS}, "gpt_neo": "gpt2"}
_PIECES = ("spiece.model", "sentencepiece.bpe.model", "tokenizer.model")
_AGAIN = "copy the folder again from where it was made"


def open_folder(folder: Path) -> tuple[tokenizers.Tokenizer, dict[str, str]]:
    """The library's tokenizer of a folder, and which token has which role, as far as the folder or its kind says.

    Raises TokenizerError where there is none, where it is damaged, or of a kind that cannot be read exactly.
    """
    settings = read_json(folder / "special_tokens_map.json") | read_json(folder / "tokenizer_config.json")
    kind = _kind(folder, settings)
    given = {role: content(settings[role]) for role in ROLES if settings.get(role)}
    roles = {**DEFAULTS.get(kind or "", {}), **given}
    if (folder / "tokenizer.json").is_file():
        backend = _from_json(folder / "tokenizer.json")
    elif (folder / "vocab.txt").is_file():
        return _from_vocabulary(folder / "vocab.txt", settings, {**_BERT, **given}), {**_BERT, **given}
    elif (folder / "vocab.json").is_file() and (folder / "merges.txt").is_file():
        kind = kind or _kind_of_merges(folder / "vocab.json")
        roles = {**DEFAULTS[kind], **given}
        backend = _from_merges(folder, kind, settings)
    elif path := next((folder / name for name in _PIECES if (folder / name).is_file()), None):
        if kind not in ("xlnet", "albert", "t5"):
            what = "which family these SentencePiece pieces belong to is not said"
            raise TokenizerError(
                what, where=path, cure="put config.json or tokenizer_config.json of xlnet, albert or t5 beside it"
            )
        backend = _from_pieces(path, kind, settings)
    else:
        raise TokenizerError(
            "no tokenizer.json, vocab.txt, vocab.json with merges.txt, or SentencePiece model",
            where=folder,
            cure="give the folder of a trained tokenizer",
        )
    if not (folder / "tokenizer.json").is_file():
        _add_special(backend, folder, settings, roles, kind or "")
        _frame(backend, kind or "", roles)
    return backend, {r: t for r, t in roles.items() if r in given or backend.token_to_id(t) is not None}


def _kind(folder: Path, settings: Mapping[str, Any]) -> str | None:
    name = settings.get("tokenizer_class")
    if name:  # PreTrainedTokenizerFast and the like have no tokens of their own
        return _CLASSES.get(str(name).removesuffix("Fast").removesuffix("Tokenizer"))
    return _MODELS.get(str(read_json(folder / "config.json").get("model_type")))


def _kind_of_merges(path: Path) -> str:
    vocabulary = read_json(path)
    if any(token.endswith("</w>") for token in vocabulary):
        return "openai-gpt"
    return "roberta" if "<mask>" in vocabulary else "gpt2"


def _from_json(path: Path) -> tokenizers.Tokenizer:
    try:
        return tokenizers.Tokenizer.from_file(str(path))
    except Exception as error:  # the library raises plain Exception
        raise TokenizerError(
            f"not a tokenizer the library can read ({error})",
            where=path,
            cure="copy the file again from where it was made",
        ) from None


def _from_vocabulary(path: Path, settings: Mapping[str, Any], roles: Roles) -> tokenizers.Tokenizer:
    """BERT's vocab.txt: a token a line, split on \\n alone (the Chinese vocabulary holds U+2028 and the like)."""
    try:
        lines = path.read_bytes().decode("utf-8").split("\n")
    except UnicodeDecodeError as error:
        raise TokenizerError(f"not UTF-8 text ({error})", where=path, cure="copy the file again") from None
    lines = lines[:-1] if lines[-1] == "" else lines
    vocabulary = {line.rstrip("\r"): number for number, line in enumerate(lines)}
    if len(vocabulary) < len(lines):
        raise TokenizerError("a token stands there twice", where=path, cure="give each token one line")
    special = [roles[role] for role in _BERT]
    missing = [token for token in special if token not in vocabulary]
    if missing:
        raise TokenizerError(f"no line {missing[0]!r}", where=path, cure="give the vocab.txt of a BERT tokenizer")
    return training.wordpiece_backend(
        vocabulary,
        lowercase=bool(settings.get("do_lower_case", True)),
        strip_accents=settings.get("strip_accents"),
        chinese_characters=bool(settings.get("tokenize_chinese_chars", True)),
        special=special,
    )


def _from_merges(folder: Path, kind: str, settings: Mapping[str, Any]) -> tokenizers.Tokenizer:
    """GPT-2's and RoBERTa's pairs of bytes, and GPT's pairs of characters with </w> at a word's end."""
    words = {"end_of_word_suffix": "</w>", "unk_token": "<unk>"} if kind == "openai-gpt" else {}
    try:
        model = models.BPE.from_file(str(folder / "vocab.json"), str(folder / "merges.txt"), **words)
    except Exception as error:  # the library raises plain Exception
        raise TokenizerError(f"vocab.json and merges.txt do not fit ({error})", where=folder, cure=_AGAIN) from None
    backend = tokenizers.Tokenizer(model)
    if kind == "openai-gpt":
        backend.normalizer = normalizers.BertNormalizer(lowercase=True)
        backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
        backend.decoder = decoders.BPEDecoder(suffix="</w>")
        return backend
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=bool(settings.get("add_prefix_space", False)))
    backend.decoder = decoders.ByteLevel()
    return backend


def _from_pieces(path: Path, kind: str, settings: Mapping[str, Any]) -> tokenizers.Tokenizer:
    """XLNet's, ALBERT's and T5's unigram pieces over words cut at white space."""
    found = read_pieces(path)
    if found.kind != UNIGRAM:
        cure = "use the folder's tokenizer.json"
        raise TokenizerError("a SentencePiece model that is not of the unigram kind", where=path, cure=cure)
    if found.byte_fallback:  # no class of these kinds spells unknown characters in bytes
        cure = "use the folder's tokenizer.json"
        raise TokenizerError("a SentencePiece model that spells unknown characters in bytes", where=path, cure=cure)
    pieces = [(piece.text, piece.score) for piece in found.pieces]
    if kind == "t5":
        extra = settings.get("extra_ids", 100)
        pieces += [(f"<extra_id_{i}>", 0.0) for i in range(extra - 1, -1, -1)]
    unk_id = {"albert": 1, "t5": 2}.get(kind, found.unk_id)
    backend = tokenizers.Tokenizer(models.Unigram(pieces, unk_id=unk_id, byte_fallback=False))
    steps: list[Any] = []
    if kind != "t5":
        steps += [normalizers.Replace("``", '"'), normalizers.Replace("''", '"')]
        if kind == "xlnet" or not settings.get("keep_accents", False):
            steps += [normalizers.NFKD(), normalizers.StripAccents()]
        if settings.get("do_lower_case", kind == "albert"):
            steps.append(normalizers.Lowercase())
    if found.charsmap:
        steps.append(normalizers.Precompiled(found.charsmap))
    backend.normalizer = normalizers.Sequence(steps)
    scheme = "always" if settings.get("add_prefix_space", True) else "never"
    backend.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace(prepend_scheme=scheme)]
    )
    backend.decoder = decoders.Metaspace(prepend_scheme=scheme)
    backend.add_tokens(
        [
            AddedToken(piece.text, normalized=False, special=piece.kind == CONTROL)
            for piece in found.pieces
            if piece.kind in (CONTROL, USER_DEFINED)
        ]
    )
    if kind == "t5":
        backend.add_special_tokens([f"<extra_id_{i}>" for i in range(settings.get("extra_ids", 100))])
    return backend


def _add_special(
    backend: tokenizers.Tokenizer, folder: Path, settings: Mapping[str, Any], roles: Roles, kind: str
) -> None:
    """Tokens that are cut out of a text before anything else: those with a role, those that the folder lists."""
    listed = {str(number): token for token, number in read_json(folder / "added_tokens.json").items()}
    listed |= settings.get("added_tokens_decoder") or {}
    for number, token in sorted(listed.items(), key=lambda row: int(row[0])):
        backend.add_tokens([_added(token, special=isinstance(token, dict) and bool(token.get("special")))])
        if backend.token_to_id(content(token)) != int(number):
            what = f"the added token {content(token)!r} has number {backend.token_to_id(content(token))}, not {number}"
            raise TokenizerError(what, where=folder, cure=_AGAIN)
    for role, text in roles.items():
        if backend.token_to_id(text) is not None:
            given = settings.get(role) if settings.get(role) else text
            ahead = role == "mask_token" and kind == "xlnet"  # its mask takes the white space before it
            backend.add_tokens([_added(given, special=True, lstrip=ahead)])


def _added(token: Any, *, special: bool, lstrip: bool = False) -> AddedToken:
    if not isinstance(token, dict):
        return AddedToken(str(token), special=special, lstrip=lstrip, normalized=not special)
    flags = {k: bool(token[k]) for k in ("lstrip", "rstrip", "single_word", "normalized") if k in token}
    return AddedToken(content(token), special=special, **flags)


# kind -> (around a text, around two, the roles these name), numbers after a colon are of segments
_FRAMES: Mapping[str, tuple[str, str, tuple[str, ...]]] = {
    "xlnet": (
        "$A:0 {sep_token}:0 {cls_token}:2",
        "$A:0 {sep_token}:0 $B:1 {sep_token}:1 {cls_token}:2",
        ("sep_token", "cls_token"),
    ),
    "albert": (
        "{cls_token}:0 $A:0 {sep_token}:0",
        "{cls_token}:0 $A:0 {sep_token}:0 $B:1 {sep_token}:1",
        ("cls_token", "sep_token"),
    ),
    "t5": ("$A {eos_token}", "$A {eos_token} $B {eos_token}", ("eos_token",)),
}


def _frame(backend: tokenizers.Tokenizer, kind: str, roles: Roles) -> None:
    """What the kind puts around a text and between two, where its vocabulary has these tokens."""
    number = {role: backend.token_to_id(token) for role, token in roles.items()}
    cls, sep = number.get("cls_token"), number.get("sep_token")
    if kind == "roberta" and cls is not None and sep is not None:
        ends = (roles["sep_token"], sep), (roles["cls_token"], cls)
        backend.post_processor = processors.RobertaProcessing(*ends, True, False)
    elif kind in _FRAMES:
        single, double, needed = _FRAMES[kind]
        found = [(roles[role], at) for role in needed if (at := number.get(role)) is not None]
        if len(found) == len(needed):
            backend.post_processor = processors.TemplateProcessing(
                single=single.format(**roles), pair=double.format(**roles), special_tokens=found
            )


def content(token: str | dict[str, Any]) -> str:
    """The text of a special token, which a folder writes alone or with its flags."""
    return str(token["content"]) if isinstance(token, dict) else str(token)


def read_json(path: Path) -> dict[str, Any]:
    """An object; {} where there is no file. Raises TokenizerError for anything else."""
    if not path.is_file():
        return {}
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, OSError) as error:
        raise TokenizerError(f"not readable JSON ({error})", where=path, cure="copy the file again") from None
    if not isinstance(values, dict):
        raise TokenizerError("not a JSON object", where=path, cure="copy the file again")
    return values
