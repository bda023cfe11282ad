"""docs/troubleshooting.md is keyed by error text: every key must be in the program, word for word.

A key is what stands in backticks at the head of a list item; ``...`` in it is a hole of an f-string.
"""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
HOLE = "..."
HEAD = re.compile(r"^- ((?:`[^`]+`(?:,\s+)?)+):", re.MULTILINE)


def templates(source: str) -> list[str]:
    """Every string of a program but its docstrings, f-strings with holes; adjacent literals are one string."""
    tree = ast.parse(source)
    silent = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    inner = {id(part) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for part in node.values}
    found = []
    for node in ast.walk(tree):
        if id(node) in silent or id(node) in inner:
            continue
        if isinstance(node, ast.JoinedStr):
            found.append("".join(str(p.value) if isinstance(p, ast.Constant) else HOLE for p in node.values))
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            found.append(node.value)
    return found


def keys() -> list[str]:
    page = (ROOT / "docs" / "troubleshooting.md").read_text(encoding="utf-8")
    return [" ".join(key.split()) for head in HEAD.findall(page) for key in re.findall(r"`([^`]+)`", head)]


@pytest.fixture(scope="module")
def said() -> list[str]:
    return [t for path in (ROOT / "src").rglob("*.py") for t in templates(path.read_text(encoding="utf-8"))]


def test_the_page_has_keys() -> None:
    assert len(keys()) > 100 and len(set(keys())) == len(keys())


@pytest.mark.parametrize("key", keys())
def test_the_program_says_it(said: list[str], key: str) -> None:
    assert any(key in template for template in said), f"no message of the program holds {key!r}"


def test_what_is_found() -> None:
    source = 'def f(x):\n    "in a docstring"\n    raise E(f"bad {x} at " f"{x!r} here", cure="cut" " it")\n'
    assert templates(source) == ["bad ... at ... here", "cut it"]
