"""One file over HTTP: what a server says of it, and its bytes, resumed where they stopped and checked at the end.

Nothing but the standard library. This and `downloading` are the only modules that open a connection.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import http.client
import os
import re
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from email.message import Message
from pathlib import Path
from typing import IO, Any, NamedTuple
from urllib.parse import urljoin, urlsplit

from wordloom.errors import DownloadError

TIMEOUT = 30.0  # seconds without a byte
BLOCK = 1 << 20
REDIRECTS = 5
_AGAIN = "give the same command again: it goes on where it stopped"
_BROKEN = (OSError, http.client.HTTPException)  # URLError, timeouts and TLS errors are OSErrors


class Remote(NamedTuple):
    """A file on the server. size, sha256, git_sha1: None where it does not say; etag: as it says, to notice a change;
    commit: of the repository it belongs to, "" where it does not say."""

    address: str
    size: int | None
    sha256: str | None
    git_sha1: str | None
    etag: str
    commit: str


class _Stay(urllib.request.HTTPRedirectHandler):
    """A redirection is an answer: a hub says what a file is before it sends one to where the bytes lie."""

    def redirect_request(self, *arguments: Any, **_: Any) -> None:
        return None


class _Safely(urllib.request.HTTPRedirectHandler):
    """Follows, but never from https to anything else."""

    def redirect_request(self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str) -> Any:
        if urlsplit(req.full_url).scheme == "https" and urlsplit(newurl).scheme != "https":
            raise DownloadError("the server leads to an unencrypted address", where=newurl, cure="use another server")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def look(address: str) -> Remote | None:
    """What the server says of a file; None where it has none (404). Raises DownloadError."""
    opener = urllib.request.build_opener(_Stay)
    at, commit = address, ""
    for _ in range(REDIRECTS):
        headers, status = _head(opener, at)
        commit = headers.get("X-Repo-Commit") or commit
        onward = headers.get("Location")
        if status == 404:
            return None
        if status >= 400:
            raise _refused(at, status)
        if status < 300 or headers.get("X-Linked-Etag") or not onward:
            return _remote(address, headers, status, commit)
        following = urljoin(at, onward)
        if urlsplit(following).netloc != urlsplit(at).netloc:  # the bytes lie elsewhere, and nothing more is said
            return Remote(address, None, None, None, "", commit)
        at = following
    raise DownloadError("the server sends in circles", where=address, cure="use another server")


def fetch(remote: Remote, target: Path, tell: Callable[[int], object]) -> str:
    """The bytes of a file to ``target``, by way of target.part, which is gone on with where it is there; its sha256.

    tell: the bytes that are there so far. A connection that breaks is opened again as long as each brings something.
    Raises DownloadError: no connection, no space, or another size or hash than announced, which removes the part.
    """
    part = target.with_name(f"{target.name}.part")
    have = part.stat().st_size if part.exists() else 0
    if remote.size is not None and have > remote.size:
        part.unlink()
        have = 0
    whole = False
    while not whole:
        whole, now, why = _some(remote, part, have, tell)
        if not whole and now <= have:
            raise DownloadError(f"the connection broke at {now:,} bytes ({why})", where=remote.address, cure=_AGAIN)
        have = now
    return _checked(remote, part, target)


def _head(opener: Any, address: str) -> tuple[Message, int]:
    request = urllib.request.Request(address, method="HEAD", headers={"Accept-Encoding": "identity"})
    try:
        with opener.open(request, timeout=TIMEOUT) as answer:
            return answer.headers, answer.status
    except urllib.error.HTTPError as answer:
        return answer.headers, answer.code
    except _BROKEN as error:
        raise _unreachable(address, error) from None
    except ValueError as error:
        raise DownloadError(f"not an address: {error}", where=address, cure="write it as https://HOST") from None


def _remote(address: str, headers: Message, status: int, commit: str) -> Remote:
    """X-Linked-*: of the file itself, where the answer is a redirection to it. A hub's etags are hashes: sha256 of
    large files, git's sha1 of small ones."""
    linked = headers.get("X-Linked-Size")
    size = linked if linked is not None else headers.get("Content-Length") if status < 300 else None
    etag = (headers.get("X-Linked-Etag") or headers.get("ETag") or "").removeprefix("W/").strip('"')
    sha256 = etag if re.fullmatch("[0-9a-f]{64}", etag) else None
    git = etag if re.fullmatch("[0-9a-f]{40}", etag) else None
    return Remote(address, int(size) if size is not None else None, sha256, git, etag, commit)


def _some(remote: Remote, part: Path, have: int, tell: Callable[[int], object]) -> tuple[bool, int, str]:
    """One connection: (whether the file is whole, bytes there are now, why it broke)."""
    if remote.size is not None and have == remote.size and part.exists():
        return True, have, ""
    headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={have}-"} if have else {})
    request = urllib.request.Request(remote.address, headers=headers)
    try:
        with urllib.request.build_opener(_Safely).open(request, timeout=TIMEOUT) as answer:
            if have and not _continues(answer, have):
                have = 0  # it sends the whole file
            announced = answer.headers.get("Content-Length")
            total = have + int(announced) if announced is not None else remote.size
            if remote.size is not None and total != remote.size:
                what = f"it sends {total:,} bytes of a file of {remote.size:,}"
                raise DownloadError(what, where=remote.address, cure=_AGAIN)
            now = _copy(answer, part, have, tell, remote.size)
    except urllib.error.HTTPError as error:
        if error.code == 416 and have:  # there is nothing behind what is here, of a file of unknown size
            part.unlink()
            return _some(remote, part, 0, tell)
        raise _refused(remote.address, error.code) from None
    except _BROKEN as error:
        now = part.stat().st_size if part.exists() else 0
        if not now:
            raise _unreachable(remote.address, error) from None
        return False, now, _reason(error)
    return total is None or now == total, now, "it ended early"


def _continues(answer: Any, have: int) -> bool:
    return answer.status == 206 and str(answer.headers.get("Content-Range", "")).startswith(f"bytes {have}-")


def _copy(answer: IO[bytes], part: Path, have: int, tell: Callable[[int], object], size: int | None) -> int:
    with _disk(part):
        file = part.open("ab" if have else "wb", buffering=0)
    with file:
        while block := answer.read(BLOCK):
            if size is not None and have + len(block) > size:
                raise DownloadError("more bytes come than were announced", where=part, cure=_AGAIN)
            with _disk(part):
                file.write(block)
            have += len(block)
            tell(have)
        with _disk(part):
            os.fsync(file.fileno())
    return have


@contextlib.contextmanager
def _disk(path: Path) -> Iterator[None]:
    """An OSError in here is the disk's, elsewhere the connection's."""
    try:
        yield
    except OSError as error:
        raise no_space(path, error) from None


def _checked(remote: Remote, part: Path, target: Path) -> str:
    size = part.stat().st_size
    sha256, git = hashlib.sha256(), hashlib.sha1(b"blob %d\0" % size, usedforsecurity=False)
    with part.open("rb") as file:
        while block := file.read(BLOCK):
            sha256.update(block)
            if remote.git_sha1 is not None:
                git.update(block)
    pairs = (("sha256", sha256.hexdigest(), remote.sha256), ("git's sha1", git.hexdigest(), remote.git_sha1))
    for name, found, wanted in pairs:
        if wanted is not None and found != wanted:
            part.unlink()
            what = f"what arrived has another {name} than the server announced ({found[:12]}..., not {wanted[:12]}...)"
            cure = "give the same command again; if it stays so, use another server"
            raise DownloadError(what, where=remote.address, cure=cure)
    os.replace(part, target)
    return sha256.hexdigest()


def no_space(path: Path, error: OSError) -> DownloadError:
    full = error.errno in (errno.ENOSPC, errno.EDQUOT)
    cure = f"free some space, then {_AGAIN}" if full else "check the folder and its disk"
    return DownloadError(f"cannot be written: {error.strerror or error}", where=path, cure=cure)


def _refused(address: str, status: int) -> DownloadError:
    if status in (401, 403):
        what = f"the server does not give this without an account (status {status}), or there is no such model"
        return DownloadError(what, where=address, cure="check the name, or name a public model")
    return DownloadError(f"the server answers with status {status}", where=address, cure="try again later")


def _unreachable(address: str, error: BaseException) -> DownloadError:
    host = urlsplit(address).netloc
    cure = "check the network and the address, or copy the folder from a machine that has both"
    return DownloadError(f"{host} cannot be reached ({_reason(error)})", where=address, cure=cure)


def _reason(error: BaseException) -> str:
    return str(getattr(error, "reason", None) or error or type(error).__name__)
