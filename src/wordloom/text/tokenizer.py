"""Text to token ids and back: the ``tokenizers`` library, trained here or read from a Hugging Face folder.

Text that looks like a special token ("[MASK]" typed by a person) becomes that special token, exactly as
``transformers`` does it by default, because ids identical to ``AutoTokenizer`` are worth more than a
different rule; the token store counts such tokens in its manifest, so it is never silent.
"""

from __future__ import annotations

import hashlib
import itertools
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import tokenizers
from numpy.typing import NDArray

from wordloom.config import TokenizerConfig
from wordloom.errors import TokenizerError
from wordloom.text import chinese, training
from wordloom.text.folders import open_folder

_SPELLINGS = {  # role -> spellings tried when a folder does not name its special tokens
    "pad_token": ("[PAD]", "<pad>"),
    "unk_token": ("[UNK]", "<unk>"),
    "cls_token": ("[CLS]", "<cls>", "<s>"),
    "sep_token": ("[SEP]", "<sep>", "</s>"),
    "mask_token": ("[MASK]", "<mask>"),
    "eos_token": ("<|endoftext|>",),
}
_ENDS = {  # the role itself, then what serves for it
    "bos_token": ("bos_token", "cls_token", "eos_token", "sep_token", "unk_token"),
    "eos_token": ("eos_token", "sep_token", "bos_token", "cls_token", "unk_token"),
}
_SENTINEL = "<extra_id_{}>"


class Encoded(NamedTuple):
    """One text of n tokens, without added special tokens.

    ids: (n,) int32. word_starts: (n,) bool, first token of a word. offsets: (n, 2) int32, start and end of
    the token in characters of the text.
    """

    ids: NDArray[np.int32]
    word_starts: NDArray[np.bool_]
    offsets: NDArray[np.int32]


class Tokenizer:
    """A ``tokenizers.Tokenizer`` with the facts the other rooms need.

    Attributes: vocab_size; roles ("pad_token" ... -> token: those that the vocabulary has, and always bos and eos, as
    config.json names these and public code asks the tokenizer's files for the same); special_ids (all ids that stand
    for no text, sorted); hash (sha256 of the canonical tokenizer.json); lowercase; kind ("wordpiece", "bpe",
    "byte-bpe", "unigram"); notes (what training had to say: sample size, a vocabulary that stayed smaller).
    Ids: cls_id and sep_id begin and end a document, bos_id and eos_id a text that is generated. Where a vocabulary has
    one of a pair, it serves for the other (GPT-2: all are <|endoftext|>); pad_id and unk_id fall back to the end.
    mask_id is None where there is no mask token: nothing else can stand for it.
    """

    def __init__(self, backend: tokenizers.Tokenizer, roles: dict[str, str] | None = None, notes: tuple[str, ...] = ()):
        backend.no_truncation()
        backend.no_padding()
        self.backend, self.notes = backend, notes
        self.description: dict[str, Any] = json.loads(backend.to_str())
        self.kind = _kind(self.description)
        self.lowercase = _lowercases(self.description["normalizer"])
        self.roles = _find_roles(backend, roles)
        self.vocab_size = backend.get_vocab_size(with_added_tokens=True)
        ids = {role: _id(backend, token) for role, token in self.roles.items()}
        self.bos_id, self.eos_id = ids["bos_token"], ids["eos_token"]
        self.cls_id, self.sep_id = ids.get("cls_token", self.bos_id), ids.get("sep_token", self.eos_id)
        self.pad_id, self.unk_id = ids.get("pad_token", self.eos_id), ids.get("unk_token", self.eos_id)
        self.mask_id: int | None = ids.get("mask_token")
        added = {t["id"] for t in self.description["added_tokens"] if t["special"]}
        self.special_ids = sorted(added | set(ids.values()))
        self.hash = _hash(self.description)
        self._starts, self._ends = _word_tables(self)

    @classmethod
    def train(cls, texts: Iterable[str], config: TokenizerConfig) -> Tokenizer:
        """Learn a vocabulary from one pass over ``texts``; see :mod:`wordloom.text.training` for the rules.

        Raises TokenizerError when the texts hold nothing to learn from.
        """
        sample = training.sample(texts, config.sample_mb)
        if config.vocab_size == "auto":
            from wordloom.text.quality import suggest_size  # quality trains tokenizers: it imports this module

            suggestion = suggest_size(sample.texts, config)
            trained = cls.train(sample.texts, config.model_copy(update={"vocab_size": suggestion.size}))
            trained.notes = (*sample.notes, *suggestion.lines()[-1:])
            return trained
        backend = training.train(sample.texts, config)
        tokenizer = cls(backend, notes=sample.notes)
        if tokenizer.vocab_size < config.vocab_size:
            tokenizer.notes += (
                f"vocabulary of {tokenizer.vocab_size:,} instead of {config.vocab_size:,}: the text holds no more",
            )
        return tokenizer

    @classmethod
    def load(cls, folder: str | Path) -> Tokenizer:
        """Read a folder written by :meth:`save` or a public one; see :mod:`wordloom.text.folders` for the kinds.

        Raises TokenizerError where there is no tokenizer, or one that cannot be read exactly.
        """
        return cls(*open_folder(Path(folder)))

    def save(self, folder: str | Path, *, segments: bool = True) -> Path:
        """Write tokenizer.json, tokenizer_config.json, special_tokens_map.json and, for WordPiece, vocab.txt.

        segments: whether the model tells the two texts of a pair apart by number; public code passes these numbers on,
        and GPT-2's would add a token's vector for each.
        """
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        self.backend.save(str(folder / "tokenizer.json"))
        # PreTrainedTokenizerFast is the class that takes tokenizer.json as it stands, whatever the model is
        settings: dict[str, Any] = {"tokenizer_class": "PreTrainedTokenizerFast", **self.roles}
        settings |= {"clean_up_tokenization_spaces": False, "model_max_length": int(1e30)}
        settings["model_input_names"] = ["input_ids", *(["token_type_ids"] if segments else []), "attention_mask"]
        normaliser = self.description["normalizer"] or {}
        framed = not self.sentinel_ids()  # BertTokenizer puts its own frame around a text
        if self.kind == "wordpiece" and normaliser.get("type") == "BertNormalizer" and framed:
            settings["tokenizer_class"] = "BertTokenizer"
            settings["do_lower_case"] = normaliser["lowercase"]
            settings["tokenize_chinese_chars"] = normaliser["handle_chinese_chars"]
            settings["strip_accents"] = normaliser["strip_accents"]
        if self.kind == "wordpiece":
            words = sorted((number, token) for token, number in self.backend.get_vocab().items())
            (folder / "vocab.txt").write_text(
                "".join(token + "\n" for _, token in words), encoding="utf-8", newline="\n"
            )
        _write_json(folder / "tokenizer_config.json", settings)
        _write_json(folder / "special_tokens_map.json", self.roles)
        return folder

    @property
    def ends(self) -> dict[str, int]:
        """Ids that a model's folder names: "bos", "eos", "pad"."""
        return {"bos": self.bos_id, "eos": self.eos_id, "pad": self.pad_id}

    def with_sentinels(self, count: int) -> Tokenizer:
        """This tokenizer with T5's <extra_id_0> .. above its vocabulary, number 0 last; itself where it has them.

        Texts then end with the separator and begin with nothing, as T5's do (Raffel et al. 2020, section 2.1).
        """
        if len(self.sentinel_ids()) >= count:
            return self
        backend = tokenizers.Tokenizer.from_str(self.backend.to_str())
        names = [_SENTINEL.format(i) for i in reversed(range(count))]
        backend.add_special_tokens([tokenizers.AddedToken(name, special=True, normalized=False) for name in names])
        sep = self.backend.id_to_token(self.sep_id)
        backend.post_processor = tokenizers.processors.TemplateProcessing(
            single=f"$A {sep}", pair=f"$A {sep} $B {sep}", special_tokens=[(sep, self.sep_id)]
        )
        return Tokenizer(backend, self.roles, self.notes)

    def sentinel_ids(self) -> list[int]:
        """Ids of <extra_id_0>, <extra_id_1>, ...: what stands for missing spans; none where it has no such tokens."""
        found = (self.backend.token_to_id(_SENTINEL.format(i)) for i in range(self.vocab_size))
        return [number for number in itertools.takewhile(lambda n: n is not None, found) if number is not None]

    def encode(self, texts: Sequence[str]) -> list[Encoded]:
        """Ids, word starts and character offsets; no special tokens added; an empty text gives n = 0."""
        encodings = self._library(texts, fast=False)
        return [self._encoded(text, e) for text, e in zip(texts, encodings, strict=True)]

    def encode_offsets(self, texts: Sequence[str]) -> list[tuple[NDArray[np.int32], NDArray[np.int32]]]:
        """(ids, offsets) as ``encode``, without word starts: in Chinese these need a segmenter, which takes longer."""
        encodings = self._library(texts, fast=False)
        return [(np.array(e.ids, np.int32), np.array(e.offsets, np.int32).reshape(-1, 2)) for e in encodings]

    def encode_ids(self, texts: Sequence[str]) -> list[NDArray[np.int32]]:
        """The ids alone: one (n,) int32 array a text."""
        return [np.array(e.ids, np.int32) for e in self._library(texts, fast=True)]

    def decode(self, ids: Sequence[int] | NDArray[Any]) -> str:
        """Text of the ids, special tokens left out."""
        return self.backend.decode([int(i) for i in ids], skip_special_tokens=True)

    def _library(self, texts: Sequence[str], *, fast: bool) -> list[tokenizers.Encoding]:
        encode = self.backend.encode_batch_fast if fast else self.backend.encode_batch
        try:
            return encode(list(texts), add_special_tokens=False)
        except (UnicodeEncodeError, TypeError):
            # half a surrogate pair (JSON may hold one) is no character: U+FFFD stands for it, offsets stay
            if not all(isinstance(text, str) for text in texts):
                raise TokenizerError("only strings can be encoded", cure="pass a list of str") from None
            return encode([replace_surrogates(text) for text in texts], add_special_tokens=False)

    def _encoded(self, text: str, encoding: tokenizers.Encoding) -> Encoded:
        ids = np.array(encoding.ids, np.int32)
        offsets = np.array(encoding.offsets, np.int32).reshape(-1, 2)
        if self._starts is None:
            words = np.array([-1 if w is None else w for w in encoding.word_ids], np.int32)
            starts = np.ones(len(ids), np.bool_)
            starts[1:] = (words[1:] != words[:-1]) | (words[1:] < 0)
        else:
            starts = self._starts[ids]
            if self._ends is not None:
                starts[1:] |= self._ends[ids[:-1]]
            starts[:1] = True
        if chinese.has_chinese(text):
            starts = _chinese_starts(text, starts, offsets)
        return Encoded(ids, starts, offsets)

    @property
    def start_table(self) -> NDArray[np.bool_] | None:
        """(vocab_size,) whether a token starts a word, where the id alone decides it (WordPiece); else None."""
        return self._starts if self._ends is None else None


def replace_surrogates(text: str) -> str:
    """Each lone surrogate becomes U+FFFD."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace") if not text.isascii() else text


def _chinese_starts(text: str, starts: NDArray[np.bool_], offsets: NDArray[np.int32]) -> NDArray[np.bool_]:
    """Word starts where the token before or the token itself is Chinese: the segmenter decides."""
    # one more place, for tokens of no width at the end
    is_han, continues = np.append(chinese.is_chinese(text), False), np.append(chinese.continues_word(text), False)
    first, last = offsets[:, 0], np.maximum(offsets[:, 1] - 1, offsets[:, 0])
    # SentencePiece-style marks may put a blank before the character into the token
    first = np.where((offsets[:, 1] > first + 1) & ~is_han[first] & (_spaces(text)[first]), first + 1, first)
    before_end = np.concatenate(([0], offsets[:-1, 1]))
    after_han = np.concatenate(([False], is_han[last[:-1]]))
    inside = first < before_end  # a further byte of the same character
    return np.where(is_han[first], ~continues[first] & ~inside, starts | (after_han & ~inside))


def _spaces(text: str) -> NDArray[np.bool_]:
    return np.fromiter((c.isspace() for c in text + "x"), np.bool_, len(text) + 1)


def _word_tables(tokenizer: Tokenizer) -> tuple[NDArray[np.bool_] | None, NDArray[np.bool_] | None]:
    """Per id: starts a word, ends a word (then the next token starts one). None, None: ask the library.

    WordPiece says it by the ## prefix. Unigram pieces follow white space only, so that punctuation, which
    BERT's splitting makes a word of its own, is separated here by its characters.
    """
    tokens = [tokenizer.backend.id_to_token(i) or "" for i in range(tokenizer.vocab_size)]
    if tokenizer.kind == "wordpiece":
        prefix = tokenizer.description["model"]["continuing_subword_prefix"]
        return np.array([not t.startswith(prefix) for t in tokens]), None
    if tokenizer.kind == "unigram":
        special = set(tokenizer.special_ids)
        starts = [i in special or t.startswith("▁") or training.is_mark(t[:1]) for i, t in enumerate(tokens)]
        ends = [i in special or training.is_mark(t[-1:]) for i, t in enumerate(tokens)]
        return np.array(starts), np.array(ends)
    return None, None


def _hash(description: dict[str, Any]) -> str:
    """sha256 of canonical JSON; Unigram scores at six decimals, as a save and load may change the last bit."""
    model = description["model"]
    if model["type"] == "Unigram":
        model = model | {"vocab": [[piece, round(score, 6)] for piece, score in model["vocab"]]}
    canonical = json.dumps(description | {"model": model}, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(canonical.encode()).hexdigest()


def _kind(description: dict[str, Any]) -> str:
    model = description["model"]["type"]
    if model == "BPE":
        return "byte-bpe" if '"ByteLevel"' in json.dumps(description["pre_tokenizer"]) else "bpe"
    if model in ("WordPiece", "Unigram"):
        return model.lower()
    raise TokenizerError(f"a {model} tokenizer", cure="use a WordPiece, BPE or Unigram tokenizer")


def _lowercases(normaliser: dict[str, Any] | None) -> bool:
    if normaliser is None:
        return False
    if normaliser["type"] == "Sequence":
        return any(_lowercases(part) for part in normaliser["normalizers"])
    return normaliser["type"] == "Lowercase" or bool(normaliser.get("lowercase", False))


def _find_roles(backend: tokenizers.Tokenizer, given: dict[str, str] | None) -> dict[str, str]:
    """given: what a folder says; where it says nothing of any role, the usual spellings are tried."""
    absent = [(role, token) for role, token in (given or {}).items() if backend.token_to_id(token) is None]
    if absent:
        role, token = absent[0]
        cure = "use a tokenizer whose vocabulary holds its own special tokens"
        raise TokenizerError(f"the vocabulary has no {role.replace('_', ' ')} ({token})", cure=cure)
    roles = dict(given or {})
    if not set(roles) & {"eos_token", "sep_token"}:
        for role, spellings in _SPELLINGS.items():
            known = [token for token in spellings if backend.token_to_id(token) is not None]
            if role not in roles and known:
                roles[role] = known[0]
    if not set(roles) & set(_ENDS["bos_token"]):
        cure = "use a tokenizer with a start or an end token, as BERT's or GPT-2's"
        raise TokenizerError("the vocabulary has no special token", cure=cure)
    ends = {role: next(roles[r] for r in order if r in roles) for role, order in _ENDS.items()}
    return roles | ends


def _id(backend: tokenizers.Tokenizer, token: str) -> int:
    number = backend.token_to_id(token)
    assert number is not None  # _find_roles has looked it up
    return number


def _write_json(path: Path, values: dict[str, Any]) -> None:
    path.write_text(json.dumps(values, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
