"""JSON with spans by character: doccano, CLUENER, Label Studio, our own answers, and lists of tokens with tags.

What a record is, is seen from its keys; ends are exclusive but in CLUENER's. A span's own text, where it is given, must
be what stands at its offsets.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

from wordloom.data.readers import open_file, raw_lines, reject_binary, replace_surrogates, strict_decode
from wordloom.data.tag_schemes import Scheme, chunks_of, recognise
from wordloom.data.tagged import Reader, Span, Tagged, bare_name
from wordloom.errors import DataError
from wordloom.text.units import join_tokens, mostly_characters

TEXTS = ("text", "content", "sentence", "data")
SPANS = ("spans", "labels", "label", "entities", "annotations")
TOKENS = ("tokens", "words")
TAGS = ("tags", "ner_tags", "labels", "pos_tags")
_STARTS, _ENDS, _TYPES = ("start", "start_offset"), ("end", "end_offset"), ("type", "label", "labels", "entity")

Record = dict[str, Any]


def read_json(path: str, *, text: str | None, label: str | None, overlaps: bool, scheme: str, labelled: bool) -> Tagged:
    """As ``tagged.read_tagged``."""
    records = list(_records(path))
    if not records:
        raise DataError("no record in it", where=path, cure="check that the file was written completely")
    reader = Reader(path, overlaps=overlaps)
    if text is None and any(isinstance(records[0][1].get(key), list) for key in TOKENS):
        return _tokens(reader, records, label, scheme, labelled)
    kinds: dict[str, int] = {}
    for place, record in records:
        body = _text(record, text, place)
        if labelled and label is None and _is_task(record):
            valid = _annotations(record)
            if not valid:
                reader.notes.add("records that nobody annotated, or that were skipped, left out", place)
                continue
            if len(valid) > 1:
                reader.notes.add("records with several annotations, of which the first is read", place)
        kind, spans = _spans(record, body, label, place) if labelled else ("text alone", [])
        kinds[kind] = kinds.get(kind, 0) + 1
        reader.add(body, None, _trimmed(reader, body, spans, place), place)
    if not kinds:
        raise DataError("no record is annotated", where=path, cure="annotate some, or take them back from skipped")
    return reader.done(", ".join(f"{count:,} x {kind}" for kind, count in kinds.items()))


def _is_task(record: Record) -> bool:
    """A task of Label Studio's JSON export; its JSON-MIN has the labels beside the text."""
    return isinstance(record.get("data"), dict) and isinstance(record.get("annotations"), list)


def _annotations(record: Record) -> list[Record]:
    """Those of a task that were not cancelled ("Skip")."""
    given = [a for a in record["annotations"] if isinstance(a, dict)]
    return [a for a in given if not a.get("was_cancelled")]


def record_ids(path: str) -> Iterator[Any]:
    """What every record is called: its "id", None where it has none."""
    return (record.get("id") for _, record in _records(path))


def _records(path: str) -> Iterator[tuple[str, Record]]:
    """(place, object): of a line each, or of one array (a whole .json file), placed by its number."""
    reject_binary(path)
    if bare_name(path).endswith(".json"):
        with open_file(path) as file:
            whole = strict_decode(path)(file.read(), 1).removeprefix("\ufeff")
        if whole.lstrip().startswith("["):
            try:
                values = json.loads(whole)
            except ValueError as error:
                raise DataError(f"not valid JSON ({error})", where=path, cure="export it again") from None
            for number, value in enumerate(values, start=1):
                yield _object(value, f"{path}: record {number}")
            return
    decode = strict_decode(path)
    for number, raw, _ in raw_lines(path):
        line = decode(raw, number)
        if not line.strip():
            continue
        place = f"{path}:{number}"
        try:
            value = json.loads(line)
        except ValueError as error:
            raise DataError(f"not valid JSON ({error})", where=place, cure="write one object a line") from None
        yield _object(value, place)


def _object(value: Any, place: str) -> tuple[str, Record]:
    if not isinstance(value, dict):
        raise DataError("not a JSON object", where=place, cure='write {"text": "...", "spans": [[0, 4, "PER"]]}')
    return place, value


def _text(record: Record, asked: str | None, place: str) -> str:
    found = record.get(asked) if asked is not None else next((record[k] for k in TEXTS if k in record), None)
    if isinstance(found, dict):  # Label Studio: {"data": {"text": ...}}
        found = next((found[k] for k in TEXTS if isinstance(found.get(k), str)), None)
    if not isinstance(found, str):
        keys = ", ".join(record) or "none"
        raise DataError(f"no text (keys: {keys})", where=place, cure="name its key with --text (text=...)")
    if replace_surrogates(found)[1] or "\0" in found:
        raise DataError("half a surrogate pair or a NUL in the text", where=place, cure="remove it")
    if not found.strip():
        raise DataError("empty text", where=place, cure="fill it in or remove the record")
    return found


def _spans(record: Record, text: str, asked: str | None, place: str) -> tuple[str, list[Span]]:
    key = asked if asked is not None else next((k for k in SPANS if k in record), None)
    if key is None and "annotation_id" in record:  # Label Studio's JSON-MIN leaves an empty list out
        return "Label Studio", []
    if key is None or key not in record:
        raise DataError(f"no spans (keys: {', '.join(record)})", where=place, cure="name their key with --label")
    value = record[key]
    if isinstance(value, dict):
        return "type -> surface -> inclusive offsets (CLUENER)", _cluener(value, text, place)
    if not isinstance(value, list):
        raise DataError(f"{key!r} holds {type(value).__name__}, not a list of spans", where=place,
                        cure='write [[0, 4, "PER"], ...]')  # fmt: skip
    if key == "annotations" and (_is_task(record) or (value and isinstance(value[0], dict) and "result" in value[0])):
        results = [item for annotation in _annotations(record)[:1] for item in annotation.get("result", [])]
        regions = [item["value"] for item in results if isinstance(item.get("value"), dict)]
        return "Label Studio", [_span(item, text, place) for item in regions if "labels" in item]
    return f"{key}: spans by character", [_span(item, text, place) for item in value]


def _cluener(value: dict[str, Any], text: str, place: str) -> list[Span]:
    found = []
    for kind, surfaces in value.items():
        if not isinstance(surfaces, dict):
            raise DataError(f"the spans of {kind!r} are not an object", where=place,
                            cure='write {"name": {"surface": [[0, 4]]}}')  # fmt: skip
        for surface, places in surfaces.items():
            for pair in places:
                if not (isinstance(pair, list) and len(pair) == 2):
                    raise DataError(f"{pair!r} is not [start, end]", where=place, cure="write two numbers")
                first, last = pair
                end = last + 1 if isinstance(last, int) else last
                found.append(_checked(first, end, kind, text, place, surface))
    return found


def _span(item: Any, text: str, place: str) -> Span:
    """[start, end, type] or an object with these."""
    if isinstance(item, list | tuple) and len(item) == 3:
        return _checked(item[0], item[1], item[2], text, place)
    if isinstance(item, dict):
        start, end, kind = (next((item[k] for k in keys if k in item), None) for keys in (_STARTS, _ENDS, _TYPES))
        if isinstance(kind, list) and len(kind) == 1:  # Label Studio
            kind = kind[0]
        surface = item.get("surface", item.get("text"))
        return _checked(start, end, kind, text, place, surface if isinstance(surface, str) else None)
    raise DataError(f"{item!r} is not a span", where=place, cure='write [start, end, "type"]')


def _checked(start: Any, end: Any, kind: Any, text: str, place: str, surface: str | None = None) -> Span:
    whole = all(isinstance(n, int) and not isinstance(n, bool) for n in (start, end))
    if not whole or not isinstance(kind, str) or not kind.strip():
        raise DataError(f"[{start!r}, {end!r}, {kind!r}] is not a span", where=place,
                        cure="write two whole numbers and one name")  # fmt: skip
    if not 0 <= start < end <= len(text):
        raise DataError(f"the span {start} to {end} ({kind}) lies outside its text of {len(text)} characters",
                        where=place, cure="correct its offsets")  # fmt: skip
    if surface is not None and text[start:end] != surface:
        raise DataError(f"at {start} to {end} stands {text[start:end]!r}, not {surface!r}", where=place,
                        cure="count characters, not bytes, and leave the text as it was labelled")  # fmt: skip
    return Span(start, end, kind.strip())


def _trimmed(reader: Reader, text: str, spans: list[Span], place: str) -> list[Span]:
    """Without white space at their ends; what is white space alone is left out, and counted."""
    kept = []
    for span in spans:
        inside = text[span.start : span.end]
        left = len(inside) - len(inside.lstrip())
        size = len(inside.strip())
        if size == 0:
            reader.notes.add("spans of white space alone were left out", place)
            continue
        if size < len(inside):
            reader.notes.add("spans lost white space at their ends", place)
        kept.append(Span(span.start + left, span.start + left + size, span.type))
    if len(set(kept)) < len(kept):
        reader.notes.add("spans were there twice", place, len(kept) - len(set(kept)))
    return kept


def _tokens(
    reader: Reader, records: list[tuple[str, Record]], label: str | None, scheme: str, labelled: bool
) -> Tagged:
    """{"tokens": [...], "tags": [...]}, as Hugging Face data sets have it."""
    lists: list[tuple[list[str], list[str]]] = []
    for place, record in records:
        tokens = next((record[k] for k in TOKENS if k in record), None)
        key = label if label is not None else next((k for k in TAGS if k in record), None)
        tags = record.get(key or "", []) if labelled else []
        _refuse_lists(tokens, tags, labelled, place)
        lists.append((list(tokens or ()), list(tags)))
    found: Scheme = "each" if scheme == "each" else recognise(tags for _, tags in lists)
    glued = mostly_characters([token for tokens, _ in lists[:2000] for token in tokens])
    for (place, _), (tokens, tags) in zip(records, lists, strict=True):
        text, units = join_tokens(tokens, glued)
        chunks = chunks_of(tags, found)
        spans = [Span(int(units[c.first, 0]), int(units[c.last - 1, 1]), c.type) for c in chunks]
        loose = [span for span, chunk in zip(spans, chunks, strict=True) if not chunk.strict]
        if loose:
            reader.notes.add("spans that begin or end as their scheme does not allow were repaired", place, len(loose))
        reader.add(text, units, spans, place, loose)
    said = f"tokens and tags{f' ({found})' if labelled else ' (not read)'}"
    return reader.done(said, glued=glued, each=found == "each" and labelled)


def _refuse_lists(tokens: Any, tags: Any, labelled: bool, place: str) -> None:
    strings: Callable[[Any], bool] = lambda v: isinstance(v, list) and all(isinstance(t, str) for t in v)  # noqa: E731
    if not strings(tokens) or not tokens or not all(t.strip() for t in tokens):
        raise DataError("no list of tokens", where=place, cure='write {"tokens": ["..."], "tags": ["O"]}')
    if labelled and isinstance(tags, list) and any(isinstance(t, int) for t in tags):
        raise DataError("the tags are numbers without names", where=place, cure="write the names, B-PER and so on")
    if labelled and (not strings(tags) or len(tags) != len(tokens)):
        count = len(tags) if isinstance(tags, list) else "no"
        raise DataError(f"{len(tokens)} tokens and {count} tags", where=place, cure="write a tag for every token")
