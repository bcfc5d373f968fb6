"""What the engine did, for a client of the server: Prometheus counters of the engine-core process.

An HTTP client sees them at ``/metrics`` when the server was started with ``PROMETHEUS_MULTIPROC_DIR`` set to an
empty, writable folder of its own: prometheus_client then keeps every process's values in files there, and
vLLM's ``/metrics`` adds them up. Without it they are visible in the engine-core process alone.

============================================  ===========================================================
``swiftkv:tokens_total``                      tokens that went through the first half
``swiftkv:prompt_tokens_total``               of these, tokens of requests still computing their prompt
``swiftkv:second_half_tokens_total``          tokens that went through the second half
``swiftkv:steps_total``                       forward passes
``swiftkv:steps_without_second_half_total``   forward passes in which no token ran the second half
``swiftkv:model_info``                        1, with labels mode, key_value_layers, layers, and the group size
============================================  ===========================================================
"""

from dataclasses import dataclass
from functools import cache
from typing import Any

__all__ = ["Counters", "Totals", "announce_model", "counters"]


@dataclass
class Totals:
    """The same counts as plain integers, for a caller inside the engine-core process."""

    tokens: int = 0
    prompt_tokens: int = 0
    second_half_tokens: int = 0
    steps: int = 0
    steps_without_second_half: int = 0


class Counters:
    """Counts forward passes; about 5 microseconds a step.

    Attributes:
        totals: sums since the process started, over all engines in it.
        announced: labels of the model served; None before one is.
    """

    def __init__(self) -> None:
        from prometheus_client import Counter, Gauge

        self.totals = Totals()
        self._tokens = Counter("swiftkv:tokens", "Tokens that went through the first half.")
        self._prompt = Counter("swiftkv:prompt_tokens", "Tokens of requests still computing their prompt.")
        self._second = Counter("swiftkv:second_half_tokens", "Tokens that went through the second half.")
        self._steps = Counter("swiftkv:steps", "Forward passes.")
        self._idle = Counter("swiftkv:steps_without_second_half", "Forward passes without a second half.")
        labels = ["mode", "key_value_layers", "layers", "key_value_group_size"]
        self.announced: tuple[str, ...] | None = None
        self.model: Any = Gauge("swiftkv:model_info", "The served model.", labels, multiprocess_mode="mostrecent")

    def step(self, tokens: int, prompt_tokens: int, second_half_tokens: int) -> None:
        """Record one forward pass by the number of its tokens."""
        totals = self.totals
        totals.tokens += tokens
        totals.prompt_tokens += prompt_tokens
        totals.second_half_tokens += second_half_tokens
        totals.steps += 1
        self._tokens.inc(tokens)
        self._steps.inc()
        if prompt_tokens:
            self._prompt.inc(prompt_tokens)
        if second_half_tokens:
            self._second.inc(second_half_tokens)
        else:
            totals.steps_without_second_half += 1
            self._idle.inc()


@cache
def counters() -> Counters:
    """This process's counters, created on first use."""
    return Counters()


def announce_model(mode: str, key_value_layers: int, layers: int, key_value_group_size: int) -> None:
    """Publish which model is served and how, as the labels of ``swiftkv:model_info``."""
    found = counters()
    labels = (mode, str(key_value_layers), str(layers), str(key_value_group_size))
    # An earlier model of this process; where several processes share the page, prometheus_client cannot remove one.
    if found.announced not in (None, labels):
        found.model.remove(*found.announced)
    found.announced = labels
    found.model.labels(*labels).set(1)
