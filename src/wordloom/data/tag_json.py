"""JSON with spans by character: doccano, CLUENER, Label Studio, our own answers, and lists of tokens with tags.

What a record is, is seen from its keys; ends are exclusive but in CLUENER's. A span's own text, where it is given, must
be what stands at its offsets.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

from wordloom.data.faults import STRICT, Faults, NoRecordError
from wordloom.data.json_places import JsonText, with_starts
from wordloom.data.readers import raw_lines, reject_binary, replace_surrogates, strict_decode, whole_text
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


def read_json(
    path: str, *, text: str | None, label: str | None, overlaps: bool, scheme: str, labelled: bool, faults: Faults
) -> Tagged:
    """As ``tagged.read_tagged``."""
    records = list(_records(path, faults))
    if not records:
        raise NoRecordError("no record in it", where=path, cure="check that the file was written completely")
    reader = Reader(path, overlaps=overlaps, faults=faults)
    if text is None and any(isinstance(records[0][1].get(key), list) for key in TOKENS):
        return _tokens(reader, records, label, scheme, labelled)
    kinds: dict[str, int] = {}
    for place, record in records:
        try:
            kind = _add(reader, record, text, label, labelled, place)
        except DataError as error:
            faults.add(error)
            continue
        if kind is not None:
            kinds[kind] = kinds.get(kind, 0) + 1
    if not kinds:
        raise NoRecordError("no record is annotated", where=path, cure="annotate some, or take them back from skipped")
    return reader.done(", ".join(f"{count:,} x {kind}" for kind, count in kinds.items()))


def _add(reader: Reader, record: Record, text: str | None, label: str | None, labelled: bool, place: str) -> str | None:
    """The shape of the record, or None where it is left out."""
    body = _text(record, text, place)
    if labelled and label is None and _is_task(record):
        valid = _annotations(record)
        if not valid:
            reader.notes.add("records that nobody annotated, or that were skipped, left out", place)
            return None
        if len(valid) > 1:
            reader.notes.add("records with several annotations, of which the first is read", place)
    if not labelled:
        reader.add(body, None, [], place)
        return "text alone"
    kind, items = _spans(record, label, place)
    spans = []
    for item in items:
        try:
            spans.append(_span(item, body, place))
        except DataError as error:
            reader.faults.add(error)
    reader.add(body, None, _trimmed(reader, body, spans, place), place)
    return kind


def _is_task(record: Record) -> bool:
    """A task of Label Studio's JSON export; its JSON-MIN has the labels beside the text."""
    return isinstance(record.get("data"), dict) and isinstance(record.get("annotations"), list)


def _annotations(record: Record) -> list[Record]:
    """Those of a task that were not cancelled ("Skip")."""
    given = [a for a in record["annotations"] if isinstance(a, dict)]
    return [a for a in given if not a.get("was_cancelled")]


def record_ids(path: str) -> Iterator[Any]:
    """What every record is called: its "id", None where it has none."""
    return (record.get("id") for _, record in _records(path, STRICT))


def _records(path: str, faults: Faults) -> Iterator[tuple[str, Record]]:
    """(place, object): of a line each, or of one array (a whole .json file), placed by line and number."""
    for place, value in _values(path, faults):
        if isinstance(value, dict):
            yield place, value
        else:
            cure = 'write {"text": "...", "spans": [[0, 4, "PER"]]}'
            faults.add(DataError("not a JSON object", where=place, cure=cure))


def _values(path: str, faults: Faults) -> Iterator[tuple[str, Any]]:
    reject_binary(path)
    if bare_name(path).endswith(".json"):
        whole = whole_text(path, faults)
        if whole.lstrip().startswith("["):
            yield from _items(JsonText(path, whole))
            return
    decode = strict_decode(path, faults)
    for number, raw, _ in raw_lines(path):
        line, place = decode(raw, number), f"{path}:{number}"
        if not line.strip():
            continue
        try:
            value = json.loads(line)
        except (ValueError, RecursionError) as error:
            faults.add(DataError(f"not valid JSON ({error})", where=place, cure="write one object a line"))
        else:
            yield place, value


def _items(source: JsonText) -> Iterator[tuple[str, Any]]:
    try:
        values = source.decode()
    except (ValueError, RecursionError) as error:
        where = f"{source.path}:{getattr(error, 'lineno', 1)}"
        raise DataError(f"not valid JSON ({error})", where=where, cure="export it again") from None
    for number, (value, at) in enumerate(with_starts(values), start=1):
        yield f"{source.place(at)}: record {number}", value


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


def _spans(record: Record, asked: str | None, place: str) -> tuple[str, list[Any]]:
    """(the shape of the record, what ``_span`` reads)."""
    key = asked if asked is not None else next((k for k in SPANS if k in record), None)
    if key is None and "annotation_id" in record:  # Label Studio's JSON-MIN leaves an empty list out
        return "Label Studio", []
    if key is None or key not in record:
        raise DataError(f"no spans (keys: {', '.join(record)})", where=place, cure="name their key with --label")
    value = record[key]
    if isinstance(value, dict):
        return "type -> surface -> inclusive offsets (CLUENER)", _cluener(value, place)
    if not isinstance(value, list):
        raise DataError(f"{key!r} holds {type(value).__name__}, not a list of spans", where=place,
                        cure='write [[0, 4, "PER"], ...]')  # fmt: skip
    if key == "annotations" and (_is_task(record) or (value and isinstance(value[0], dict) and "result" in value[0])):
        return "Label Studio", _regions(record, place)
    return f"{key}: spans by character", value


def _regions(record: Record, place: str) -> list[Record]:
    """The labelled spans of the first annotation; what else an annotator may have added is no span."""
    found: list[Record] = []
    for annotation in _annotations(record)[:1]:
        results = annotation.get("result", [])
        if not isinstance(results, list) or not all(isinstance(item, dict) for item in results):
            raise DataError("the result of an annotation is no list of objects", where=place, cure="export it again")
        regions = [item["value"] for item in results if isinstance(item.get("value"), dict)]
        found += [region for region in regions if "labels" in region]
    return found


def _cluener(value: dict[str, Any], place: str) -> list[Any]:
    found = []
    for kind, surfaces in value.items():
        if not isinstance(surfaces, dict):
            raise DataError(f"the spans of {kind!r} are not an object", where=place,
                            cure='write {"name": {"surface": [[0, 4]]}}')  # fmt: skip
        for surface, places in surfaces.items():
            for pair in places if isinstance(places, list) else [places]:
                if not (isinstance(pair, list) and len(pair) == 2):
                    raise DataError(f"{pair!r} is not [start, end]", where=place, cure="write two numbers")
                first, last = pair
                end = last + 1 if isinstance(last, int) else last
                found.append({"start": first, "end": end, "type": kind, "surface": surface})
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
    lists: list[tuple[str, list[str], list[str]]] = []
    for place, record in records:
        tokens = next((record[k] for k in TOKENS if k in record), None)
        key = label if label is not None else next((k for k in TAGS if k in record), None)
        tags = record.get(key or "", []) if labelled else []
        try:
            _refuse_lists(tokens, tags, labelled, place)
        except DataError as error:
            reader.faults.add(error)
        else:
            lists.append((place, list(tokens or ()), list(tags)))
    found: Scheme = "each" if scheme == "each" else recognise(tags for _, _, tags in lists)
    glued = mostly_characters([token for _, tokens, _ in lists[:2000] for token in tokens])
    for place, tokens, tags in lists:
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
