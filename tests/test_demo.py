"""The demo's corpus and task, on a small invented site-packages tree."""

from __future__ import annotations

import gzip
import json
import random
import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from wordloom.data.check import check
from wordloom.demo import Documentation, collect_documentation, write_demo
from wordloom.demo.documentation import shingle_hashes
from wordloom.demo.masking import Masker, prose
from wordloom.errors import DataError

PACKAGES = ("alphanum", "betagraph", "gammaplot", "deltatab", "epsilonml")
FEW_WORDS = (
    "array node colour column tree value index weight edge figure table sample the of and for with each over from"
)


def sentence(rng: random.Random, words: int = 24) -> str:
    return " ".join(rng.choice(FEW_WORDS.split()) for _ in range(words)) + "."


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five packages of 12 modules with 6 docstrings, and every kind of file that must not stop the reading."""
    root = tmp_path_factory.mktemp("site-packages-of-a-test")
    rng = random.Random(0)
    copied = sentence(rng, 30)
    for package in PACKAGES:
        (root / package).mkdir()
        for m in range(12):
            functions = [f'def f{k}(x):\n    """{sentence(rng)}"""\n' for k in range(4)]
            shared = f'def same(x):\n    """{copied}"""\n'
            own = (
                f'class Thing:\n    """{package} makes {package}.core.Thing for {sentence(rng)} See fourth-suite."""\n'
            )
            stop = "raise SystemExit('documentation is never imported')\n"
            (root / package / f"m{m}.py").write_text(stop + "\n".join([*functions, own, shared]), encoding="utf-8")
    alpha = root / "alphanum"
    (alpha / "broken.py").write_text("def f(:\n", encoding="utf-8")
    (alpha / "junk.py").write_bytes(b"\x00\xff\xfe\x00")
    (alpha / "latin.py").write_bytes(b'"""caf\xe9 without a coding line, and some more words to be long enough"""\n')
    (alpha / "short.py").write_text('"""Too short."""\n', encoding="utf-8")
    (alpha / "empty.py").write_text("", encoding="utf-8")
    (alpha / "chinese.py").write_text('"""' + "这是一个说明 " * 12 + '"""\n', encoding="utf-8")
    for folder in ("tests", "_vendor"):
        (alpha / folder).mkdir()
        (alpha / folder / "other.py").write_text(f'"""{sentence(rng)} vendored"""\n', encoding="utf-8")
    info = root / "fourth_suite-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: fourth-suite\nVersion: 1.0\n", encoding="utf-8")
    return root


@pytest.fixture(scope="module")
def found(site: Path) -> Documentation:
    return collect_documentation(1, [(site, None)])


def lines(path: Path) -> list[str]:
    return gzip.decompress(path.read_bytes()).decode().splitlines()


def rows(path: Path) -> list[dict[str, str]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


SMALL = {"labels": (10, 50), "test": 40, "classes": (4, 8)}


@pytest.mark.parametrize(
    ("raw", "masked"),
    [
        ("Uses torch.nn.functional.relu here", "Uses name here"),
        ("the read_csv function and __init__", "the name function and name"),
        ("a DataFrame or XMLParser object", "a name or name object"),
        ("call mean() on it", "call name() on it"),
        ("see :class:`~alphanum.core.Thing` and `x`", "see name and x"),
        ("AlphaNum's own alphanumeric text", "name's own name text"),
        ("with np and NumPy arrays", "with name and name arrays"),
        ("at https://example.org/alphanum?x=1 now", "at name now"),
        ("a betagraph-based, np-like thing", "a name thing"),
        ("since version 1.4.2, however", "since version name, however"),
        ("i.e. the end. Next and/or so", "i.e. the end. Next and/or so"),
        ("one, two, torch.a, torch.b and three", "one, two, name and three"),
    ],
)
def test_names_are_masked_and_language_is_kept(raw: str, masked: str) -> None:
    assert Masker({"alphanum", "betagraph", "np"})(raw) == masked


def test_prose_leaves_out_code_maths_and_directives() -> None:
    text = """First line
        goes on.

        Parameters
        ----------
        x : int
            The value.

        .. math::

            a^2 + b^2

        .. versionadded:: 1.4
        .. note:: kept no, but
            its body yes.

        For example::

            code(here)

        >>> print(1)
        1

        ```python
        more code
        ```
        | - | - |
        The end.
        """
    assert prose(text) == "First line goes on. Parameters x : int The value. its body yes. For example: The end."


def test_counts_every_file_and_docstring(found: Documentation) -> None:
    report = found.report
    assert report["files"] == 5 * 12 + 6
    assert report["unreadable_files"] == 3  # broken, junk, latin
    assert report["docstrings"] == 5 * 12 * 6 + 2
    assert report["dropped"] == {"short": 1, "mostly names": 0, "not English": 1, "copy": 59}
    assert report["kept"] == len(found.docs) == 5 * 12 * 5 + 1
    assert report["words"] == sum(len(d.text.split()) for d in found.docs)


def test_the_label_is_not_in_the_text(found: Documentation) -> None:
    assert {d.package for d in found.docs} == set(PACKAGES)
    said = " ".join(d.text.lower() for d in found.docs)
    assert not [p for p in (*PACKAGES, "fourth-suite", "thing") if p in said]
    assert "name makes name for" in said


def test_result_depends_on_the_files_alone(site: Path, found: Documentation, tmp_path: Path) -> None:
    """Other processes (with hash seeds of their own), another creation order: the same documents."""
    again = tmp_path / "again"
    again.mkdir()
    for entry in sorted(site.iterdir(), reverse=True):
        shutil.copytree(entry, again / entry.name)
    other = collect_documentation(2, [(again, None)])
    assert other.docs == found.docs


def test_a_text_covered_by_longer_ones_is_a_copy(tmp_path: Path) -> None:
    rng = random.Random(5)

    def made(count: int) -> list[str]:
        return ["".join(rng.choices("abcdefghijklmnop", k=6)) for _ in range(count)]

    long = made(60)
    half = long[10:40]
    near = [*long[:57], "changed", *long[58:]]
    other = made(30) + long[:12]
    folder = tmp_path / "pack"
    folder.mkdir()
    for name, words in (("a", half), ("b", long), ("c", near), ("d", other)):
        (folder / f"{name}.py").write_text(f'"""{" ".join(words)}"""\n', encoding="utf-8")
    kept = collect_documentation(1, [(tmp_path, None)]).docs
    assert len([d for d in kept if d.module in ("pack.b", "pack.c")]) == 1
    assert [d.module for d in kept if d.module in ("pack.a", "pack.d")] == ["pack.d"]


def test_shingles_fold_case_and_punctuation() -> None:
    a, b = shingle_hashes("One two, three four five six."), shingle_hashes("one TWO three (four) five six")
    assert len(a) == 2 and np.array_equal(a, b)
    assert not np.intersect1d(a, shingle_hashes("six five four three two one")).size


def test_no_module_is_on_two_sides_and_check_finds_no_leak(found: Documentation, tmp_path: Path) -> None:
    files = write_demo(tmp_path, found.docs, 0, **SMALL)
    module = {d.name: d.module for d in found.docs}
    text = {d.text: d.module for d in found.docs}
    sides = [{module[r["name"]] for r in rows(f)} for f in (files.train[50], files.test)]
    sides.append({text[t] for t in lines(files.corpus)})
    assert not sides[0] & sides[1] and not sides[0] & sides[2] and not sides[1] & sides[2]
    report = check(str(files.train[50]), against={"test": str(files.test)}, pretraining=str(files.corpus))
    assert report.count("leak") == report.count("near_leak") == 0
    leaky = tmp_path / "leaky.txt"
    leaky.write_text("\n".join([*lines(files.corpus), rows(files.test)[0]["text"]]) + "\n", encoding="utf-8")
    told = check(str(files.train[50]), against={"test": str(files.test)}, pretraining=str(leaky))
    assert told.count("leak") == 1


def test_sets_are_stratified_and_nested(found: Documentation, tmp_path: Path) -> None:
    files = write_demo(tmp_path, found.docs, 0, **SMALL)
    few, many, test = rows(files.train[10]), rows(files.train[50]), rows(files.test)
    assert (files.train[10].name, files.train[50].name) == ("train-10.jsonl", "train.jsonl")
    assert files.labels == sorted(PACKAGES)
    assert set(Counter(r["label"] for r in few).values()) == {2}
    assert set(Counter(r["label"] for r in many).values()) == {10}
    assert set(Counter(r["label"] for r in test).values()) == {8}
    assert {r["name"] for r in few} < {r["name"] for r in many}
    report = files.report
    total = report["corpus_documents"] + report["train_examples"] + report["test_examples"] + report["unused_documents"]
    assert total == len(found.docs)


def test_same_seed_same_bytes_other_seed_other_split(found: Documentation, tmp_path: Path) -> None:
    a, _, c = (write_demo(tmp_path / name, found.docs, seed, **SMALL) for name, seed in (("a", 0), ("b", 0), ("c", 1)))
    names = ("corpus.txt.gz", "train.jsonl", "train-10.jsonl", "test.jsonl")
    assert all((tmp_path / "a" / n).read_bytes() == (tmp_path / "b" / n).read_bytes() for n in names)
    assert {r["name"] for r in rows(a.test)} != {r["name"] for r in rows(c.test)}


def test_too_little_documentation_is_one_clear_sentence(found: Documentation, tmp_path: Path) -> None:
    with pytest.raises(
        DataError, match=r"at least 4 packages with 1425 usable docstrings each; the largest are: \w+ \d+"
    ):
        write_demo(tmp_path, found.docs)
    with pytest.raises(DataError, match="no documentation found"):
        collect_documentation(1, [(tmp_path, None)])
