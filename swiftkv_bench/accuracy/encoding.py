"""Token ids of the prompts of a column: the begin-of-text token, and the cut between context and continuation."""

from collections.abc import Iterable
from itertools import takewhile

from swiftkv_bench.accuracy.prompts import Prompter


class Encoder:
    """Token ids of texts that were given all at once, since tokenising many together is several times faster.

    Prompts begin with exactly one begin-of-text token if `add_bos` and the tokenizer has one; a chat template
    that writes it itself is left alone.
    """

    def __init__(self, prompter: Prompter, add_bos: bool, texts: Iterable[tuple[str, str | None]]) -> None:
        """Takes (context, continuation) pairs; the continuation is None where text is generated."""
        self._bos = prompter.bos_id if add_bos else None
        self._start = prompter.start_id
        self._ids = prompter.encode(part for context, continuation in texts for part in _parts(context, continuation))

    def prompt(self, text: str) -> list[int]:
        """Token ids of a whole prompt."""
        return self._with_bos(self._ids[text])

    def pair(self, context: str, continuation: str) -> tuple[list[int], list[int], bool]:
        """Token ids of a context and of its continuation, and whether a token spans the border between them.

        As lm-eval's `TemplateLM`: white space at the context's end moves to the continuation, and the continuation is
        what follows as many tokens as the context alone has. An empty context becomes the begin-of-text token, or the
        end-of-text token where there is none, unless the continuation begins with it. Where lm-eval would leave no
        token to a continuation, it gets those after the tokens that both encodings share, at least the last one.
        """
        parts = _parts(context, continuation)
        if not context:
            tail = self._ids[parts[0]]
            if len(tail) > 1 and tail[0] == self._start:
                return tail[:1], tail[1:], False
            return [] if self._start is None else [self._start], tail, False
        head, whole = (self._with_bos(self._ids[part]) for part in parts)
        if whole[: len(head)] == head and len(whole) > len(head):
            return head, whole[len(head) :], False
        if len(whole) > len(head):
            return head, whole[len(head) :], True
        shared = min(_shared(head, whole), len(whole) - 1)
        if shared < 1:
            return [] if self._start is None else [self._start], whole, True
        return whole[:shared], whole[shared:], True

    def _with_bos(self, ids: list[int]) -> list[int]:
        return ids if self._bos is None or ids[:1] == [self._bos] else [self._bos, *ids]


def _shared(one: list[int], other: list[int]) -> int:
    """Number of tokens that both begin with."""
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(one, other, strict=False)))


def _parts(context: str, continuation: str | None) -> tuple[str, ...]:
    """The texts whose encodings a prompt needs: the context alone and with its continuation."""
    if continuation is None:
        return (context,)
    if not context:
        return (continuation,)
    stripped = context.rstrip()
    return stripped, context + continuation
