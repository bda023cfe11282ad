"""docs/data.md says which reader and options open which public set: here each format as its authors publish it.

The rows are made up; the layout (suffix, header, columns, quoting, label words) is the published one.
"""

# ruff: noqa: E501 - a row of a published file stays on one line

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from wordloom.data.collection import read_collection
from wordloom.data.columns import read_ids
from wordloom.data.examples import read_examples
from wordloom.data.parallel import read_parallel
from wordloom.data.prompts import read_prompts
from wordloom.data.questions import read_questions
from wordloom.data.tagged import read_tagged
from wordloom.errors import DataError

Files = dict[str, str]


def lines(*records: Any) -> str:
    return "".join(json.dumps(r, ensure_ascii=False) + "\n" for r in records)


def labelled(path: str, **options: Any) -> Any:
    found = read_examples(path, **options)
    return [(t, *(() if found.pairs is None else (found.pairs[i],)), (found.labels or [])[i])
            for i, t in enumerate(found.texts)]  # fmt: skip


def unlabelled(path: str, **options: Any) -> Any:
    found = read_examples(path, require_label=False, **options)
    rows = found.texts if found.pairs is None else list(zip(found.texts, found.pairs, strict=True))
    return read_ids(path, None)[1], rows


def tagged(path: str, **options: Any) -> Any:
    found = read_tagged(path, **options)
    return [[(text[s.start : s.end], s.type) for s in spans]
            for text, spans in zip(found.documents, found.spans, strict=True)]  # fmt: skip


def asked(path: str, **options: Any) -> Any:
    found = read_questions(path, **options)
    return [(q.id, q.question, [a.text for a in answers])
            for q, answers in zip(found.asked, found.gold, strict=True)]  # fmt: skip


def parallel(path: str, **options: Any) -> Any:
    found = read_parallel(path, **options)
    return list(zip(found.sources, (r[0] for r in found.references), strict=True))


def collection(path: str, **options: Any) -> Any:
    found = read_collection(path, **options)
    return [(query, dict(judged)) for query, judged in zip(found.queries, found.judgments, strict=True)]


def prompts(path: str, **options: Any) -> Any:
    found = read_prompts(path, **options)
    return list(zip(found.prompts, found.responses, strict=True))


SQUAD = {"version": "v2.0", "data": [{"title": "Loom", "paragraphs": [{"context": "A loom weaves cloth.", "qas": [
    {"id": "5733", "question": "What weaves?", "answers": [{"text": "A loom", "answer_start": 0}], "is_impossible": False},
    {"id": "5734", "question": "Who sings?", "answers": [], "plausible_answers": [{"text": "cloth", "answer_start": 14}],
     "is_impossible": True}]}]}]}  # fmt: skip
CMRC = {"version": "v1.0", "data": [{"title": "织机", "id": "DEV_0", "paragraphs": [{"id": "DEV_0", "context": "织机织布。",
    "qas": [{"id": "DEV_0_QUERY_0", "question": "什么织布？", "answers": [
        {"text": "织机", "answer_start": 0}, {"text": "织机", "answer_start": 0}]}]}]}]}  # fmt: skip
MNLI = ("index\tpromptID\tpairID\tgenre\tsentence1_binary_parse\tsentence2_binary_parse\tsentence1_parse\tsentence2_parse\t"
        "sentence1\tsentence2\tlabel1\tgold_label\n")  # fmt: skip
XNLI = ("language\tgold_label\tsentence1_binary_parse\tsentence2_binary_parse\tsentence1_parse\tsentence2_parse\tsentence1\tsentence2\t"
        "promptID\tpairID\tgenre\tlabel1\tlabel2\tlabel3\tlabel4\tlabel5\tsentence1_tokenized\tsentence2_tokenized\tmatch\n")  # fmt: skip
NER = "-DOCSTART- -X- -X- O\n\nEU NNP B-NP B-ORG\nrejects VBZ B-VP O\nGerman JJ B-NP B-MISC\ncall NN I-NP O\n\nPeter NNP B-NP B-PER\n"
UD = ("# sent_id = 1\n# text = Don't go.\n1-2\tDon't\t_\t_\t_\t_\t_\t_\t_\t_\n1\tDo\tdo\tAUX\tVB\t_\t3\taux\t_\t_\n"
      "2\tn't\tnot\tPART\tRB\t_\t3\tadvmod\t_\t_\n3\tgo\tgo\tVERB\tVB\t_\t0\troot\t_\tSpaceAfter=No\n"
      "4\t.\t.\tPUNCT\t.\t_\t3\tpunct\t_\t_\n\n")  # fmt: skip

Case = tuple[str, Callable[..., Any], Files, dict[str, Any], Any]
CASES: list[Case] = [  # (set, reader, files as published: the first is given to the reader, options, what is read)
    ("AG News", labelled, {"train.csv": '"3","Wall St. ""bears""","Short-sellers are seeing green, again."\n'
                                        '"4","Chips","A new chip was shown on Monday."\n'},
     {"text": "2", "pair": "3", "label": "1"},
     [('Wall St. "bears"', "Short-sellers are seeing green, again.", "3"),
      ("Chips", "A new chip was shown on Monday.", "4")]),
    ("IMDb", labelled, {"train/pos/0_9.txt": "Great <br />fun", "train/neg/0_3.txt": "Dull", "train/unsup/0_0.txt": "?",
                        "train/labeledBow.feat": "9 0:9"}, {}, [("Dull", "neg"), ("Great <br />fun", "pos")]),
    ("SST-2 (GLUE)", labelled, {"train.tsv": "sentence\tlabel\nhide new secretions \t0\na \"gem\t1\n"}, {},
     [("hide new secretions", "0"), ('a "gem', "1")]),
    ("SST-2 test", unlabelled, {"test.tsv": "index\tsentence\n0\tuneasy mishmash of styles\n1\ta fine film\n"}, {},
     (["0", "1"], ["uneasy mishmash of styles", "a fine film"])),
    ("CoLA", labelled, {"train.tsv": "gj04\t1\t\tThe boat sank.\ngj04\t0\t*\tThe boat sink.\n"},
     {"text": "4", "label": "2"}, [("The boat sank.", "1"), ("The boat sink.", "0")]),
    ("MRPC", labelled, {"train.tsv": "Quality\t#1 ID\t#2 ID\t#1 String\t#2 String\n1\t702\t703\tHe said \"no\tNo , he said\n"
                                     "0\t12\t13\tOne\tTwo\n"},
     {"text": "#1 String", "pair": "#2 String", "label": "Quality"}, [('He said "no', "No , he said", "1"), ("One", "Two", "0")]),
    ("QQP", labelled, {"train.tsv": "id\tqid1\tqid2\tquestion1\tquestion2\tis_duplicate\n7\t1\t2\tHow?\tWhy \"so\"?\t0\n"},
     {"label": "is_duplicate"}, [("How?", 'Why "so"?', "0")]),
    ("QNLI", labelled, {"train.tsv": "index\tquestion\tsentence\tlabel\n0\tWhen?\tIn 1900 it did.\tentailment\n"},
     {"text": "question", "pair": "sentence"}, [("When?", "In 1900 it did.", "entailment")]),
    ("QNLI test", unlabelled, {"test.tsv": "index\tquestion\tsentence\n0\tWhen?\tIn 1900 it did.\n"},
     {"text": "question", "pair": "sentence"}, (["0"], [("When?", "In 1900 it did.")])),
    ("RTE, WNLI", labelled, {"train.tsv": "index\tsentence1\tsentence2\tlabel\n0\tA.\tB.\tnot_entailment\n"}, {},
     [("A.", "B.", "not_entailment")]),
    ("MNLI", labelled, {"train.tsv": MNLI + "0\t31\t31n\tfiction\t( a b )\t( c )\t(ROOT a)\t(ROOT c)\ta b\tc\tneutral\tneutral\n"},
     {"label": "gold_label"}, [("a b", "c", "neutral")]),
    ("STS-B", labelled, {"train.tsv": "index\tgenre\tfilename\tyear\told_index\tsource1\tsource2\tsentence1\tsentence2\tscore\n"
                                      "0\tmain\tMSRvid\t2012\t1\tnone\tnone\tA plane.\tAn air plane.\t5.000\n"},
     {"kind": "regression"}, [("A plane.", "An air plane.", 5.0)]),
    ("SMS Spam", labelled, {"SMSSpamCollection.tsv": "ham\tGo until jurong\nspam\tFree \"entry\nham\tU dun say\nspam\tWin now\n"},
     {"text": "2", "label": "1"}, [("Go until jurong", "ham"), ('Free "entry', "spam"), ("U dun say", "ham"), ("Win now", "spam")]),
    ("Kaggle, hexadecimal ids", unlabelled, {"test.csv": 'id,comment_text\n00ab,"Hi, ""you"""\n0c1d,"two\nlines"\n'}, {},
     (["00ab", "0c1d"], ['Hi, "you"', "two\nlines"])),
    ("ChnSentiCorp", labelled, {"train.tsv": "label\ttext_a\n1\t房间很好\n0\t太吵了\n"}, {}, [("房间很好", "1"), ("太吵了", "0")]),
    ("LCQMC", labelled, {"train.tsv": "text_a\ttext_b\tlabel\n喜欢打篮球的男生\t爱打篮球的男生\t1\n"}, {},
     [("喜欢打篮球的男生", "爱打篮球的男生", "1")]),
    ("LCQMC without header", labelled, {"train.tsv": "喜欢打篮球的男生\t爱打篮球的男生\t1\n我手机丢了\t我想换手机\t0\n"},
     {"text": "1", "pair": "2", "label": "3"},
     [("喜欢打篮球的男生", "爱打篮球的男生", "1"), ("我手机丢了", "我想换手机", "0")]),
    ("TNEWS (CLUE)", labelled, {"train.json": lines(
        {"label": "108", "label_desc": "news_edu", "sentence": "上课时学生手机响个不停", "keywords": ""},
        {"label": "104", "label_desc": "news_finance", "sentence": "商赢环球股份", "keywords": "商赢"})}, {},
     [("上课时学生手机响个不停", "108"), ("商赢环球股份", "104")]),
    ("TNEWS test", unlabelled, {"test.json": lines({"id": 0, "sentence": "在设计史上", "keywords": "设计"})}, {},
     ([0], ["在设计史上"])),
    ("AFQMC (CLUE)", labelled, {"train.json": lines({"sentence1": "蚂蚁借呗", "sentence2": "借呗还款", "label": "0"})}, {},
     [("蚂蚁借呗", "借呗还款", "0")]),
    ("OCNLI (CLUE)", labelled, {"train.50k.json": lines(
        {"level": "easy", "sentence1": "一月份跟二月份", "sentence2": "肯定有一个月", "label": "neutral", "label0": "neutral",
         "label1": None, "genre": "lit", "prem_id": "lit_635", "id": 0})}, {}, [("一月份跟二月份", "肯定有一个月", "neutral")]),
    ("IFLYTEK (CLUE)", labelled, {"train.json": lines({"label": "11", "label_des": "薅羊毛", "sentence": "一个应用"})}, {},
     [("一个应用", "11")]),
    ("THUCNews", labelled, {"财经/798977.txt": "上证50ETF净申购\n新闻", "体育/0.txt": "马晓旭意外受伤"}, {},
     [("马晓旭意外受伤", "体育"), ("上证50ETF净申购\n新闻", "财经")]),
    ("XNLI", labelled, {"xnli.dev.tsv": XNLI + "zh\tneutral\t\t\t\t\t他说\t他打电话\t1\t1\tfacetoface\tneutral\tc\tn\tn\tn\t他 说\t他 打 电话\tTrue\n"},
     {"label": "gold_label"}, [("他说", "他打电话", "neutral")]),
    ("MasakhaNEWS", labelled, {"train.tsv": 'category\theadline\ttext\turl\nsports\tEre\t"Bọ́ọ̀lù ""ni""\nti"\thttp://a\n'},
     {"text": "text", "label": "category"}, [('Bọ́ọ̀lù "ni"\nti', "sports")]),
    ("CoNLL-2003", tagged, {"eng.train": NER}, {}, [[("EU", "ORG"), ("German", "MISC")], [("Peter", "PER")]]),
    ("WNUT-17", tagged, {"wnut17train.conll": "@paulwalk\tO\nEmpire\tB-location\nState\tI-location\n\t\nESB\tB-location\n"}, {},
     [[("Empire State", "location")], [("ESB", "location")]]),
    ("MSRA, character BIO", tagged, {"train.txt": "在 O\n北 B-LOC\n京 I-LOC\n\n邓 B-PER\n"}, {}, [[("北京", "LOC")], [("邓", "PER")]]),
    ("Resume NER", tagged, {"train.char.bmes": "高 B-NAME\n勇 E-NAME\n： O\n男 O\n\n京 S-LOC\n"}, {},
     [[("高勇", "NAME")], [("京", "LOC")]]),
    ("CLUENER", tagged, {"train.json": lines({"text": "浙商银行叶老桂说", "label": {"name": {"叶老桂": [[4, 6]]}, "company": {"浙商银行": [[0, 3]]}}})},
     {}, [[("浙商银行", "company"), ("叶老桂", "name")]]),
    ("CLUENER test", lambda path: [g.text for g in read_tagged(path, labelled=False).inputs()],
     {"test.json": lines({"id": 0, "text": "四川敦煌学"})}, {}, ["四川敦煌学"]),
    ("MasakhaNER 2.0", tagged, {"train.txt": "Ọlọ́run O\nEko B-LOC\n\n"}, {}, [[("Eko", "LOC")]]),
    ("Few-NERD", tagged, {"train.txt": "Paul\tperson-actor\nsang\tO\n\n"}, {}, [[("Paul", "person-actor")]]),
    ("Universal Dependencies", tagged, {"en-ud-train.conllu": UD}, {"label": "upos"},
     [[("Do", "AUX"), ("n't", "PART"), ("go", "VERB"), (".", "PUNCT")]]),
    ("SQuAD 1.1 and 2.0", asked, {"train-v2.0.json": json.dumps(SQUAD)}, {},
     [("5733", "What weaves?", ["A loom"]), ("5734", "Who sings?", [])]),
    ("CMRC 2018, DRCD", asked, {"cmrc2018_train.json": json.dumps(CMRC, ensure_ascii=False)}, {},
     [("DEV_0_QUERY_0", "什么织布？", ["织机", "织机"])]),
    ("Multi30k", parallel, {"train.en,train.de": "", "train.en": "Two men.\nA dog.\n", "train.de": "Zwei Männer.\nEin Hund.\n"},
     {}, [("Two men.", "Zwei Männer."), ("A dog.", "Ein Hund.")]),
    ("WMT TSV", parallel, {"news-commentary.de-en.tsv": "Der \"Wert\tThe \"value\nZwei\tTwo\n"}, {},
     [('Der "Wert', 'The "value'), ("Zwei", "Two")]),
    ("Tatoeba pairs (manythings.org)", parallel, {"cmn.tsv": "Hi.\t嗨。\tCC-BY 2.0 (France) #1\nRun.\t跑。\tCC-BY 2.0 (France) #2\n"},
     {"source": "1", "target": "2"}, [("Hi.", "嗨。"), ("Run.", "跑。")]),
    ("CNN/DailyMail", parallel, {"test.csv": 'id,article,highlights\n0f3a,"One. Two, three.",Short .\n'}, {}, [("One. Two, three.", "Short .")]),
    ("XSum", parallel, {"train.jsonl": lines({"document": "Long.", "summary": "Short.", "id": "29"})}, {}, [("Long.", "Short.")]),
    ("SAMSum", parallel, {"train.jsonl": lines({"id": "1", "dialogue": "A: hi\r\nB: yo", "summary": "They greet."})}, {},
     [("A: hi\r\nB: yo", "They greet.")]),
    ("AESLC", parallel, {"train.jsonl": lines({"id": "a", "body": "Hi all,\nsee you at 9.", "subjects": ["Meeting", "At 9"]})},
     {"source": "body", "target": "subjects"}, [("Hi all,\nsee you at 9.", "Meeting")]),
    ("SciTLDR", parallel, {"train.jsonl": lines({"source": ["We do it.", "It works."], "source_labels": [0, 1], "rouge_scores": [0.1, 0.9],
                                                 "paper_id": "x", "target": ["It works."], "title": "T"})}, {}, [("We do it. It works.", "It works.")]),
    ("BEIR", collection, {"scifact/qrels/test.tsv": "query-id\tcorpus-id\tscore\n1\t31\t1\n",
                          "scifact/corpus.jsonl": lines({"_id": "31", "title": "T", "text": "body", "metadata": {}}),
                          "scifact/queries.jsonl": lines({"_id": "1", "text": "zero dimensional", "metadata": {}})},
     {}, [("zero dimensional", {"31": 1})]),
    ("Alpaca", prompts, {"alpaca.jsonl": lines({"instruction": "Add.", "input": "1 2", "output": "3"})}, {}, [("Add.\n1 2", "3")]),
]  # fmt: skip


@pytest.mark.parametrize(("name", "reader", "files", "options", "wanted"), CASES, ids=[case[0] for case in CASES])
def test_a_public_set_is_read_as_its_authors_publish_it(
    name: str, reader: Callable[..., Any], files: Files, options: dict[str, Any], wanted: Any, tmp_path: Path
) -> None:
    for relative, text in files.items():
        if text:
            (tmp_path / relative).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / relative).write_text(text, encoding="utf-8", newline="")
    first = next(iter(files))
    path = ",".join(str(tmp_path / part) for part in first.split(","))
    if name in ("IMDb", "THUCNews"):
        path = str(tmp_path / "train" if name == "IMDb" else tmp_path)
    assert reader(path, **options) == wanted


def test_the_page_says_the_same() -> None:
    """The name and every column of a case stand together in one line of docs/data.md."""
    page = (Path(__file__).parents[2] / "docs" / "data.md").read_text(encoding="utf-8").splitlines()
    for name, _, _, options, _ in CASES:
        if "test" in name or "Kaggle" in name:  # files to predict: the rows of their sets name what differs
            continue
        for part in (
            name.replace(" and ", ", ").replace(" 2.0", "").replace("SQuAD 1.1, SQuAD", "SQuAD 1.1").split(", ")
        ):
            row = [line for line in page if line.startswith("|") and part in line]
            assert row, f"docs/data.md has no row with {part!r}"
            for key, value in options.items():
                said = (f"--{key} {value}", f'--{key} "{value}"', f"task.{key}={value}")
                assert any(words in line for line in row for words in said), f"the row of {part} lacks {said[0]}"


def test_what_stands_in_the_folder_of_a_label(tmp_path: Path) -> None:
    (tmp_path / "pos").mkdir()
    (tmp_path / "pos" / "1.txt").write_text(" \n")
    with pytest.raises(DataError, match="no text in this file"):
        read_examples(str(tmp_path))
    (tmp_path / "pos" / "1.txt").unlink()
    with pytest.raises(DataError, match="is a folder, not a file"):
        read_examples(str(tmp_path))


def test_an_array_of_json_is_refused_with_the_cure(tmp_path: Path) -> None:
    (tmp_path / "train.json").write_text('[{"text": "a", "label": "b"},\n {"text": "c", "label": "d"}]')
    with pytest.raises(DataError, match="one big JSON document"):
        read_examples(str(tmp_path / "train.json"))
