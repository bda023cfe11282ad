"""``download``: the files of a public model from a hub, the only verb that opens a connection.

A hub is any server with the layout BASE/NAME/resolve/REVISION/FILE. Weights are safetensors or nothing: a .bin is a
pickle, which is never fetched.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import shutil
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

from wordloom.api.transfer import Remote, fetch, look, no_space
from wordloom.errors import DownloadError

HUB = "https://huggingface.co"
HUB_VARIABLE = "WORDLOOM_HUB"
WEIGHTS, INDEX, PICKLES = "model.safetensors", "model.safetensors.index.json", ("pytorch_model.bin",
    "pytorch_model.bin.index.json")  # fmt: skip
EXTRAS = (
    "generation_config.json", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json",
    "vocab.txt", "vocab.json", "merges.txt", "spiece.model", "sentencepiece.bpe.model", "tokenizer.model",
)  # fmt: skip
STATE = "download.json"


def download(
    name: str,
    out: str | Path,
    *,
    base: str | None = None,
    revision: str = "main",
    overwrite: bool = False,
    quiet: bool = False,
) -> list[str]:
    """Fetch config.json, weights and tokenizer of a public model into a folder; what there is to say.

    name: OWNER/MODEL or MODEL. base: the hub's address; None: WORDLOOM_HUB of the environment, else ``HUB``.
    The folder appears whole: until then files lie in .FOLDER.part beside it, and the same call goes on with them.
    Sizes, and hashes where the hub gives them, are checked. Raises DownloadError.
    """
    base = (base or os.environ.get(HUB_VARIABLE) or HUB).rstrip("/")
    _refuse_odd(name, base, revision)
    out = Path(out).absolute()
    if out.exists() and not (out.is_dir() and (overwrite or not any(out.iterdir()))):
        cure = "name another folder, or ask to overwrite" if out.is_dir() else "name another folder"
        raise DownloadError("already exists", where=out, cure=cure)
    with _part_folder(out) as part:
        config = look(_address(base, name, revision, "config.json"))
        if config is None:
            cure = "check the name and the revision, or name the hub with --from"
            raise DownloadError(f"no model {name} with a config.json at revision {revision}", where=base, cure=cure)
        commit = config.commit or revision
        if config.commit:  # one snapshot, whatever is pushed meanwhile
            config = look(_address(base, name, commit, "config.json")) or config
        source = {"from": base, "name": name, "revision": revision, "commit": config.commit}
        _forget_others(part, source)
        files = _files(part, base, name, commit, config, quiet)
        _refuse_full(part, files)
        found = {file: _get(part, file, remote, quiet) for file, remote in files.items()}
        _write_state(part, {**source, "files": found})
        _put(part, out)
    total = sum(row["bytes"] for row in found.values())
    lines = [f"{name} {commit}: {len(found)} files, {total / 1e6:,.1f} MB"]
    if not set(found) & {"tokenizer.json", "vocab.txt", "vocab.json", "spiece.model", "sentencepiece.bpe.model",
                         "tokenizer.model"}:  # fmt: skip
        lines.append("note: it has no tokenizer files; put those of the model it was made from beside it")
    return [*lines, f"written: {out}", f"next: wordloom import {out} -o RUN"]


# --- which files -----------------------------------------------------------------------------------------------------


def _refuse_odd(name: str, base: str, revision: str) -> None:
    part = r"(?!\.+(/|$))[\w.-]+"
    if not re.fullmatch(f"{part}(/{part})?", name):
        raise DownloadError(f"{name!r} is not the name of a model", cure="write it as OWNER/MODEL")
    if not re.fullmatch(r"[\w./-]+", revision) or ".." in revision:
        raise DownloadError(f"{revision!r} is not a revision", cure="name a branch, a tag or a commit")
    if urlsplit(base).scheme not in ("http", "https") or not urlsplit(base).netloc:
        raise DownloadError(f"{base!r} is not the address of a hub", cure="write it as https://HOST")


def _address(base: str, name: str, revision: str, file: str) -> str:
    return f"{base}/{name}/resolve/{quote(revision, safe='')}/{quote(file)}"


def _files(part: Path, base: str, name: str, commit: str, config: Remote, quiet: bool) -> dict[str, Remote]:
    """Everything to fetch, by name; an index is fetched here, as it names the rest."""

    def at(file: str) -> Remote | None:
        return look(_address(base, name, commit, file))

    files = {"config.json": config}
    weights = at(WEIGHTS)
    if weights is not None:
        files[WEIGHTS] = weights
    elif (index := at(INDEX)) is not None:
        files[INDEX] = index
        _get(part, INDEX, index, quiet)
        for shard in _shards(part / INDEX):
            found = at(shard)
            if found is None:
                what = f"the index names {shard}, which the hub does not have"
                raise DownloadError(what, where=f"{base}/{name}", cure="name another revision")
            files[shard] = found
    else:
        pickle = next((file for file in PICKLES if at(file) is not None), None)
        what = "it has no model.safetensors" if pickle is None else f"its weights are {pickle}, a pickle: never fetched"
        cure = "name a model or a revision with model.safetensors"
        if pickle is not None:
            cure += ", or save it anew on a machine that may run it: save_pretrained of transformers writes safetensors"
        raise DownloadError(what, where=f"{base}/{name}", cure=cure)
    return files | {file: found for file in EXTRAS if (found := at(file)) is not None}


def _shards(index: Path) -> list[str]:
    try:
        places = json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()
        names = sorted({str(place) for place in places})
    except (ValueError, KeyError, TypeError, AttributeError):
        raise DownloadError("the index has no usable weight_map", where=index, cure="name another revision") from None
    odd = [name for name in names if not re.fullmatch(r"[\w-][\w.-]*\.safetensors", name)]
    if odd or not names:
        raise DownloadError(f"the index names odd files: {odd}", where=index, cure="name another revision")
    return names


# --- fetching --------------------------------------------------------------------------------------------------------


def _get(part: Path, file: str, remote: Remote, quiet: bool) -> dict[str, Any]:
    """Fetch a file that is not there yet; its facts for the state, which is written after each."""
    state = _read_state(part)
    seen = state.setdefault("seen", {})
    known = seen.get(file, {})
    target, partial = part / file, part / f"{file}.part"
    if target.exists() and "sha256" in known and known["etag"] == remote.etag:
        return {"bytes": known["bytes"], "sha256": known["sha256"]}
    if known.get("etag") != remote.etag:  # what is there belongs to another state of the file
        partial.unlink(missing_ok=True)
    seen[file] = {"etag": remote.etag}
    _write_state(part, state)
    with _progress(file, remote.size, quiet) as tell:
        sha256 = fetch(remote, target, tell)
    facts = {"bytes": target.stat().st_size, "sha256": sha256}
    seen[file] |= facts
    _write_state(part, state)
    return facts


@contextmanager
def _progress(file: str, size: int | None, quiet: bool) -> Iterator[Any]:
    """A line on a terminal that is written over; elsewhere a line when the file is there."""
    live, begun, last = sys.stderr.isatty() and not quiet, time.monotonic(), [0.0, 0]

    def tell(have: int) -> None:
        last[1] = have
        now = time.monotonic()
        if live and now - last[0] > 0.2:
            last[0] = now
            share = f"{100 * have / size:3.0f} %" if size else ""
            print(f"\r{file}  {have / 1e6:,.1f} MB {share}", end="", file=sys.stderr, flush=True)

    yield tell
    if not quiet:
        seconds = max(time.monotonic() - begun, 1e-3)
        print(f"{chr(13) * live}{file}  {last[1] / 1e6:,.1f} MB in {seconds:.1f} s", file=sys.stderr)


def _refuse_full(part: Path, files: Mapping[str, Remote]) -> None:
    """Before the first byte, not after the last but one."""
    there = sum(p.stat().st_size for p in part.iterdir() if p.name.removesuffix(".part") in files)
    needed = sum(remote.size or 0 for remote in files.values()) - there
    free = shutil.disk_usage(part).free
    if needed > free:
        what = f"{needed / 1e6:,.0f} MB are to come, and {free / 1e6:,.0f} MB are free"
        raise DownloadError(what, where=part.parent, cure="free some space, or name a folder on another disk")


# --- the folder ------------------------------------------------------------------------------------------------------


@contextmanager
def _part_folder(out: Path) -> Iterator[Path]:
    """.FOLDER.part, held by this process alone."""
    part = out.with_name(f".{out.name}.part")
    try:
        part.mkdir(parents=True, exist_ok=True)
        lock = (part / ".lock").open("w")
    except OSError as error:
        raise no_space(part, error) from None
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise DownloadError("another process is fetching it", where=out, cure="wait for it") from None
        try:
            yield part
        except KeyboardInterrupt:
            raise KeyboardInterrupt("the same command goes on from here") from None
        except OSError as error:
            raise no_space(part, error) from None
        finally:
            if part.exists() and {p.name for p in part.iterdir()} <= {".lock", STATE}:
                shutil.rmtree(part)


def _forget_others(part: Path, source: Mapping[str, str]) -> None:
    """Leave nothing of another model or commit."""
    state = _read_state(part)
    if {k: state.get(k) for k in source} != source:
        for path in part.iterdir():
            if path.name != ".lock":
                path.unlink()
        _write_state(part, dict(source))


def _read_state(part: Path) -> dict[str, Any]:
    try:
        values = json.loads((part / STATE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return values if isinstance(values, dict) else {}


def _write_state(part: Path, values: Mapping[str, Any]) -> None:
    temporary = part / f".{STATE}.new"
    temporary.write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")
    os.replace(temporary, part / STATE)


def _put(part: Path, out: Path) -> None:
    """The part takes the folder's place; what is no file of this model is left behind."""
    wanted = {STATE, *_read_state(part)["files"]}
    for path in part.iterdir():
        if path.name not in wanted:
            path.unlink()
    old = out.with_name(f".{out.name}.old")
    shutil.rmtree(old, ignore_errors=True)
    if out.exists():
        os.replace(out, old)
    try:
        os.replace(part, out)
    except OSError:
        if old.exists():
            os.replace(old, out)
        raise
    shutil.rmtree(old, ignore_errors=True)
