"""Ids that arrive one by one to text that can be shown at once: whole characters, nothing that could become a stop."""

from __future__ import annotations

from collections.abc import Sequence

from wordloom.text.tokenizer import Tokenizer

CONTEXT = 8  # tokens before the answer that decide how it begins: with a space or without
WINDOW = 64  # tokens decoded again with each new one, at most
BROKEN = "\ufffd"  # what a decoder makes of the first bytes of a character


def text_after(tokenizer: Tokenizer, before: Sequence[int], ids: Sequence[int]) -> str:
    """The text of ids as it follows that of ``before``: with the space that joins them, if one does."""
    context = list(before[-CONTEXT:])
    return tokenizer.decode([*context, *ids])[len(tokenizer.decode(context)) :]


class Pieces:
    """``push`` ids and show what it returns, then what ``finish`` does: together `text_after`, up to the first stop.

    Text is held back while it may change: the first bytes of a character, the beginning of a stop string. A decoder is
    taken to add to the text and never to change what it made of the tokens before, as those of our tokenizers do.
    stopped: a stop string was found.
    """

    def __init__(self, tokenizer: Tokenizer, before: Sequence[int], stop: Sequence[str] = ()):
        self.tokenizer, self.stop = tokenizer, [s for s in stop if s]
        self.stopped = False
        self._rebase(list(before[-CONTEXT:]))

    def push(self, token: int) -> str:
        if self.stopped:
            return ""
        self._ids.append(token)
        return self._send(self._decode().rstrip(BROKEN), final=False)

    def finish(self) -> str:
        """What was held back."""
        return "" if self.stopped else self._send(self._decode(), final=True)

    def _decode(self) -> str:
        return self.tokenizer.decode(self._ids)[self._base :]

    def _rebase(self, context: list[int]) -> None:
        self._ids, self._sent = context, 0
        self._base = len(self.tokenizer.decode(context))

    def _send(self, text: str, final: bool) -> str:
        """text: all that is settled since the context. What of it can be shown now."""
        found = [at for at in (text.find(s, self._sent) for s in self.stop) if at >= 0]
        self.stopped = bool(found)
        end = min(found) if found else len(text)
        if not found and not final:
            end -= max((_overlap(text[self._sent :], s) for s in self.stop), default=0)
        piece = text[self._sent : end]
        self._sent += len(piece)
        if len(self._ids) > WINDOW and self._sent == len(self._decode()):
            self._rebase(self._ids[-CONTEXT:])
        return piece


def _overlap(text: str, stop: str) -> int:
    """Length of the longest end of text that is a beginning of stop, but not all of it."""
    return next((n for n in range(min(len(text), len(stop) - 1), 0, -1) if text.endswith(stop[:n])), 0)
