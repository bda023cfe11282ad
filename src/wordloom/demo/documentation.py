"""Docstrings of what is installed: read with ``ast``, cleaned, masked, without copies."""

from __future__ import annotations

import ast
import gc
import importlib.metadata
import multiprocessing
import os
import re
import sysconfig
import time
import warnings
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from wordloom.demo.masking import NAME, Masker, prose
from wordloom.errors import DataError

STDLIB = "python"  # label of the standard library
MIN_WORDS = 8
SHINGLE, COVERED = 5, 0.5
MAX_FILE_BYTES = 2_000_000  # above this a source file is generated tables
# Not a package's own documentation: tests, and copies of other packages.
SKIPPED_FOLDERS = frozenset(
    [
        "tests",
        "test",
        "testing",
        "_vendor",
        "_vendored",
        "vendored",
        "externals",
        "extern",
        "thirdparty",
        "third_party",
        "site-packages",
        "dist-packages",
        "__pycache__",
        "idlelib",
        "lib2to3",
        "turtledemo",
    ]
)
# Short names that every reader takes for a package; longer ones are found from what is installed.
ALIASES = frozenset(
    ["np", "pd", "plt", "nx", "tf", "mpl", "scikit", "huggingface", "pytorch", "cpython", "pep", "peps"]
)


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
    jobs = [(files[i : i + 32], mask) for i in range(0, len(files), 32)]
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
    for where, folders, names in os.walk(root):
        folder = Path(where)
        folders[:] = sorted(f for f in folders if f not in SKIPPED_FOLDERS and f.isidentifier())
        for name in sorted(names):
            if name.endswith(".py"):
                path = folder / name
                module = ".".join(path.relative_to(root).with_suffix("").parts).removesuffix(".__init__")
                package = label or module.partition(".")[0]
                if package != "wordloom":
                    found.append((str(path), package, module))
    return sorted(found, key=lambda f: f[2])


def _map(function: Any, jobs: list[Any], workers: int) -> Iterable[Any]:
    """Results in the order of jobs. Fresh processes: a fork of a process that holds torch's threads may hang."""
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
