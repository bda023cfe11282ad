"""jieba in processes of its own: it is plain Python, 0.24 million characters/s under one interpreter's lock.

``python -m wordloom.vectors.segment`` answers each text on its standard input with its words parted by spaces. Pipes
and not multiprocessing: its ways to start a process need a guarded ``__main__``, or copy the locks of running threads.
"""

from __future__ import annotations

import os
import queue
import struct
import subprocess
import sys
from collections.abc import Sequence
from types import TracebackType
from typing import IO, Self

from wordloom.errors import DataError
from wordloom.vectors.vocabulary import Splitter

_LENGTH = struct.Struct("<q")


class Segmenters:
    """``count`` processes; ``encode`` may be called from as many threads. A context manager that ends them."""

    def __init__(self, count: int):
        # A session of their own: Ctrl-C reaches the parent alone, and its end is the end of their input.
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
        command = [sys.executable, "-m", "wordloom.vectors.segment"]
        self._processes = [
            subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment, start_new_session=True
            )
            for _ in range(count)
        ]
        self._free: queue.SimpleQueue[subprocess.Popen[bytes]] = queue.SimpleQueue()
        for process in self._processes:
            self._free.put(process)

    def encode(self, texts: Sequence[str]) -> bytes:
        """As ``Splitter("jieba").encode``. Raises DataError where a process has ended, killed for memory perhaps."""
        process = self._free.get()
        try:
            assert process.stdin is not None and process.stdout is not None
            _send(process.stdin, "\n".join(texts).encode("utf-8", "replace"))
            answer = _receive(process.stdout)
        except BrokenPipeError:
            answer = None
        finally:
            self._free.put(process)
        if answer is None:
            what = f"a jieba process ended before its work (status {process.wait()})"
            raise DataError(what, where='[vectors] words = "jieba"', cure="use fewer threads if memory was short")
        return answer

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for process in self._processes:
            process.kill()
            process.communicate()  # closes the pipes and waits


def _send(stream: IO[bytes], data: bytes) -> None:
    stream.write(_LENGTH.pack(len(data)))
    stream.write(data)
    stream.flush()


def _receive(stream: IO[bytes]) -> bytes | None:
    """The next message; None where the stream ends before its end."""
    head = stream.read(_LENGTH.size)
    if len(head) < _LENGTH.size:
        return None
    (size,) = _LENGTH.unpack(head)
    data = stream.read(size)
    return data if len(data) == size else None


def _serve() -> None:
    splitter = Splitter("jieba")
    while (data := _receive(sys.stdin.buffer)) is not None:
        _send(sys.stdout.buffer, splitter.encode(data.decode("utf-8").split("\n")))


if __name__ == "__main__":
    _serve()
