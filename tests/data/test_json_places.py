"""A walk over JSON that knows lines reads what json.loads reads, and refuses what it refuses."""

import json
import random
import time
from pathlib import Path
from typing import Any

import pytest

from wordloom.data.json_places import JsonText, Placed, with_starts
from wordloom.data.questions import read_questions

NAMES = ("data", "paragraphs", "qas")
TRICKY = '"qas": [{ \\ } ] \n é 😀 "id"\t'


def squad(rng: random.Random) -> dict[str, Any]:
    """A document of the layout, with texts that look like JSON and the names of lists where they are no lists."""

    def extra() -> dict[str, Any]:
        values = [None, 1.5, TRICKY, [], {}, {"qas": [1]}, [{"data": []}], True]
        return {rng.choice(["a", "data", "answers", TRICKY]): rng.choice(values) for _ in range(rng.randrange(3))}

    def some(make: Any) -> list[Any]:
        return [make() if rng.random() < 0.9 else rng.choice([1, "x", None, []]) for _ in range(rng.randrange(4))]

    qa = lambda: {**extra(), "id": rng.choice(["q", TRICKY, 3]), "answers": some(lambda: {"text": TRICKY})}  # noqa: E731
    paragraph = lambda: {**extra(), "context": TRICKY, "qas": some(qa)}  # noqa: E731
    article = lambda: {**extra(), "paragraphs": some(paragraph)}  # noqa: E731
    return {"version": "1", **extra(), "data": some(article)}


@pytest.mark.parametrize("seed", range(40))
def test_it_reads_what_json_reads_and_knows_where(seed: int) -> None:
    rng = random.Random(seed)
    value = squad(rng)
    text = "\n " + json.dumps(value, indent=rng.choice([None, 0, 2]), ensure_ascii=rng.random() < 0.5) + " \n"
    found = JsonText("a.json", text).decode(NAMES)
    assert found == json.loads(text) == value
    assert isinstance(found["data"], Placed)
    for name, items in (("data", found["data"]), *(("qas", p["qas"]) for a in found["data"] if isinstance(a, dict)
                                                   for p in a["paragraphs"] if isinstance(p, dict))):  # fmt: skip
        assert isinstance(items, Placed), name
        assert len(items.starts) == len(items)
        assert all(json.JSONDecoder().raw_decode(text, at)[0] == item for item, at in with_starts(items))


@pytest.mark.parametrize("seed", range(200))
def test_it_refuses_what_json_refuses(seed: int) -> None:
    rng = random.Random(seed)
    text = json.dumps(squad(rng), indent=1)
    at = rng.randrange(len(text))
    text = text[:at] + rng.choice(["", "}", "]", ",", '"', ":", "x", "\n", "[", "{"]) + text[at + rng.randrange(3) :]
    try:
        expected = json.loads(text)
    except ValueError as error:
        with pytest.raises(ValueError) as caught:
            JsonText("a.json", text).decode(NAMES)
        assert str(caught.value) == str(error)
    else:
        assert JsonText("a.json", text).decode(NAMES) == expected


@pytest.mark.parametrize("indent", [None, 0, 2])
def test_questions_and_answers_are_at_their_lines(tmp_path: Path, indent: int | None) -> None:
    """The line of a question is that of its brace, of an answer its own; a file of one line has line 1."""
    qas = [{"question": TRICKY, "id": f"q{i}", "answers": [{"text": "cat", "answer_start": 2},
                                                           {"text": f"dog{i}", "answer_start": 0}]}
           for i in range(3)]  # fmt: skip
    paragraphs = [{"context": f"a cat\n{i}", "qas": [{**qa, "id": f"{qa['id']}-{i}"} for qa in qas]} for i in range(2)]
    path = tmp_path / "a.json"
    path.write_text(json.dumps({"data": [{"title": "T", "paragraphs": paragraphs}]}, indent=indent))
    lines = path.read_text().split("\n")
    read = read_questions(str(path))
    assert len(read) == 6 and len(read.unfound) == 6
    for place, gone in zip(read.places, read.unfound, strict=True):
        name = place.rpartition("/")[2]
        assert place.startswith(f"{path}:") and gone.rpartition(" (")[0].rpartition("/")[2] == name
        at, answer_at = (int(p.removeprefix(f"{path}:").partition(":")[0]) for p in (place, gone))
        if indent is None:
            assert at == answer_at == 1
            continue
        own = next(i for i, line in enumerate(lines) if f'"id": "{name}"' in line)
        assert max(i for i, line in enumerate(lines[:own]) if line.strip() == "{") + 1 == at
        assert f'"dog{name[1]}"' in lines[answer_at] and lines[answer_at - 1].strip() == "{"


def test_places_that_go_back_and_forth_cost_their_distance() -> None:
    """Answers of a question are looked up from its own place, again and again."""
    text = "[\n" + "1,\n" * 2_000_000 + "2]"
    source = JsonText("a.json", text)
    last = text.index("2]")
    began = time.process_time()
    for _ in range(2000):
        assert source.place(last) == "a.json:2000002"
        assert source.place(last - 6) == "a.json:2000000"
    assert source.place(0) == "a.json:1"
    assert time.process_time() - began < 1
