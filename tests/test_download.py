"""``download`` against a hub of its own on the loopback device: nothing here leaves the machine."""

from __future__ import annotations

import errno
import hashlib
import http.server
import json
import shutil
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers

from cli_runs import command
from wordloom import api
from wordloom.api import downloading, transfer
from wordloom.errors import DownloadError
from wordloom.model.interop import load_bundle

COMMIT = "c" * 40
BIG = bytes(range(256)) * 4096  # 1 MiB


@dataclass
class Hub:
    """Files by name. large: served as a hub serves large files, by a redirection that states the hash. cut: file ->
    after how many bytes each of its first answers breaks. etags, sizes: lies, by file. log: method, path, range."""

    files: dict[str, bytes]
    large: set[str] = field(default_factory=set)
    cut: dict[str, list[int]] = field(default_factory=dict)
    etags: dict[str, str] = field(default_factory=dict)
    statuses: dict[str, int] = field(default_factory=dict)
    plain: bool = False  # no hashes, no commit, no ranges
    commit: str = COMMIT
    log: list[tuple[str, str, str | None]] = field(default_factory=list)
    address: str = ""

    def gets(self) -> list[str]:
        return [path.rpartition("/")[2] for method, path, _ in self.log if method == "GET" and "/cdn/" not in path]


def git_sha1(content: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: Any) -> None: ...

    def do_HEAD(self) -> None:
        self.answer(body=False)

    def do_GET(self) -> None:
        self.answer(body=True)

    def answer(self, body: bool) -> None:
        hub: Hub = self.server.hub  # type: ignore[attr-defined]
        hub.log.append((self.command, self.path, self.headers.get("Range")))
        name, content = self.path.rpartition("/")[2], hub.files.get(self.path.rpartition("/")[2])
        if (status := hub.statuses.get(name, 200)) != 200 or content is None or "/gone/" in self.path:
            self.reply(status if status != 200 else 404, {}, b"")
        elif name in hub.large and "/cdn/" not in self.path:
            etag = hub.etags.get(name, hashlib.sha256(content).hexdigest())
            headers = {"X-Linked-Etag": f'"{etag}"', "X-Linked-Size": str(len(content)), "X-Repo-Commit": hub.commit}
            self.reply(302, {**headers, "Location": f"{hub.address}/cdn/{name}"}, b"")
        else:
            self.content(hub, name, content, body)

    def content(self, hub: Hub, name: str, content: bytes, body: bool) -> None:
        headers = {} if hub.plain else {"ETag": f'"{hub.etags.get(name, git_sha1(content))}"',
                                        "X-Repo-Commit": hub.commit}  # fmt: skip
        if name in hub.large:
            headers.pop("ETag", None)
        status, wanted = 200, self.headers.get("Range")
        whole = len(content)
        if wanted and body and not hub.plain:
            first = int(wanted.removeprefix("bytes=").rstrip("-"))
            status, content = 206, content[first:]
            headers["Content-Range"] = f"bytes {first}-{whole - 1}/{whole}"
        cuts = hub.cut.get(name, [])
        cut = cuts.pop(0) if body and cuts else None
        self.reply(status, headers, content if body else b"", len(content), cut)

    def reply(self, status: int, headers: dict[str, str], body: bytes, length: int = 0, cut: int | None = None) -> None:
        self.send_response(status)
        for key, value in headers.items():
            self.send_header(key, value)
        self.send_header("Content-Length", str(length))
        self.end_headers()
        self.wfile.write(body if cut is None else body[:cut])
        if cut is not None:
            self.close_connection = True


@pytest.fixture
def hub() -> Iterator[Hub]:
    config = json.dumps({"model_type": "gpt2"}).encode()
    made = Hub({"config.json": config, "model.safetensors": BIG, "tokenizer.json": b"{}"}, large={"model.safetensors"})
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.hub = made  # type: ignore[attr-defined]
    made.address = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    yield made
    server.shutdown()
    server.server_close()
    thread.join()


def get(hub: Hub, out: Path, **settings: Any) -> list[str]:
    return api.download("some/model", out, base=hub.address, quiet=True, **settings)


def part_of(out: Path) -> Path:
    return out.with_name(f".{out.name}.part")


def test_a_model_comes_whole(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("WORDLOOM_HUB", hub.address + "/")
    said = command(monkeypatch, capfd, "download", "some/model", "-o", tmp_path / "deep/model")
    assert said.code == 0, said.err
    assert f"some/model {COMMIT}: 3 files" in said.out and "wordloom import" in said.out
    found = {p.name: p.read_bytes() for p in (tmp_path / "deep/model").iterdir()}
    state = json.loads(found.pop("download.json"))
    assert found == hub.files
    assert state["commit"] == COMMIT and state["revision"] == "main" and state["from"] == hub.address
    assert state["files"]["model.safetensors"] == {"bytes": len(BIG), "sha256": hashlib.sha256(BIG).hexdigest()}
    assert sorted(p.name for p in (tmp_path / "deep").iterdir()) == ["model"]
    heads = [path for method, path, _ in hub.log if method == "HEAD"]
    assert heads[0] == "/some/model/resolve/main/config.json"
    assert all(path.startswith(f"/some/model/resolve/{COMMIT}/") for path in heads[1:])  # one snapshot
    again = command(monkeypatch, capfd, "download", "some/model", "-o", tmp_path / "deep/model")
    assert again.code == 2 and "already exists" in again.err
    hub.files["tokenizer.json"] = b'{"new": 1}'
    assert get(hub, tmp_path / "deep/model", overwrite=True)
    assert (tmp_path / "deep/model/tokenizer.json").read_bytes() == b'{"new": 1}'


def test_shards(hub: Hub, tmp_path: Path) -> None:
    del hub.files["model.safetensors"]
    places = {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}
    hub.files |= {"model.safetensors.index.json": json.dumps({"weight_map": places}).encode(),
                  places["a"]: BIG[:1000], places["b"]: BIG[1000:5000]}  # fmt: skip
    hub.large |= set(places.values())
    get(hub, tmp_path / "model")
    assert (tmp_path / "model" / places["b"]).read_bytes() == BIG[1000:5000]
    for wrong in ("../../evil.safetensors", "weights.bin", "/etc/x.safetensors", ".hidden.safetensors"):
        hub.files["model.safetensors.index.json"] = json.dumps({"weight_map": {"a": wrong}}).encode()
        with pytest.raises(DownloadError, match="odd files"):
            get(hub, tmp_path / "odd")
    del hub.files[places["a"]]
    hub.files["model.safetensors.index.json"] = json.dumps({"weight_map": places}).encode()
    with pytest.raises(DownloadError, match=f"names {places['a']}, which the hub does not have"):
        get(hub, tmp_path / "lacking")


def test_a_broken_connection_is_gone_on_with(hub: Hub, tmp_path: Path) -> None:
    hub.cut["model.safetensors"] = [300_000, 100_000]
    get(hub, tmp_path / "model")
    assert (tmp_path / "model/model.safetensors").read_bytes() == BIG
    ranges = [wanted for method, path, wanted in hub.log if method == "GET" and "/cdn/" in path]
    assert ranges == [None, "bytes=300000-", "bytes=400000-"]


def test_the_same_command_goes_on(hub: Hub, tmp_path: Path) -> None:
    hub.cut["model.safetensors"] = [300_000, 0]
    with pytest.raises(DownloadError, match=r"broke at 300,000 bytes .*same command again"):
        get(hub, tmp_path / "model")
    assert not (tmp_path / "model").exists()
    assert (part_of(tmp_path / "model") / "model.safetensors.part").stat().st_size == 300_000
    hub.log.clear()
    get(hub, tmp_path / "model")
    assert (tmp_path / "model/model.safetensors").read_bytes() == BIG
    assert hub.gets() == ["model.safetensors", "tokenizer.json"]  # config.json was there
    assert [w for _, path, w in hub.log if "/cdn/" in path] == ["bytes=300000-"]


def test_another_commit_starts_anew(hub: Hub, tmp_path: Path) -> None:
    hub.cut["model.safetensors"] = [300_000, 0]
    with pytest.raises(DownloadError):
        get(hub, tmp_path / "model")
    hub.commit, hub.files["model.safetensors"] = "d" * 40, BIG[::-1]
    get(hub, tmp_path / "model")
    assert (tmp_path / "model/model.safetensors").read_bytes() == BIG[::-1]


def test_a_server_without_ranges_and_hashes(hub: Hub, tmp_path: Path) -> None:
    hub.plain, hub.large = True, set()
    hub.cut["model.safetensors"] = [300_000, 0]
    with pytest.raises(DownloadError):
        get(hub, tmp_path / "model")
    get(hub, tmp_path / "model")
    assert (tmp_path / "model/model.safetensors").read_bytes() == BIG


@pytest.mark.parametrize(("file", "kind"), [("model.safetensors", "sha256"), ("tokenizer.json", "git's sha1")])
def test_wrong_bytes_are_refused(hub: Hub, tmp_path: Path, file: str, kind: str) -> None:
    hub.etags[file] = "0" * (64 if kind == "sha256" else 40)
    with pytest.raises(DownloadError, match=f"another {kind} than the server announced"):
        get(hub, tmp_path / "model")
    assert not (tmp_path / "model").exists() and not (part_of(tmp_path / "model") / f"{file}.part").exists()


@pytest.mark.parametrize("pickle", ["pytorch_model.bin", "pytorch_model.bin.index.json"])
def test_pickles_are_refused_by_name(hub: Hub, tmp_path: Path, pickle: str) -> None:
    hub.files = {"config.json": hub.files["config.json"], pickle: b"\x80\x04evil"}
    with pytest.raises(DownloadError, match=rf"its weights are {pickle}, a pickle: never fetched.*writes safetensors"):
        get(hub, tmp_path / "model")
    assert hub.gets() == [] and list(tmp_path.iterdir()) == []
    del hub.files[pickle]
    with pytest.raises(DownloadError, match=r"it has no model\.safetensors"):
        get(hub, tmp_path / "model")


def test_no_such_model_no_permission_no_network(hub: Hub, tmp_path: Path) -> None:
    with pytest.raises(DownloadError, match=r"no model some/model with a config.json at revision gone"):
        get(hub, tmp_path / "model", revision="gone")
    hub.statuses["config.json"] = 401
    with pytest.raises(DownloadError, match=r"without an account \(status 401\), or there is no such model"):
        get(hub, tmp_path / "model")
    hub.statuses["config.json"] = 503
    with pytest.raises(DownloadError, match=r"status 503\. Try again later"):
        get(hub, tmp_path / "model")
    with pytest.raises(DownloadError, match=r"127.0.0.1:9 cannot be reached \(.*refused"):
        api.download("some/model", tmp_path / "model", base="http://127.0.0.1:9", quiet=True)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["../x", "a/../b", "a/b/c", "", "a b", "http://x/y", "a/.."])
def test_odd_names(hub: Hub, tmp_path: Path, name: str) -> None:
    with pytest.raises(DownloadError, match="is not the name of a model"):
        api.download(name, tmp_path / "model", base=hub.address)
    for base in ("ftp://127.0.0.1", "127.0.0.1", "file:///etc"):
        with pytest.raises(DownloadError, match="not the address of a hub"):
            api.download("some/model", tmp_path / "model", base=base)
    assert hub.log == []


def test_full_disks(hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(downloading.shutil, "disk_usage", lambda _: usage._replace(free=1000))
    with pytest.raises(DownloadError, match=r"1 MB are to come, and 0 MB are free.*Free some space"):
        get(hub, tmp_path / "model")
    assert hub.gets() == [] and list(tmp_path.iterdir()) == []
    monkeypatch.undo()

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(transfer.os, "fsync", full)
    with pytest.raises(DownloadError, match=r"cannot be written: No space left on device.*Free some space"):
        get(hub, tmp_path / "model")
    monkeypatch.undo()
    get(hub, tmp_path / "model")
    assert (tmp_path / "model/model.safetensors").read_bytes() == BIG


def test_two_at_once(hub: Hub, tmp_path: Path) -> None:
    with downloading._part_folder(tmp_path / "model"), pytest.raises(DownloadError, match="another process"):
        get(hub, tmp_path / "model")


def test_what_arrives_is_imported(hub: Hub, tmp_path: Path) -> None:
    """A real folder, as transformers writes it, over the wire and into a bundle: equal weights."""
    torch.manual_seed(0)
    config = transformers.GPT2Config(vocab_size=300, n_embd=16, n_layer=1, n_head=2, n_positions=32,
                                     bos_token_id=0, eos_token_id=0)  # fmt: skip
    public = transformers.GPT2LMHeadModel(config)
    public.save_pretrained(tmp_path / "public")
    import tokenizers

    backend = tokenizers.Tokenizer(tokenizers.models.BPE())
    backend.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = tokenizers.trainers.BpeTrainer(vocab_size=300, special_tokens=["<|endoftext|>"], show_progress=False)
    backend.train_from_iterator(["a text to learn from"], trainer)
    backend.save(str(tmp_path / "public/tokenizer.json"))
    hub.files = {p.name: p.read_bytes() for p in (tmp_path / "public").iterdir()}
    get(hub, tmp_path / "model")
    api.import_folder(tmp_path / "model", tmp_path / "run")
    ours: Any = load_bundle(tmp_path / "run").model.body
    assert torch.equal(ours.embeddings.tokens.weight, public.transformer.wte.weight)
