"""Finds text that shares a passage with text it must not share one with: training data with evaluation items.

A passage is 13 words in a row, letters and digits in lower case, everything else taken as a gap between words (the
rule of GPT-3's decontamination, arXiv 2005.14165, appendix C).
"""

import re
from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

#: Words of a passage.
PASSAGE_WORDS = 13

_WORD = re.compile(r"[^\W_]+")
_MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)


class Passages:
    """All passages of some texts, to look for in others."""

    def __init__(self, texts: Iterable[str]) -> None:
        self._numbers: dict[str, int] = {}
        found = []
        for text in texts:
            words = _words(text)
            numbers = [self._numbers.setdefault(word, len(self._numbers) + 1) for word in words]
            found.append(_fingerprints(numbers))
        self._known = np.unique(np.concatenate(found)) if found else np.empty(0, np.uint64)

    def __len__(self) -> int:
        """Different passages."""
        return len(self._known)

    def occur_in(self, text: str) -> bool:
        """Whether the text holds one."""
        numbers = [self._numbers.get(word, 0) for word in _words(text)]
        prints = _fingerprints(numbers)
        places = np.searchsorted(self._known, prints)
        places[places == len(self._known)] = 0
        return len(self._known) > 0 and bool((self._known[places] == prints).any())


def _words(text: str) -> list[str]:
    return _WORD.findall(text.lower())


def _fingerprints(numbers: list[int]) -> npt.NDArray[np.uint64]:
    """One 64-bit number for each passage; those with a word that no known text has (0) are left out."""
    values = np.array(numbers, dtype=np.uint64)
    count = len(values) - PASSAGE_WORDS + 1
    if count < 1:
        return np.empty(0, np.uint64)
    prints = np.zeros(count, np.uint64)
    known = np.ones(count, bool)
    for offset in range(PASSAGE_WORDS):
        part = values[offset : offset + count]
        prints = (prints ^ part) * _MULTIPLIER  # wraps around, as it should
        prints ^= prints >> np.uint64(29)
        known &= part > 0
    found: npt.NDArray[np.uint64] = prints[known]
    return found
