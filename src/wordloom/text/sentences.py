"""Where sentences start: a small rule, the same for English and Chinese, with character offsets.

A sentence ends
- at ``. ! ? …`` (closing quotes and brackets included) before white space, unless the text goes on in lower
  case, or the full stop follows a single capital letter ("J. Smith") or one of a few titles ("Mr. Smith");
- at ``。！？`` (closing quotes and brackets included), white space or not;
- at every line break.
It decides where segments of next-sentence pairs are cut, nothing else; a wrong cut costs little.
"""

from __future__ import annotations

import re

import numpy as np
from numpy.typing import NDArray

_TITLES = (
    "Mr",
    "Mrs",
    "Ms",
    "Dr",
    "St",
    "Prof",
    "Rev",
    "Capt",
    "Col",
    "Gen",
    "Lt",
    "Sgt",
    "Hon",
    "vs",
    "cf",
    "No",
    "Fig",
)
_NOT_AFTER = "".join(rf"(?<!\b{title}\.)" for title in _TITLES) + r"(?<!\b[A-Z]\.)"
# The first item is one character set: `re` then skips to the candidates, 25 times faster than with look-behinds first.
_END = re.compile(
    rf"""[.!?…。！？\n] (?: (?<=[.!?…]){_NOT_AFTER} [.!?…]* ["'”’»)\]]* (?=\s+[^a-z\s])
                       | (?<=[。！？]) [。！？]* ["'”’」』）】]* | (?<=\n) ) \s*""",
    re.VERBOSE,
)


def sentence_starts(text: str) -> NDArray[np.int64]:
    """Offsets of the sentences after the first, in rising order; the first starts with the text.

    An offset points at the first character after the white space that follows a sentence end.
    """
    return np.fromiter((m.end() for m in _END.finditer(text)), np.int64)
