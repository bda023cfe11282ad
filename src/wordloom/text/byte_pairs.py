"""A byte-level BPE tokenizer as plain lists: what programs need that carry GPT-2's tokenization in their own code."""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

from wordloom.errors import TokenizerError
from wordloom.text.tokenizer import Tokenizer

Kind = Literal["text", "special", "added", "unused"]
_PLAIN: dict[str, tuple[Any, ...]] = {  # what a BPE model may say without changing any id
    "dropout": (None, 0.0), "continuing_subword_prefix": (None, ""), "end_of_word_suffix": (None, ""),
    "byte_fallback": (False,), "ignore_merges": (False, None),
}  # fmt: skip


class BytePairs(NamedTuple):
    """tokens, kinds (V,): by id, bytes spelled in GPT-2's alphabet; "special" tokens stand for no text, "added" ones
    are cut out of a text before it is split, "unused" ids have no token. merges: in the order of their ranks."""

    tokens: list[str]
    kinds: list[Kind]
    merges: list[tuple[str, str]]


def byte_pairs(tokenizer: Tokenizer, size: int) -> BytePairs:
    """The tokenizer of a model with ``size`` >= vocab_size rows. Raises TokenizerError where its ids are not those of
    GPT-2's pipeline (Radford et al. 2019, section 2.2): bytes split by GPT-2's pattern, nothing else."""
    if tokenizer.kind != "byte-bpe":
        cure = 'pre-train with tokenizer.kind = "byte-bpe", as gpt2 presets do'
        raise TokenizerError(f"a {tokenizer.kind} tokenizer, not byte-level BPE", cure=cure)
    description = tokenizer.description
    if description["normalizer"] is not None:
        what = "the tokenizer changes a text before it splits it (lower case, for one)"
        raise TokenizerError(what, cure="pre-train with tokenizer.lowercase = false")
    if not _is_gpt2_splitting(description["pre_tokenizer"]):
        raise TokenizerError("the tokenizer splits texts by another rule than GPT-2's", cure="use GPT-2's tokenizer")
    model = description["model"]
    if odd := [key for key, plain in _PLAIN.items() if model.get(key, plain[0]) not in plain]:
        raise TokenizerError(f"the tokenizer's {', '.join(odd)} is not GPT-2's", cure="use GPT-2's tokenizer")
    special = set(tokenizer.special_ids)
    added = {token["id"] for token in description["added_tokens"]}
    tokens: list[str] = []
    kinds: list[Kind] = []
    for number in range(size):
        token = tokenizer.backend.id_to_token(number)
        tokens.append(f"[unused{number}]" if token is None else token)
        named: Kind = "special" if number in special else "added" if number in added else "text"
        kinds.append("unused" if token is None else named)
    return BytePairs(tokens, kinds, [_merge(pair) for pair in model["merges"]])


def _is_gpt2_splitting(rule: dict[str, Any] | None) -> bool:
    if rule is not None and rule["type"] == "Sequence" and len(rule["pretokenizers"]) == 1:
        rule = rule["pretokenizers"][0]
    plain = rule is not None and rule["type"] == "ByteLevel"
    return bool(plain and rule and not rule["add_prefix_space"] and rule.get("use_regex", True))


def _merge(pair: str | list[str]) -> tuple[str, str]:
    """Older files write "a b", newer ones ["a", "b"]; a blank is no letter of the alphabet."""
    first, second = pair.split(" ") if isinstance(pair, str) else pair
    return first, second
