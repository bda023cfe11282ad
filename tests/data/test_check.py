"""The pre-flight check against brute force on made-up files and the traps listed for the public sets."""

import json
import os
import random
from itertools import combinations
from pathlib import Path

import pytest

from wordloom.data.check import check
from wordloom.data.examples import read_examples
from wordloom.data.near import ContainmentIndex, NearIndex, units

DATA = Path(os.environ.get("WORDLOOM_DATA", Path(__file__).parents[3] / "shared" / "data"))
needs_data = pytest.mark.skipif(not DATA.is_dir(), reason=f"public data sets are not at {DATA}")


def sentence(rng: random.Random, words: int) -> list[str]:
    return [f"w{rng.randrange(400)}" for _ in range(words)]


def shingles(words: list[str]) -> set[tuple[str, ...]]:
    return {tuple(words[i : i + 5]) for i in range(len(words) - 4)}


def jaccard(x: set[tuple[str, ...]], y: set[tuple[str, ...]]) -> float:
    return len(x & y) / len(x | y)


def test_near_index_agrees_with_brute_force() -> None:
    rng = random.Random(1)
    texts = []
    for _ in range(60):
        base = sentence(rng, 80)
        texts.append(" ".join(base))
        for _ in range(3):
            copy = list(base)
            for _ in range(rng.randrange(1, 6)):
                copy[rng.randrange(80)] = "other"
            texts.append(" ".join(copy))
    sets = [shingles(text.split()) for text in texts]
    pairs = {(i, j) for i, j in combinations(range(len(texts)), 2) if jaccard(sets[i], sets[j]) >= 0.8}
    index = NearIndex()
    found = {}
    for j, text in enumerate(texts):
        match = index.find(text)
        if match is not None:
            found[j] = match
        index.add(j, text)
    assert all((i, j) in pairs and abs(s - jaccard(sets[i], sets[j])) < 1e-9 for j, (i, s) in found.items())
    near = {j for _, j in pairs}
    assert len(near) > 40 and len(near - set(found)) <= 0.02 * len(near)  # 99.8 % a pair at the threshold


def test_short_texts_are_near_nothing_and_chinese_is_cut_by_character() -> None:
    index = NearIndex()
    index.add(0, "only four words here")
    assert index.find("only four words here") is None
    chinese = "今天天气很好我们一起去公园里散步看花然后回家吃饭睡觉明天再去"
    assert units(chinese + "，abc!") == [*chinese, "a", "b", "c"]
    index.add(1, chinese + chinese[:5])
    match = index.find(chinese + "。" + chinese[:4])
    assert match is not None and match[0] == 1 and match[1] > 0.9


def test_a_flood_of_copies_stays_bounded_and_found() -> None:
    rng = random.Random(2)
    base = sentence(rng, 100)
    index = NearIndex()
    for i in range(500):
        copy = [*base, f"n{i}"]
        match = index.find(" ".join(copy))
        assert (match is None) == (i == 0)
        index.add(i, " ".join(copy), match[0] if match else None)
    assert len(index._shingles) < 500


def test_containment_by_hand() -> None:
    rng = random.Random(3)
    a, b, c = (sentence(rng, 40) for _ in range(3))
    index = ContainmentIndex([" ".join(a), " ".join(b), " ".join(c), "too short"])
    index.see(7, "x " * 50)
    index.see(8, " ".join(["unknown", *a, "tail"]))  # all 28 runs of a
    index.see(9, " ".join(b[:24]))  # 12 of 28: below one half
    index.see(10, " ".join(c[:20]) + " | " + " ".join(c[19:]))  # 8 + 9 of 28, the cut and the repeat break the others
    index.see(11, " ".join(a))  # the first document that holds a run keeps it
    got = index.contained()
    assert got == {0: (1.0, 8), 2: (pytest.approx(17 / 28), 10)}


def labelled(path: Path, rows: list[tuple[str, str]]) -> str:
    path.write_text("".join(json.dumps({"text": t, "label": y}) + "\n" for t, y in rows))
    return str(path)


def test_labelled_findings_are_counted_and_located(tmp_path: Path) -> None:
    rng = random.Random(4)
    rows = [(" ".join(sentence(rng, 30)), "ab"[i % 2]) for i in range(40)]
    long = rows[0][0]
    train = [*rows, (rows[5][0], rows[5][1]), (rows[6][0].upper() + "!", "b"), (long + " more", "a"), ("so rare", "c")]
    test = [(rows[1][0], "a"), (rows[2][0], "a"), ("and " + rows[3][0], "b"), ("only here", "a"), ("not there", "b")]
    a, b = labelled(tmp_path / "train.jsonl", train), labelled(tmp_path / "test.jsonl", test)
    report = check(str(tmp_path))
    got = {(f.name, f.part): f for f in report.facts if f.problem}
    want = {
        ("repeats", "train"): (2, f"{a}:41 = {a}:6"),
        ("conflicts", "train"): (1, f"{a}:7 (a) / {a}:42 (b)"),
        ("near_repeats", "train"): (1, f"{a}:43 ~0.96 {a}:1"),
        ("rare", "train"): (1, None),
        ("rare", "test"): (2, None),
        ("leak", "train and test"): (2, f"{b}:1 = {a}:2"),
        ("leak_conflicts", "train and test"): (1, f"{b}:1 (a) / {a}:2 (b)"),
        ("near_leak", "train and test"): (1, f"{b}:3 ~0.96 {a}:4"),
    }
    assert set(got) == set(want)
    for key, (count, place) in want.items():
        assert got[key].count == count, key
        assert place is None or got[key].places[0].startswith(place), got[key].places
    assert report.problems == 8 and report.lines()[-1] == "8 findings to look at"
    assert json.loads(json.dumps(report.to_json()))["problems"] == 8
    assert check(a, against={"test": b}).problems == 8


def test_raw_findings_and_leak_into_a_test_file(tmp_path: Path) -> None:
    rng = random.Random(5)
    documents = [" ".join(sentence(rng, 60)) for _ in range(30)]
    corpus = tmp_path / "corpus.txt"
    damaged = b"broken \xff byte\n\n"
    corpus.write_bytes(("\n".join([*documents, documents[3].upper() + ".", documents[4] + " end"]) + "\n").encode())
    with corpus.open("ab") as file:
        file.write(damaged)
    report = check(str(corpus))
    assert [report.count(name) for name in ("size", "repeats", "near_repeats", "broken_utf8")] == [33, 1, 1, 1]
    assert report.count("empty") == 1  # the blank line at the end
    assert report.problems == 4 and f"{corpus}:33" in "\n".join(report.lines())
    inside = " ".join(documents[9].split()[10:45])
    test = labelled(tmp_path / "t.jsonl", [(documents[7] + "!", "x"), (inside, "y"), ("nowhere at all", "x")])
    for report in (check(test, pretraining=str(corpus)), check(str(corpus), against=test)):
        leak = {f.name: f for f in report.facts if "leak" in f.name}
        assert (leak["leak"].count, leak["near_leak"].count) == (1, 1)
        assert f"{test}:1 = {corpus}:8" in leak["leak"].places[0]
        assert f"{test}:2 in {corpus}:10" in leak["near_leak"].places[0]


def test_clean_data_has_no_problem_and_the_bound_is_stated(tmp_path: Path) -> None:
    rng = random.Random(6)
    rows = [(" ".join(sentence(rng, 30)), "ab"[i % 2]) for i in range(30)]
    path = labelled(tmp_path / "a.jsonl", rows)
    assert check(path).problems == 0 and check(path).lines()[-1] == "nothing found"
    near = labelled(tmp_path / "b.jsonl", [*rows, *((t + " x", y) for t, y in rows)])
    said = next(f.text for f in check(near, near_limit=25).facts if f.name == "near_repeats")
    assert "every 3rd" not in said and "1 in 3 of 60 texts compared" in said


@needs_data
def test_traps_of_the_public_sets() -> None:
    zh = check(str(DATA / "classify/chnsenticorp"))
    leaks = {f.part: f.text for f in zh.facts if f.name == "leak"}
    assert "338 exactly" in leaks["train and dev"] and "331 exactly" in leaks["train and test"]
    assert zh.count("leak_conflicts", "train and test") == 6
    sms = read_examples(str(DATA / "classify/sms_spam/sms.tsv"))
    said = next(f.text for f in check(sms.places[0].rpartition(":")[0]).facts if f.name == "repeats")
    assert f"{len(sms) - len(set(sms.texts))} exactly" in said


def test_sizes_count_what_the_language_divides(tmp_path: Path) -> None:
    chinese, english = tmp_path / "zh.txt", tmp_path / "en.txt"
    chinese.write_text("今天天气很好\n我们去公园看书\n", encoding="utf-8")
    english.write_text("so good\n")
    assert check(str(chinese)).lines()[1] == "  2 documents, 13 characters in 1 file"
    assert check(str(english)).lines()[1] == "  1 document, 2 words, 7 characters in 1 file"
    rows = [("so good", "1")] * 3 + [("so bad", "2")]
    said = check(labelled(tmp_path / "n.jsonl", rows)).lines()
    assert "  2 labels; 1: 3 (75.0%), 2: 1 (25.0%)" in said
    assert "! 2 labels with fewer than 10 records (2: 1, 1: 3)" in said
