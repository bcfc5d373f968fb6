"""What lm-eval warns of while it builds and scores a task: kept for the column instead of printed."""

import logging
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar

from swiftkv_bench.schema.accuracy import Notice

_HARMLESS = re.compile(
    r"Custom kwargs can be passed|is defined, but (aggregation|higher_is_better) is not|using preconfigured rule"
)
"""Warnings of defaults that the plan states anyway: a metric's aggregation and direction, where shots come from."""

_LONGEST = 240

_heard: ContextVar[list[Notice] | None] = ContextVar("heard", default=None)


class _Ear(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        text = record.getMessage()
        if record.levelno >= logging.WARNING and not _HARMLESS.search(text):
            # What follows is a document, another one each time.
            notice("lm-eval", "lm-eval warns: " + " ".join(text.split("Sample:")[0].split())[:_LONGEST])


@contextmanager
def listening() -> Iterator[list[Notice]]:
    """Collects what is noticed in this thread meanwhile; nothing of it is printed."""
    from lm_eval.utils import warning_once

    _attach()
    # lm-eval says some things once a process; every column is to hear them.
    warning_once.cache_clear()
    heard: list[Notice] = []
    token = _heard.set(heard)
    try:
        yield heard
    finally:
        _heard.reset(token)


def notice(code: str, text: str, count: int = 1) -> None:
    """Notes something that bears on the figures of the column at work; lost where nobody listens."""
    heard = _heard.get()
    if heard is not None:
        heard.append(Notice(code=code, text=text, count=count))


def counted(notices: Sequence[Notice]) -> tuple[Notice, ...]:
    """Each distinct notice once, with the sum of the counts."""
    counts: Counter[tuple[str, str]] = Counter()
    for one in notices:
        counts[one.code, one.text] += one.count
    return tuple(Notice(code=code, text=text, count=count) for (code, text), count in counts.items())


def _attach() -> None:
    logger = logging.getLogger("lm_eval")
    if not any(isinstance(handler, _Ear) for handler in logger.handlers):
        logger.addHandler(_Ear())
        logger.propagate = False
        logger.setLevel(logging.WARNING)
