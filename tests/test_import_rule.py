"""The import rule of docs/ARCHITECTURE.md, held against every import statement (per module, not transitive)."""

import ast
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[1] / "src" / "wordloom"
EVERYWHERE = {"errors", "config", "metrics"}
DECODING = {f"infer.{name}" for name in ("decode", "beam", "sampling", "steppers", "source_stepper")}
MAY_IMPORT: dict[str, set[str]] = {
    "errors": set(),
    "config": {"errors"},
    "metrics": {"errors"},
    "compiled": set(),
    "disk": set(),
    "toml_text": set(),
    "run": {"config", "disk", "toml_text"},
    "text": set(),
    "data": {"text"},
    "vectors": {"text", "data", "compiled", "disk", "run"},
    "search": {"text", "data", "run"},
    "model": {"compiled", "disk"},
    "objectives": {"data.batch", "train.job", "model"},
    "tasks": {"text", "data", "search", "model", "objectives", "train.job", "vectors", *DECODING},
    "train": {"data.batch", "disk", "run"},
    "infer": {"model", "text", "data"},
    "choice": {"tasks", "train", "infer", "data"},
    "explain": {"tasks", "train", "infer", "data", "text", "model"},
    "report": set(),
    "integrations": {"api"},
}
TOP = {"api", "cli", "presets", "demo", "sklearn", "__init__", "__main__"}  # may import everything; imported by no room


def imports(path: Path) -> set[str]:
    """Dotted names below ``wordloom.`` that a file imports."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {a.name for a in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            names |= {f"{node.module}.{a.name}" for a in node.names}
    return {n.removeprefix("wordloom.") for n in names if n.startswith("wordloom.")}


def room_of(path: Path) -> str:
    return path.relative_to(SOURCE).parts[0].removesuffix(".py")


@pytest.mark.parametrize("path", sorted(SOURCE.rglob("*.py")), ids=lambda p: str(p.relative_to(SOURCE)))
def test_module_keeps_the_rule(path: Path) -> None:
    room = room_of(path)
    if room in TOP:
        return
    assert room in MAY_IMPORT, f"room {room!r} is not in the table"
    own = EVERYWHERE if room not in EVERYWHERE else set()
    allowed = MAY_IMPORT[room] | {room} | own
    for name in imports(path):
        assert any(name == a or name.startswith(a + ".") for a in allowed), f"{room} may not import wordloom.{name}"


def test_the_rule_can_fail(tmp_path: Path) -> None:
    bad = tmp_path / "x.py"
    bad.write_text("from wordloom.train.loop import fit\n")
    assert imports(bad) == {"train.loop.fit"}
