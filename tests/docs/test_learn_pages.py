"""docs/learn is held true: its blocks run and print what the pages show, quoted code stands in the files named.

Fences of a page, by their info string:
  python run, bash run   executed in order in one folder, all python blocks in one process; they assert their own claims
  text                   what the block before it prints: every line must be printed, numbers aside
  text sample            the same, of output that differs from machine to machine: not compared
  python                 a quotation, word for word; the paragraph above links the function and the file it stands in
docs/learn/README.md makes the text that all pages read. The Chinese pages must hold the same blocks; they are not run
again.
"""

from __future__ import annotations

import ast
import multiprocessing
import os
import re
import sys
import textwrap
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest
from learn_blocks import MARK, run_blocks

ROOT = Path(__file__).resolve().parents[2]
LEARN = ROOT / "docs" / "learn"
PAGES = sorted(LEARN.glob("*.md"))
INDEX = LEARN / "README.md"
ALL = [*PAGES, *sorted((LEARN / "zh").glob("*.md"))]
FENCE = re.compile(r"^```([^\n]*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
KINDS = ("python run", "bash run", "text", "text sample", "python")
LINKED = re.compile(r"\[`([\w.]+)`\]\(([./]+/src/[\w./]+\.py)\)")  # a function and its file
NUMBER = re.compile(r"[-+]?\d[\d,]*\.?\d*(?:e[-+]?\d+)?")
# Every page has a process of its own, forked from one that has imported what takes seconds: half of the time of a page.
SERVER = multiprocessing.get_context("forkserver")
SERVER.set_forkserver_preload(["torch", "torch._dynamo", "wordloom.api.pretraining"])


@dataclass(frozen=True)
class Block:
    """kind: the fence's info string. line: of the page, its first. above: the text before the fence."""

    kind: str
    code: str
    line: int
    above: str

    @property
    def runs(self) -> bool:
        return self.kind.endswith(" run")


@cache
def blocks(page: Path) -> list[Block]:
    text = page.read_text(encoding="utf-8")
    return [Block(m[1], m[2], text.count("\n", 0, m.start()) + 1, text[: m.start()]) for m in FENCE.finditer(text)]


def execute(page: Path, folder: Path) -> list[str]:
    """What each running block of the page printed."""
    job = [(b.kind, b.line, b.code) for b in blocks(page) if b.runs]
    output = folder / "printed"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
        patch.setenv("OMP_NUM_THREADS", "1")
        process = SERVER.Process(target=run_blocks, args=(page.name, job, str(folder), str(output)))
        process.start()
    process.join(240)
    if process.exitcode is None:
        process.kill()
    printed = output.read_text(encoding="utf-8")
    assert process.exitcode == 0, f"{page.name} ended with {process.exitcode}\n{printed[-4000:]}"
    return printed.split(f"{MARK}\n")[1:]


@pytest.fixture(scope="session")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str]]:
    """The text that README.md makes, and what its blocks printed."""
    folder = tmp_path_factory.mktemp("learn")
    return folder / "text.txt", execute(INDEX, folder)


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.stem)
def test_page_runs_and_prints_what_it_shows(page: Path, prepared: tuple[Path, list[str]], tmp_path: Path) -> None:
    text, printed = prepared
    if page != INDEX:
        (tmp_path / text.name).write_bytes(text.read_bytes())
        printed = execute(page, tmp_path)
    said = ""
    outputs = iter(printed)
    for block in blocks(page):
        if block.runs:
            said = NUMBER.sub("#", next(outputs))
        elif block.kind == "text":
            for line in block.code.splitlines():
                assert NUMBER.sub("#", line) in said.splitlines(), (
                    f"{page.name}:{block.line} prints no {line!r}\n{said}"
                )


@pytest.mark.parametrize("page", ALL, ids=lambda p: str(p.relative_to(LEARN)))
def test_quoted_code_stands_where_the_page_says(page: Path) -> None:
    found = [b for b in blocks(page) if b.kind == "python"]
    assert found or page.name == "README.md"
    for block in found:
        named = LINKED.search(block.above.rstrip().rpartition("\n\n")[2])
        assert named, f"{page.name}:{block.line}: the paragraph above a quotation must link its function and file"
        file = (page.parent / named[2]).resolve()
        quote, source = block.code.rstrip(), function(file, named[1])
        assert textwrap.dedent(quote) and holds(source, quote), f"{page.name}:{block.line} is not in {file}: {named[1]}"


@pytest.mark.parametrize("page", ALL, ids=lambda p: str(p.relative_to(LEARN)))
def test_names_and_links_exist(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert {b.kind for b in blocks(page)} <= set(KINDS)
    for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", FENCE.sub("", text)):
        assert (page.parent / target).exists(), f"{page.name} links {target}"
    for name, file in LINKED.findall(text):
        function((page.parent / file).resolve(), name)
    for formula in re.findall(r"\$\$?([^$]+)\$\$?", FENCE.sub("", text)):
        assert not re.search(r"\\[^A-Za-z]", formula), f"{page.name}: Markdown takes the backslash out of {formula}"


def test_the_chinese_pages_hold_the_same_blocks() -> None:
    assert [p.name for p in PAGES] == [p.name for p in sorted((LEARN / "zh").glob("*.md"))]
    for page in PAGES:
        chinese = LEARN / "zh" / page.name
        assert [(b.kind, b.code) for b in blocks(chinese)] == [(b.kind, b.code) for b in blocks(page)], page.name
        formulas = [re.findall(r"^\$\$.+\$\$$", p.read_text(encoding="utf-8"), re.MULTILINE) for p in (page, chinese)]
        assert formulas[0] == formulas[1], page.name


def test_every_page_runs_something_and_asserts_it() -> None:
    for page in PAGES:
        code = "".join(b.code for b in blocks(page) if b.kind == "python run")
        assert any(isinstance(node, ast.Assert) for node in ast.walk(ast.parse(code))), page.name


def function(file: Path, name: str) -> str:
    """Source of a function, class or Class.method of a file."""
    text = file.read_text(encoding="utf-8")
    body, lines = ast.parse(text).body, slice(0)
    for part in name.split("."):
        inside = [n for n in body if isinstance(n, (ast.FunctionDef, ast.ClassDef)) and n.name == part]
        assert inside, f"{file} has no {name}"
        body, lines = inside[0].body, slice(inside[0].lineno - 1, inside[0].end_lineno)
    return "\n".join(text.splitlines()[lines])


def holds(source: str, quote: str) -> bool:
    """Whether the lines of a quotation stand in the source one after the other, the indentation of all moved alike."""
    lines, wanted = source.splitlines(), textwrap.dedent(quote).splitlines()
    pieces = ("\n".join(lines[i : i + len(wanted)]) for i in range(len(lines) - len(wanted) + 1))
    return any(textwrap.dedent(piece) == "\n".join(wanted) for piece in pieces)


def test_a_changed_quotation_is_noticed() -> None:
    source = "def f(x):\n    if x:\n        return x + 1\n    return 0"
    assert holds(source, "if x:\n    return x + 1") and holds(source, "return 0")
    assert not holds(source, "if x:\n    return x + 2") and not holds(source, "if x:\nreturn x + 1")
