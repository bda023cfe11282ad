"""How vocabularies are learnt: the sample, the pipeline of each kind, the trainers of ``tokenizers``.

Pipelines are those of published models, so that every converter that knows the model knows the tokenizer:
wordpiece is BERT's, bpe is GPT's (Radford et al. 2018: BERT's splitting, ``</w>`` ends a word), byte-bpe is
GPT-2's, unigram is T5's. The post-processor is BERT's in all of them: [CLS] A [SEP] (B [SEP]).

The same text gives the same tokenizer, bit for bit, except for unigram: the library's trainer walks hash maps whose
order it draws anew in each process, and its scores then differ in the third digit. Who must repeat a unigram run
keeps the tokenizer's folder and gives it as ``tokenizer.path``.
"""

from __future__ import annotations

import json
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import numpy as np
import tokenizers
from tokenizers import Regex, decoders, models, normalizers, pre_tokenizers, processors, trainers

from wordloom.config import TokenizerConfig
from wordloom.errors import TokenizerError

SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]  # ids 0 to 4
_PIECE = 1 << 16  # characters; longer documents are sampled in pieces
# Share of the characters of the text that the alphabet must cover; the rest is [UNK]. SentencePiece uses
# 0.9995 for Chinese and 1.0 for small alphabets; this keeps rare symbols out of both at no visible loss.
_COVERAGE = 0.9998


class Sample(NamedTuple):
    texts: list[str]
    notes: tuple[str, ...]


def sample(texts: Iterable[str], megabytes: int) -> Sample:
    """An even, deterministic sample of at most ``megabytes`` million characters.

    Every k-th piece is kept, k = 1, 2, 4, ...: when the kept ones outgrow the limit, every other one is
    dropped and k doubles. One pass, memory bounded, no randomness, and the sample covers the whole stream.
    """
    limit, stride, kept_chars, total = megabytes * 1_000_000, 1, 0, 0
    kept: list[str] = []
    for seen, piece in enumerate(_pieces(texts)):
        total += len(piece)
        if seen % stride == 0:
            kept.append(piece)
            kept_chars += len(piece)
            while kept_chars > limit and len(kept) > 1:
                kept, stride = kept[::2], stride * 2
                kept_chars = sum(map(len, kept))
    if stride == 1:
        return Sample(kept, ())
    note = f"learnt from an even sample of {kept_chars / 1e6:,.0f} of {total / 1e6:,.0f} million characters"
    return Sample(kept, (note,))


def _pieces(texts: Iterable[str]) -> Iterator[str]:
    for text in texts:
        for at in range(0, len(text), _PIECE):
            piece = text[at : at + _PIECE]
            yield piece if piece.isascii() else piece.encode("utf-8", "replace").decode()


def train(texts: list[str], config: TokenizerConfig) -> tokenizers.Tokenizer:
    """Learn ``config.kind`` with at most ``config.vocab_size`` tokens, special tokens first."""
    assert isinstance(config.vocab_size, int)
    if config.vocab_size <= len(SPECIAL):
        raise TokenizerError(
            f"a vocabulary of {config.vocab_size} has no room beside its {len(SPECIAL)} special tokens",
            cure="choose a vocab_size of at least 100",
        )
    if not any(text.strip() for text in texts):
        raise TokenizerError("no text to learn a vocabulary from", cure="give a corpus that is not empty")
    backend, trainer = _parts(texts, config)
    if config.kind == "unigram":
        encode = backend.pre_tokenizer
        steps = [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace(), pre_tokenizers.Punctuation()]
        # Pieces never cross punctuation, as in SentencePiece's trainer, though the pipeline does not split there.
        backend.pre_tokenizer = pre_tokenizers.Sequence(steps)
    try:
        backend.train_from_iterator(texts, trainer, length=len(texts))
    except Exception as error:  # the library raises plain Exception
        raise TokenizerError(
            f"the {config.kind} trainer failed ({error})", cure="give more text or a smaller vocab_size"
        ) from None
    if config.kind == "unigram":
        backend.pre_tokenizer = encode
        # The library's JSON reader is not exact in the last bit of a float: six decimals survive save and load.
        scores = json.loads(backend.to_str())["model"]["vocab"]
        backend.model = models.Unigram([(piece, round(score, 6)) for piece, score in scores], unk_id=1)
    elif config.kind in ("wordpiece", "bpe"):
        description = json.loads(backend.to_str())  # second forms are special to the trainer only
        description["added_tokens"] = [t for t in description["added_tokens"] if t["content"] in SPECIAL]
        backend = tokenizers.Tokenizer.from_str(json.dumps(description))
    _finish(backend, {token: number for number, token in enumerate(SPECIAL)})
    return backend


def wordpiece_backend(
    vocabulary: dict[str, int],
    *,
    lowercase: bool,
    strip_accents: bool | None,
    chinese_characters: bool,
    special: list[str],
) -> tokenizers.Tokenizer:
    """BERT's pipeline over a given vocabulary; ``special`` are its pad, unknown, start, end and mask tokens."""
    backend = tokenizers.Tokenizer(models.WordPiece(vocabulary, unk_token=special[1], max_input_chars_per_word=100))
    _bert_pipeline(backend, lowercase, strip_accents, chinese_characters)
    backend.decoder = decoders.WordPiece(prefix="##")
    backend.add_special_tokens(special)
    _finish(backend, {token: vocabulary[token] for token in special})
    return backend


def _parts(texts: list[str], config: TokenizerConfig) -> tuple[tokenizers.Tokenizer, Any]:
    common: dict[str, Any] = {"vocab_size": config.vocab_size, "show_progress": False}
    if config.kind == "wordpiece":
        backend = tokenizers.Tokenizer(models.WordPiece(unk_token="[UNK]", max_input_chars_per_word=100))
        _bert_pipeline(backend, config.lowercase, config.strip_accents, True)
        backend.decoder = decoders.WordPiece(prefix="##")
        return backend, trainers.WordPieceTrainer(**common, **_fixed(_alphabet(backend, texts, config)))
    if config.kind == "bpe":
        backend = tokenizers.Tokenizer(models.BPE(unk_token="[UNK]", end_of_word_suffix="</w>"))
        _bert_pipeline(backend, config.lowercase, config.strip_accents, True)
        backend.decoder = decoders.BPEDecoder(suffix="</w>")
        fixed = _fixed(_alphabet(backend, texts, config))
        return backend, trainers.BpeTrainer(end_of_word_suffix="</w>", **common, **fixed)
    if config.kind == "byte-bpe":
        backend = tokenizers.Tokenizer(models.BPE(unk_token=None))
        backend.normalizer = normalizers.Lowercase() if config.lowercase else None
        backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        backend.decoder = decoders.ByteLevel()
        bytes_first = pre_tokenizers.ByteLevel.alphabet()  # all 256, so that no text is ever unknown
        return backend, trainers.BpeTrainer(initial_alphabet=bytes_first, special_tokens=SPECIAL, **common)
    backend = tokenizers.Tokenizer(models.Unigram())
    steps = [normalizers.NFKC(), *([normalizers.Lowercase()] if config.lowercase else [])]
    backend.normalizer = normalizers.Sequence([*steps, normalizers.Replace(Regex(r"\p{Cc}"), " ")])
    backend.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace()])
    backend.decoder = decoders.Metaspace()
    return backend, trainers.UnigramTrainer(unk_token="[UNK]", special_tokens=SPECIAL, **common)


def _fixed(alphabet: Alphabet) -> dict[str, Any]:
    """Trainer arguments that settle the ids of the alphabet: the second forms enter as special tokens (see train)."""
    return {
        "special_tokens": [*SPECIAL, *alphabet.forms],
        "initial_alphabet": alphabet.characters,
        "limit_alphabet": len(alphabet.characters),
    }


def _bert_pipeline(
    backend: tokenizers.Tokenizer, lowercase: bool, strip_accents: bool | None, chinese_characters: bool
) -> None:
    backend.normalizer = normalizers.BertNormalizer(
        clean_text=True, handle_chinese_chars=chinese_characters, strip_accents=strip_accents, lowercase=lowercase
    )
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()


def _finish(backend: tokenizers.Tokenizer, special: dict[str, int]) -> None:
    start, end = list(special)[2:4]
    template = processors.TemplateProcessing(
        single=f"{start}:0 $A:0 {end}:0",
        pair=f"{start}:0 $A:0 {end}:0 $B:1 {end}:1",
        special_tokens=[(start, special[start]), (end, special[end])],
    )
    byte_level = isinstance(backend.pre_tokenizer, pre_tokenizers.ByteLevel)
    # trim_offsets: the blank that a GPT-2 token carries in front is no part of its place in the text
    parts = [processors.ByteLevel(trim_offsets=True), template] if byte_level else [template]
    backend.post_processor = processors.Sequence(parts) if byte_level else template


class Alphabet(NamedTuple):
    """characters: those that enter the vocabulary, most frequent first. forms: their second tokens ("##x", "x</w>")."""

    characters: list[str]
    forms: list[str]


def _alphabet(backend: tokenizers.Tokenizer, texts: list[str], config: TokenizerConfig) -> Alphabet:
    """Enough characters for _COVERAGE of the text; with their second forms, at most four fifths of the vocabulary.

    Counted after normalisation, which works character by character, so that ties are cut by code point. The library
    alone would cut them, and number the second forms, in the order of a hash map that differs from run to run: the
    ids decide between pairs of equal frequency, so the same text would give another vocabulary each time.
    """
    assert isinstance(config.vocab_size, int)
    raw = np.zeros(0x110000, np.int64)
    for at in range(0, len(texts), 1000):
        codes = np.frombuffer("".join(texts[at : at + 1000]).encode("utf-32-le"), np.uint32)
        raw += np.bincount(codes, minlength=len(raw))
    counts: Counter[str] = Counter()
    for code in np.flatnonzero(raw):
        for character in backend.normalizer.normalize_str(chr(code)):
            if not character.isspace():
                counts[character] += int(raw[code])
    ordered = sorted(counts, key=lambda c: (-counts[c], c))
    bpe, split = config.kind == "bpe", backend.pre_tokenizer.pre_tokenize_str
    # in bpe every character can end a word; in wordpiece one that stands alone (a mark, a Chinese one) continues none
    second = [bpe or len(split(f"a{c}a")) == 1 for c in ordered]
    taken = len(SPECIAL) + np.cumsum(1 + np.array(second, np.int64))  # tokens that the first k characters need
    covered = np.cumsum([counts[c] for c in ordered]) / max(1, counts.total())
    needed = int(np.searchsorted(covered, _COVERAGE)) + 1
    room = int(np.searchsorted(taken, config.vocab_size * 4 // 5, side="right"))
    kept = ordered[: max(1, min(needed, room))]
    forms = [f"{c}</w>" if bpe else f"##{c}" for c, has in zip(kept, second, strict=False) if has]
    return Alphabet(kept, forms)


def is_mark(character: str) -> bool:
    """Punctuation as BERT's splitting sees it: all ASCII that is neither letter nor digit, and Unicode P*."""
    if not character:
        return False
    if character.isascii():
        return not character.isalnum() and character.isprintable() and character != " "
    return unicodedata.category(character).startswith("P")
