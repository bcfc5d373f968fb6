"""The fake engine's language: byte tokens, and a next-token distribution that can be worked out by hand.

After a context whose last four tokens are ..., t3, t2, t1, t0 let s = t0 + 3 t1 + 5 t2 + 7 t3. The letters a-z are
the 26 most probable tokens, beginning with letter number s mod 26 and going on around the alphabet; all other
ids follow, beginning with number s mod (vocabulary - 26) of them. The token of rank r (from 0) has probability
(1 - q) q^r / (1 - q^vocabulary) with q = 0.8. Greedy text is letters only.
"""

import math
from collections.abc import Iterable, Sequence

WEIGHTS = (1, 3, 5, 7)
RATIO = 0.8
FIRST_LETTER = ord("a")
LETTERS = 26
BYTES = 256


def tokenise(text: str) -> list[int]:
    """Ids of a text: its UTF-8 bytes."""
    return list(text.encode())


def text_of(ids: Iterable[int]) -> str:
    """Text of ids; ids from 256 on read `<id>`, bytes that are no UTF-8 the replacement character."""
    return b"".join(_bytes_of(i) for i in ids).decode("utf-8", "replace")


def _bytes_of(token: int) -> bytes:
    return bytes([token]) if token < BYTES else b"<%d>" % token


class Language:
    """The distribution over a vocabulary of a given size, at least 27."""

    def __init__(self, vocabulary: int) -> None:
        self.vocabulary = vocabulary
        self._scale = math.log1p(-RATIO) - math.log1p(-(RATIO**vocabulary))

    def rank(self, context: Sequence[int], token: int) -> int:
        """Rank of a token after a context, from 0."""
        s = _state(context)
        letter = token - FIRST_LETTER
        if 0 <= letter < LETTERS:
            return (letter - s) % LETTERS
        other = token if letter < 0 else token - LETTERS
        return LETTERS + (other - s) % (self.vocabulary - LETTERS)

    def token(self, context: Sequence[int], rank: int) -> int:
        """The token of a rank after a context."""
        s = _state(context)
        if rank < LETTERS:
            return FIRST_LETTER + (s + rank) % LETTERS
        other = (s + rank - LETTERS) % (self.vocabulary - LETTERS)
        return other if other < FIRST_LETTER else other + LETTERS

    def logprob(self, context: Sequence[int], token: int) -> float:
        """Natural logarithm of the probability of a token after a context."""
        return self._scale + self.rank(context, token) * math.log(RATIO)

    def greedy(self, context: Sequence[int], n: int) -> list[int]:
        """The `n` tokens that follow a context when each is the most probable."""
        t3, t2, t1, t0 = ([0] * 4 + list(context[-4:]))[-4:]
        found = []
        for _ in range(n):
            t3, t2, t1, t0 = t2, t1, t0, FIRST_LETTER + (t0 + 3 * t1 + 5 * t2 + 7 * t3) % LETTERS
            found.append(t0)
        return found


def _state(context: Sequence[int]) -> int:
    return sum(weight * token for weight, token in zip(WEIGHTS, reversed(context[-4:]), strict=False))
