"""The demo's corpus: English documentation that is already on the machine, and a task made from it.

Docstrings of the standard library and of installed packages are read from source with ``ast`` (nothing is
imported), cleaned, and stripped of names. The task "which package does this documentation belong to?" is
about language only when the text no longer says the answer, so everything that looks like an identifier, an
import path, an address, a package or a distribution becomes the word ``name``. Pre-training reads the same
masked text: the vocabulary then fits the task, and no row of it is spent on names the task never shows.

Splits are by module (source file): a module that gives a test example gives nothing to training or
pre-training. Copies are removed before splitting, over everything: a text whose set of 5-word shingles is
covered to 50 % or more by longer texts goes. Containment is stricter than the Jaccard similarity of MinHash
(containment >= Jaccard) and also finds a short text quoted inside a long one.

Everything is a function of the seed and of the installed files: paths are sorted, no hash seed is used.
"""

from __future__ import annotations

import ast
import gc
import importlib.metadata
import inspect
import json
import multiprocessing
import random
import re
import sysconfig
import time
import warnings
import zlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from wordloom.errors import DataError

NAME = "name"  # what a masked identifier becomes
STDLIB = "python"  # label of the standard library
MIN_WORDS, MIN_WORDS_LABELLED = 8, 15
SHINGLE, COVERED = 5, 0.5
MAX_FILE_BYTES = 2_000_000  # above this a source file is generated tables
PER_MODULE = 20  # labelled examples of one module, so that no large file is a class by itself
# Not a package's own documentation: tests, and copies of other packages.
SKIPPED_FOLDERS = frozenset(
    "tests test testing _vendor _vendored vendored externals extern thirdparty third_party "
    "site-packages dist-packages __pycache__ idlelib lib2to3 turtledemo".split()
)
# Short names that every reader takes for a package; longer ones are found from what is installed.
ALIASES = frozenset("np pd plt nx tf mpl scikit huggingface pytorch cpython pep peps".split())


@dataclass(frozen=True)
class Doc:
    """One cleaned, masked docstring: one line of text."""

    text: str
    package: str  # top-level import name, or "python" for the standard library
    module: str  # dotted module: the unit of splitting
    name: str  # dotted name of what is documented


@dataclass(frozen=True)
class Documentation:
    docs: list[Doc]
    report: dict[str, Any] = field(default_factory=dict)  # counts: files, kept, dropped by reason, words, seconds


@dataclass(frozen=True)
class DemoFiles:
    """What ``write_demo`` wrote. ``train`` maps a number of labels to its file; smaller ones are subsets."""

    corpus: Path
    train: dict[int, Path]
    test: Path
    labels: list[str]
    report: dict[str, Any]


# ------------------------------------------------------------------------------------------------ reading


def collect_documentation(workers: int = 2, roots: Sequence[tuple[Path, str | None]] | None = None) -> Documentation:
    """Docstrings of every package under ``roots``, without copies, sorted by name.

    roots: (folder, label) pairs; label None: each top-level package is its own label. Absent: the standard
        library and site-packages of the running interpreter.
    Raises DataError when no documentation is found.
    """
    began = time.perf_counter()
    roots = _installed() if roots is None else roots
    files = [f for root, label in roots for f in _sources(Path(root), label)]
    mask = _names_of([Path(root) for root, label in roots if label is None], {f[1] for f in files})
    jobs = [(files[i : i + 100], mask) for i in range(0, len(files), 100)]
    counts: Counter[str] = Counter()
    found: list[Doc] = []
    shingles: list[np.ndarray] = []
    for docs, hashes, part in _map(_read_files, jobs, workers):
        found += docs
        shingles += hashes
        counts.update(part)
    if not found:
        where = ", ".join(str(root) for root, _ in roots)
        raise DataError("no documentation found", where=where, cure="install packages that carry Python sources")
    docs = _without_copies(found, shingles, counts)
    report = {
        "files": len(files),
        "unreadable_files": counts["unreadable"],
        "docstrings": counts["docstrings"],
        "kept": len(docs),
        "dropped": {k: counts[k] for k in ("short", "mostly names", "not English", "copy")},
        "words": sum(d.text.count(" ") + 1 for d in docs),
        "packages": len({d.package for d in docs}),
        "seconds": round(time.perf_counter() - began, 2),
    }
    return Documentation(docs, report)


def _installed() -> list[tuple[Path, str | None]]:
    paths = sysconfig.get_paths()
    sites = {Path(paths[k]).resolve() for k in ("purelib", "platlib")}
    return [(Path(paths["stdlib"]).resolve(), STDLIB), *((p, None) for p in sorted(sites))]


def _sources(root: Path, label: str | None) -> list[tuple[str, str, str]]:
    """(path, package, module) of every source file under root, sorted."""
    found = []
    for folder, folders, names in root.walk() if hasattr(root, "walk") else _walk(root):
        folders[:] = sorted(f for f in folders if f not in SKIPPED_FOLDERS and f.isidentifier())
        for name in sorted(names):
            if name.endswith(".py"):
                path = folder / name
                module = ".".join(path.relative_to(root).with_suffix("").parts).removesuffix(".__init__")
                package = label or module.partition(".")[0]
                if package != "wordloom":
                    found.append((str(path), package, module))
    return sorted(found, key=lambda f: f[2])


def _walk(root: Path) -> Iterator[tuple[Path, list[str], list[str]]]:
    import os  # Path.walk is there from Python 3.12

    for folder, folders, names in os.walk(root):
        yield Path(folder), folders, names


def _map(function: Any, jobs: list[Any], workers: int) -> Iterable[Any]:
    """Results in the order of jobs. Fresh processes (spawn): a fork of a process that holds torch's threads may hang."""
    if workers <= 1 or len(jobs) < 2:
        yield from map(function, jobs)
        return
    with ProcessPoolExecutor(min(workers, len(jobs)), mp_context=multiprocessing.get_context("spawn")) as pool:
        yield from pool.map(function, jobs, chunksize=2)


def _read_files(job: tuple[list[tuple[str, str, str]], frozenset[str]]) -> tuple[list[Doc], list[np.ndarray], Counter]:
    files, names = job
    masker = Masker(names)
    docs: list[Doc] = []
    hashes: list[np.ndarray] = []
    counts: Counter[str] = Counter()
    collecting = gc.isenabled()
    gc.disable()  # syntax trees are freed by reference counts alone; parsing is 15 % faster
    try:
        for path, package, module in files:
            texts = _docstrings(path, counts)
            for name, raw in texts:
                counts["docstrings"] += 1
                text = masker(prose(raw))
                reason = _refuse(text)
                if reason:
                    counts[reason] += 1
                    continue
                docs.append(Doc(text, package, module, f"{module}.{name}".rstrip(".")))
                hashes.append(shingle_hashes(text))
    finally:
        if collecting:
            gc.enable()
    return docs, hashes, counts


def _docstrings(path: str, counts: Counter[str]) -> list[tuple[str, str]]:
    """(qualified name in the module, docstring); a file that cannot be read or parsed is counted."""
    try:
        with open(path, "rb") as file:
            source = file.read(MAX_FILE_BYTES + 1)
        if len(source) > MAX_FILE_BYTES:
            counts["unreadable"] += 1
            return []
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # invalid escapes in other people's sources
            tree = ast.parse(source)
        return list(_documented(tree, ""))
    except (OSError, SyntaxError, ValueError, RecursionError, MemoryError):
        counts["unreadable"] += 1
        return []


def _documented(node: Any, name: str) -> Iterator[tuple[str, str]]:
    """Docstrings of modules, classes, functions and methods, also under if and try, not inside functions."""
    first = node.body[0] if node.body and not isinstance(node, (ast.If, ast.Try)) else None
    if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant) and isinstance(first.value.value, str):
        yield name, first.value.value
    for child in node.body:
        if isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef)):
            text = ast.get_docstring(child, clean=False)
            if text:
                yield f"{name}.{child.name}".lstrip("."), text
        elif isinstance(child, ast.ClassDef):
            yield from _documented(child, f"{name}.{child.name}".lstrip("."))
        elif isinstance(child, (ast.If, ast.Try)):
            yield from _documented(child, name)


# ----------------------------------------------------------------------------------- cleaning and masking

_DIRECTIVE = re.compile(r"\s*\.\. ?([\w:-]*?)::")
_DIRECTIVES_OF_PROSE = frozenset("note warning tip important caution hint attention danger admonition seealso".split())
_LETTERS = re.compile(r"[^\W\d_]")


def prose(docstring: str) -> str:
    """The sentences of a docstring on one line: no doctests, code or maths blocks, directives, rulers or tables."""
    kept: list[str] = []
    block = -1  # indent of the line that opened a block to leave out; -1: none
    doctest = fenced = False
    for line in inspect.cleandoc(docstring).split("\n"):
        bare = line.strip()
        indent = len(line) - len(line.lstrip())
        if bare.startswith("```"):
            fenced = not fenced
            continue
        if not bare:
            doctest = False
            continue
        if block >= 0 and indent <= block:
            block = -1
        doctest = doctest or bare.startswith((">>>", "In ["))  # its output runs to the next empty line
        if fenced or doctest or block >= 0:
            continue
        directive = _DIRECTIVE.match(line)
        if directive:
            block = -1 if directive[1] in _DIRECTIVES_OF_PROSE else indent
            continue
        if bare.startswith((".. _", ".. [", ":orphan:", "@")):  # link targets, references
            continue
        if bare.endswith("::"):
            block = indent
        if len(_LETTERS.findall(bare)) * 2 > len(bare):
            kept.append(bare)
    return " ".join(kept)


_CODE = re.compile(
    r"""https?://[^\s)>\]]+|www\.[^\s)>\]]+|[\w.+-]+@[\w-]+\.\w+ # addresses
    |<[^>]+>                                     # targets of links, tags
    |[A-Za-z_]\w+(?:\.\w+)+(?:\(\))?             # import paths, files, attributes
    |(?:\.{0,2}/)?\w+(?:/\w+){2,}                # paths
    |\w*_\w*                                     # snake_case, dunders
    |\w*[a-z0-9][A-Z]\w*                         # camelCase, CamelCase
    |[A-Z]{2,}[a-z]{2,}\w*                       # XMLParser
    |\w+(?=\()                                   # calls
    |(?<!\S)--?[A-Za-z][\w-]+                     # command-line options
    |\w*\d+\.\d+\w*(?:\.\w+)*                  # versions, decimals
    """,
    re.VERBOSE,
)
_ROLE = re.compile(r":[a-z][\w:]*:(?=`)")  # :class:`x`
_NAMES = re.compile(rf"(?<![\w-]){NAME}(?:[\s.:/(),-]*[\s.:/(-]{NAME}(?![\w-]))+")


class Masker:
    """Replaces what names a package or a piece of code by ``NAME``; a list of names becomes one.

    names: lower-case import and distribution names; those of five letters or more also inside a word
        ("torchscript"), shorter ones as whole words only.

    Works on one white-space token at a time and remembers it: words repeat, and a cache makes a regular
    expression of ten alternatives affordable.
    """

    def __init__(self, names: Iterable[str]):
        self._inside = sorted(n for n in names if len(n) >= 5)
        self._whole = frozenset(n for n in names if len(n) < 5)
        self._known: dict[str, str] = {}

    def __call__(self, text: str) -> str:
        known = self._known
        tokens = [known[t] if t in known else known.setdefault(t, self._token(t)) for t in text.split()]
        return _NAMES.sub(NAME, " ".join(t for t in tokens if t))

    def _token(self, token: str) -> str:
        token = _CODE.sub("\0", _ROLE.sub("", token))
        token = re.sub(r"[\w-]+", lambda m: "\0" if self._is_package(m[0].lower()) else m[0], token)
        token = re.sub(r"[`*~|]+", "", token)
        return re.sub(r"\w*\0[\w\0]*", NAME, token)

    def _is_package(self, word: str) -> bool:
        return any(part in self._whole for part in word.split("-")) or any(n in word for n in self._inside)


def _names_of(sites: list[Path], packages: set[str]) -> frozenset[str]:
    """Names that would give a label away: packages read, distributions installed, common short names."""
    names = set(packages) | ALIASES
    for distribution in importlib.metadata.distributions(path=[str(p) for p in sites]):
        name = distribution.metadata["Name"]
        if name:
            names |= {name, name.replace("-", "_")}
    return frozenset(n.lower() for n in names if len(n) > 1)


def _refuse(text: str) -> str | None:
    words = text.split()
    if len(words) < MIN_WORDS:
        return "short"
    if sum(w.strip(".,:;()") == NAME for w in words) * 5 > 2 * len(words):
        return "mostly names"
    if len(text.encode()) > 1.1 * len(text):
        return "not English"
    return None


# ------------------------------------------------------------------------------------------------- copies


def shingle_hashes(text: str) -> np.ndarray:
    """Distinct 64-bit hashes (S,) of the runs of SHINGLE words, case and punctuation folded."""
    words = re.findall(r"[^\W_]+", text.lower())
    codes = np.array([zlib.crc32(w.encode()) for w in words] or [0], dtype=np.uint64)
    if len(codes) < SHINGLE:
        codes = np.pad(codes, (0, SHINGLE - len(codes)))
    hashed = np.zeros(len(codes) - SHINGLE + 1, dtype=np.uint64)
    for k in range(SHINGLE):  # a polynomial in an odd multiplier, modulo 2^64, then mixed
        hashed = hashed * np.uint64(0x9E3779B97F4A7C15) + codes[k : k + len(hashed)]
    hashed ^= hashed >> np.uint64(29)
    return np.unique(hashed * np.uint64(0xBF58476D1CE4E5B9))


def _without_copies(docs: list[Doc], shingles: list[np.ndarray], counts: Counter[str]) -> list[Doc]:
    """Longest first, a text is left out when COVERED or more of its shingles stand in a longer one.

    A shingle belongs to the first text that has it, kept or not, so the result needs one sort and no loop.
    """
    order = sorted(range(len(docs)), key=lambda i: (-len(docs[i].text), docs[i].text, docs[i].name))
    owner = np.repeat(np.arange(len(order)), [len(shingles[i]) for i in order])
    _, first, inverse = np.unique(np.concatenate([shingles[i] for i in order]), return_index=True, return_inverse=True)
    seen = owner[first][inverse] < owner
    covered = np.bincount(owner, weights=seen, minlength=len(order)) / np.bincount(owner, minlength=len(order))
    kept = [docs[i] for i, share in zip(order, covered, strict=True) if share < COVERED]
    counts["copy"] += len(docs) - len(kept)
    return sorted(kept, key=lambda d: (d.package, d.name, d.text))


# --------------------------------------------------------------------------------------------------- task


def write_demo(
    folder: str | Path,
    documentation: Documentation,
    seed: int = 0,
    labels: Sequence[int] = (200, 2000),
    test: int = 1800,
    classes: tuple[int, int] = (4, 12),
) -> DemoFiles:
    """Write corpus.txt (a document a line, unlabelled), train-N.jsonl for each N of ``labels``, test.jsonl.

    labels: training examples; each set is stratified and part of the larger ones. test: test examples.
    classes: least and most packages; the most that fill their share are taken, largest first.
    Raises DataError when fewer than ``classes[0]`` packages have enough documentation.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    by_module = _by_module(documentation.docs)
    chosen = _choose(by_module, max(labels) + test, classes)
    train: list[list[Doc]] = []
    held_out: list[list[Doc]] = []
    taken: set[tuple[str, str]] = set()
    for k, package in enumerate(chosen):
        modules = sorted(by_module[package])
        random.Random(f"{seed} {package}").shuffle(modules)
        queue = iter(modules)
        held_out.append(_draw(by_module[package], queue, _share(test, k, len(chosen)), taken))
        train.append(_draw(by_module[package], queue, _share(max(labels), k, len(chosen)), taken))
    rng = random.Random(f"{seed} order")
    corpus = [d.text for d in documentation.docs if (d.package, d.module) not in taken]
    rng.shuffle(corpus)
    (folder / "corpus.txt").write_text("\n".join(corpus) + "\n", encoding="utf-8", newline="\n")
    files = {n: _write_examples(folder / f"train-{n}.jsonl", train, n, rng) for n in sorted(labels)}
    report = {
        "corpus_documents": len(corpus),
        "corpus_words": sum(t.count(" ") + 1 for t in corpus),
        "train_examples": max(labels),
        "test_examples": test,
        "held_out_modules": len(taken),
        "unused_documents": len(documentation.docs) - len(corpus) - max(labels) - test,
    }
    test_file = _write_examples(folder / "test.jsonl", held_out, test, rng)
    return DemoFiles(folder / "corpus.txt", files, test_file, list(chosen), report)


def _by_module(docs: list[Doc]) -> dict[str, dict[str, list[Doc]]]:
    """package -> module -> documents long enough to be labelled."""
    grouped: dict[str, dict[str, list[Doc]]] = defaultdict(lambda: defaultdict(list))
    for doc in docs:
        if doc.text.count(" ") + 1 >= MIN_WORDS_LABELLED:
            grouped[doc.package][doc.module].append(doc)
    return grouped


def _choose(by_module: dict[str, dict[str, list[Doc]]], examples: int, classes: tuple[int, int]) -> list[str]:
    """The largest packages, as many as can each give examples / C from two thirds of their supply."""
    supply = {p: sum(min(len(d), PER_MODULE) for d in m.values()) for p, m in by_module.items()}
    largest = sorted(supply, key=lambda p: (-supply[p], p))
    for count in range(min(classes[1], len(largest)), classes[0] - 1, -1):
        if 2 * supply[largest[count - 1]] >= 3 * -(-examples // count):
            return sorted(largest[:count])
    have = ", ".join(f"{p} {supply[p]}" for p in largest[:6]) or "none"
    raise DataError(
        f"the demo's task needs at least {classes[0]} packages with {-(-3 * examples // (2 * classes[0]))} usable "
        f"docstrings each; the largest are: {have}",
        cure="install more packages beside wordloom, or ask for fewer labels",
    )


def _share(total: int, k: int, count: int) -> int:
    """The k-th of ``count`` parts of total, sizes differing by one at most."""
    return total * (k + 1) // count - total * k // count


def _draw(modules: dict[str, list[Doc]], queue: Iterator[str], wanted: int, taken: set[tuple[str, str]]) -> list[Doc]:
    """Documents of the next modules of the queue, at most PER_MODULE each; what is drawn from is marked taken."""
    drawn: list[Doc] = []
    while len(drawn) < wanted:
        module = next(queue)
        docs = modules[module]
        step = max(1, len(docs) // PER_MODULE)
        drawn += docs[::step][: min(PER_MODULE, wanted - len(drawn))]
        taken.add((docs[0].package, module))
    return drawn


def _write_examples(path: Path, per_class: list[list[Doc]], count: int, rng: random.Random) -> Path:
    """The first documents of every class, evenly, shuffled: {"text", "label", "name"} a line."""
    rows = [d for k, docs in enumerate(per_class) for d in docs[: _share(count, k, len(per_class))]]
    rng.shuffle(rows)
    with open(path, "w", encoding="utf-8", newline="\n") as file:
        for d in rows:
            file.write(json.dumps({"text": d.text, "label": d.package, "name": d.name}, ensure_ascii=False) + "\n")
    return path
