"""Ids of public folders equal transformers' AutoTokenizer on 2,000 varied lines, whatever files they consist of."""

from __future__ import annotations

import gzip
import importlib
import json
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tokenizers
from tokenizers import models, normalizers, pre_tokenizers, trainers

from wordloom.config import MaskedConfig
from wordloom.errors import TokenizerError, WordloomError
from wordloom.text.pieces import read_pieces
from wordloom.text.tokenizer import Tokenizer

transformers = pytest.importorskip("transformers")

WORDS = """
the and of data model token Vocabulary naïve café Ångström Straße façade coöperate HELLO world don't it's we'll
e-mail 3.14 1,000,000 x² ½ ﬁnance №5 ① ａｂｃ http://a.b/c?d=e&f user@host.org C++ #tag $9.99 50% ``quoted''
人工智能 的 发展 北京大学 中文分词 你好，世界！ 。「引号」 ㍿ 東京 カタカナ ひらがな 한국어 한 Привет мир
Ελληνικά עברית العربية हिन्दी ไทย Việt e\u0301 n\u0303 \u212b \u00ad soft\u00adhyphen
""".split()  # noqa: SIM905
SPECIAL = "</w> <s> </s> <mask> [MASK] [CLS] <pad> <unk> <|endoftext|> <extra_id_0> <sep> <cls>".split()  # noqa: SIM905
SPACES = ["\u200b", "\u200d", "\ufeff", "\u00a0", "\u3000", "\u2028", "\x00", "\x07", "\x1b[0m", "\t", "\r"]
ODD = ["😀", "👩‍👩‍👧", "🇩🇪", "👍🏽", "\ufffd", "\U0001f9ff", "\ue000", *"…—“”’▁Ġ", "##", *SPECIAL, *SPACES]


def varied_lines(count: int = 2000) -> list[str]:
    """A function of nothing: words of many scripts, odd characters, runs of spaces, and random code points."""
    rng = random.Random(20)
    lines = ["", " ", "  leading", "trailing  ", "a\nb", *ODD, *WORDS]
    while len(lines) < count:
        parts = []
        for _ in range(rng.randint(1, 14)):
            draw = rng.random()
            if draw < 0.72:
                word = rng.choice(WORDS)
                parts.append(word.upper() if rng.random() < 0.1 else word)
            elif draw < 0.9:
                parts.append(rng.choice(ODD))
            else:
                parts.append("".join(_character(rng) for _ in range(rng.randint(1, 4))))
        lines.append("".join(part + rng.choice(["", " ", " ", " ", "  ", ", "]) for part in parts))
    return lines


def _character(rng: random.Random) -> str:
    code = rng.choice([rng.randrange(32, 0x250), rng.randrange(0x4E00, 0x9FFF), rng.randrange(0x10000)])
    return chr(code) if not 0xD800 <= code < 0xE000 else "?"


LINES = varied_lines()


def agree(folder: Path) -> Tokenizer:
    theirs, ours = transformers.AutoTokenizer.from_pretrained(folder), Tokenizer.load(folder)
    expected = theirs(LINES, add_special_tokens=False)["input_ids"]
    found = [ids.tolist() for ids in ours.encode_ids(LINES)]
    assert [(a, b, c) for a, b, c in zip(LINES, expected, found, strict=True) if b != c][:3] == []
    framed = theirs(LINES[:300])["input_ids"]
    assert [e.ids for e in ours.backend.encode_batch(LINES[:300])] == framed  # what a saved bundle would give
    return ours


def write_merges(folder: Path, vocabulary: dict[str, int], merges: list[Any]) -> None:
    lines = [" ".join(merge) if not isinstance(merge, str) else merge for merge in merges]
    (folder / "vocab.json").write_text(json.dumps(vocabulary), encoding="utf-8")
    (folder / "merges.txt").write_text("#version: 0.2\n" + "\n".join(lines) + "\n", encoding="utf-8")


def trained(trainer: Any, model: Any, split: Any, normaliser: Any = None) -> dict[str, Any]:
    backend = tokenizers.Tokenizer(model)
    backend.pre_tokenizer = split
    if normaliser is not None:
        backend.normalizer = normaliser
    backend.train_from_iterator([" ".join(WORDS)], trainer)  # the lines then hold characters it does not know
    return json.loads(backend.to_str())["model"]


def bytes_folder(folder: Path, special: list[str], model_type: str) -> None:
    trainer = trainers.BpeTrainer(
        vocab_size=600,
        special_tokens=special,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    model = trained(trainer, models.BPE(), pre_tokenizers.ByteLevel(add_prefix_space=False))
    write_merges(folder, model["vocab"], model["merges"])
    (folder / "config.json").write_text(json.dumps({"model_type": model_type}))


def make_gpt2(folder: Path) -> None:
    bytes_folder(folder, ["<|endoftext|>"], "gpt2")


def make_gpt_neo(folder: Path) -> None:
    bytes_folder(folder, ["<|endoftext|>"], "gpt_neo")
    (folder / "tokenizer_config.json").write_text(
        json.dumps({"tokenizer_class": "GPT2Tokenizer", "add_prefix_space": True})
    )


def make_roberta(folder: Path) -> None:
    bytes_folder(folder, ["<s>", "<pad>", "</s>", "<unk>", "<mask>"], "roberta")
    mask = {"__type": "AddedToken", "content": "<mask>", "lstrip": True, "rstrip": False, "single_word": False}
    values = {"tokenizer_class": "RobertaTokenizer", "mask_token": {**mask, "normalized": False}}
    (folder / "tokenizer_config.json").write_text(json.dumps(values))


def make_gpt(folder: Path) -> None:
    trainer = trainers.BpeTrainer(
        vocab_size=900, special_tokens=["<unk>"], end_of_word_suffix="</w>", show_progress=False
    )
    model = models.BPE(unk_token="<unk>", end_of_word_suffix="</w>")
    found = trained(trainer, model, pre_tokenizers.BertPreTokenizer(), normalizers.BertNormalizer(lowercase=True))
    write_merges(folder, found["vocab"], found["merges"])
    (folder / "config.json").write_text(json.dumps({"model_type": "openai-gpt"}))


def make_bert(folder: Path) -> None:
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    trainer = trainers.WordPieceTrainer(vocab_size=800, special_tokens=special, show_progress=False)
    found = trained(trainer, models.WordPiece(unk_token="[UNK]"), pre_tokenizers.BertPreTokenizer())
    words = sorted(found["vocab"], key=found["vocab"].__getitem__)
    (folder / "vocab.txt").write_text("".join(word + "\n" for word in words), encoding="utf-8", newline="\n")
    (folder / "config.json").write_text(json.dumps({"model_type": "bert"}))
    (folder / "tokenizer_config.json").write_text(
        json.dumps({"tokenizer_class": "BertTokenizer", "do_lower_case": False})
    )


def protocol() -> Any:
    """The public protocol buffer classes that transformers reads: one process can hold no second copy of them."""
    pytest.importorskip("google.protobuf")
    return importlib.import_module("transformers.convert_slow_tokenizer").import_protobuf()


def write_pieces(path: Path, special: dict[str, int], unk_id: int) -> None:
    """A SentencePiece model through the public protocol buffer classes. special: piece -> its kind."""
    proto = protocol()
    trainer = trainers.UnigramTrainer(
        vocab_size=700, special_tokens=list(special), unk_token=list(special)[unk_id], show_progress=False
    )
    split = pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace()])
    found = trained(trainer, models.Unigram(), split)
    message = proto.ModelProto()
    for text, score in found["vocab"]:
        message.pieces.add(piece=text, score=score, type=special.get(text, 1))
    message.trainer_spec.model_type, message.trainer_spec.unk_id = 1, unk_id
    path.write_bytes(message.SerializeToString())


def make_xlnet(folder: Path) -> None:
    control = dict.fromkeys(["<s>", "</s>", "<cls>", "<sep>", "<pad>", "<mask>", "<eod>"], 3)
    write_pieces(folder / "spiece.model", {"<unk>": 2, **control, "<eop>": 4}, 0)
    (folder / "config.json").write_text(json.dumps({"model_type": "xlnet"}))


def make_albert(folder: Path) -> None:
    special = {"<pad>": 3, "<unk>": 2, "[CLS]": 3, "[SEP]": 3, "[MASK]": 4}
    write_pieces(folder / "spiece.model", special, 1)
    (folder / "config.json").write_text(json.dumps({"model_type": "albert"}))


def make_t5(folder: Path) -> None:
    write_pieces(folder / "spiece.model", {"<pad>": 3, "</s>": 3, "<unk>": 2}, 2)
    (folder / "config.json").write_text(json.dumps({"model_type": "t5"}))


MADE = [make_gpt2, make_gpt_neo, make_roberta, make_gpt, make_bert, make_xlnet, make_albert, make_t5]


@pytest.fixture
def without_sentencepiece(monkeypatch: pytest.MonkeyPatch) -> None:
    """transformers asks for the sentencepiece library but reads the file's protocol buffer, which needs none."""
    # a later import of the package's lazy attributes may leave a function of this name in the module's place
    convert = importlib.import_module("transformers.convert_slow_tokenizer")
    monkeypatch.setattr(convert, "requires_backends", lambda *args, **kwargs: None)


@pytest.mark.parametrize("make", MADE, ids=lambda make: make.__name__.removeprefix("make_"))
def test_made_folders(tmp_path: Path, make: Callable[[Path], None], without_sentencepiece: None) -> None:
    make(tmp_path)
    found = agree(tmp_path)
    found.save(tmp_path / "saved")
    again = Tokenizer.load(tmp_path / "saved")
    assert [a.tolist() for a in again.encode_ids(LINES)] == [a.tolist() for a in found.encode_ids(LINES)]
    assert (again.roles, again.special_ids, again.eos_id) == (found.roles, found.special_ids, found.eos_id)


@pytest.mark.parametrize(
    "name", ["bert-base-chinese", "bert-base-uncased", "roberta-base", "gpt2 by merges", "xlnet-zh"]
)
def test_real_folders(tmp_path: Path, name: str, without_sentencepiece: None, shared_data: Path) -> None:
    source = shared_data / "weights/tokenizers" / ("roberta-base" if name.startswith("gpt2") else name)
    kinds = {"x": "xlnet", "r": "roberta", "g": "gpt2", "b": "bert"}
    (tmp_path / "config.json").write_text(json.dumps({"model_type": kinds[name[0]]}))
    if name.startswith("bert"):
        shutil.copyfile(source / "vocab.txt", tmp_path / "vocab.txt")
        settings = {"tokenizer_class": "BertTokenizer", "do_lower_case": name.endswith("uncased")}
        (tmp_path / "tokenizer_config.json").write_text(json.dumps(settings))
    elif name.startswith("xlnet"):
        shutil.copyfile(source / "spiece.model", tmp_path / "spiece.model")
    else:
        values = json.loads(gzip.decompress((source / "tokenizer.json.gz").read_bytes()))
        if name.startswith("gpt2"):
            vocabulary = {**values["model"]["vocab"], "<|endoftext|>": len(values["model"]["vocab"])}
            write_merges(tmp_path, vocabulary, values["model"]["merges"])
        else:
            (tmp_path / "tokenizer.json").write_text(json.dumps(values))
    agree(tmp_path)


def test_one_special_token_has_every_role_but_the_mask(tmp_path: Path) -> None:
    make_gpt2(tmp_path)
    found = Tokenizer.load(tmp_path)
    end = found.backend.token_to_id("<|endoftext|>")
    assert {found.cls_id, found.sep_id, found.bos_id, found.eos_id, found.pad_id, found.unk_id} == {end}
    assert found.mask_id is None and found.special_ids == [end]
    from wordloom.api.objectives import make_objective

    with pytest.raises(WordloomError, match="no mask token"):
        make_objective(MaskedConfig(), found)


def test_trained_tokenizers_begin_and_end_with_their_own_tokens(tmp_path: Path) -> None:
    make_bert(tmp_path)
    found = Tokenizer.load(tmp_path)
    assert (found.bos_id, found.eos_id) == (found.cls_id, found.sep_id) == (2, 3) and found.mask_id == 4


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda f: (f / "merges.txt").write_text("#version: 0.2\nqqqq zzzz\n"), "vocab.json and merges.txt do not fit"),
        (lambda f: (f / "vocab.json").write_text("[1]"), "not a JSON object|do not fit"),
        (lambda f: (f / "vocab.json").write_text('{"a": 0}'), "do not fit|no special token"),
        (lambda f: (f / "merges.txt").unlink(), "no tokenizer.json, vocab.txt, vocab.json with merges.txt"),
        (lambda f: (f / "added_tokens.json").write_text('{"<new>": 5}'), "'<new>' has number"),
        (lambda f: (f / "tokenizer_config.json").write_text('{"eos_token": "<end>"}'), "no eos token"),
    ],
)
def test_damaged_merges_are_refused(tmp_path: Path, damage: Callable[[Path], object], message: str) -> None:
    make_gpt2(tmp_path)
    damage(tmp_path)
    with pytest.raises(TokenizerError, match=message) as caught:
        Tokenizer.load(tmp_path)
    assert caught.value.cure


@pytest.mark.parametrize("change", [lambda b: b[:-3], lambda b: b"\xff" * 40, lambda b: b"", lambda b: b"plain text"])
def test_damaged_pieces_are_refused(tmp_path: Path, change: Callable[[bytes], bytes]) -> None:
    make_xlnet(tmp_path)
    path = tmp_path / "spiece.model"
    assert read_pieces(path).pieces[0].text == "<unk>"
    path.write_bytes(change(path.read_bytes()))
    with pytest.raises(TokenizerError, match="SentencePiece model"):
        Tokenizer.load(tmp_path)


@pytest.mark.parametrize("make", [make_xlnet, make_albert, make_t5])
def test_pieces_that_fall_back_to_bytes_are_refused(tmp_path: Path, make: Callable[[Path], None]) -> None:
    """The library's unigram would give the unknown token where SentencePiece gives bytes."""
    proto = protocol()
    make(tmp_path)
    message = proto.ModelProto()
    message.ParseFromString((tmp_path / "spiece.model").read_bytes())
    message.trainer_spec.byte_fallback = True
    (tmp_path / "spiece.model").write_bytes(message.SerializeToString())
    with pytest.raises(TokenizerError, match="spells unknown characters in bytes"):
        Tokenizer.load(tmp_path)


def test_pieces_of_an_unknown_family_are_refused(tmp_path: Path) -> None:
    make_xlnet(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "llama"}))
    with pytest.raises(TokenizerError, match="which family"):
        Tokenizer.load(tmp_path)
