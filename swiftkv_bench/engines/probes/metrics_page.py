"""A server's Prometheus page as samples, and what the SwiftKV plug-in counts on it."""

import contextlib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

_SAMPLE = re.compile(r"^([a-zA-Z_:][\w:]*)(?:\{(.*)\})? (\S+)")
_LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')


@dataclass(frozen=True)
class Metric:
    """One sample of a Prometheus page."""

    name: str
    labels: Mapping[str, str]
    value: float


@dataclass(frozen=True)
class Page:
    """The samples of one reading; empty where the server has no such page."""

    samples: tuple[Metric, ...]

    @classmethod
    def parse(cls, text: str) -> "Page":
        """Samples of a text page; histograms and comments as they stand, timestamps dropped."""
        return cls(tuple(_samples(text)))

    def total(self, name: str) -> float | None:
        """Sum over all labels; None when the page has no such sample."""
        values = [m.value for m in self.samples if m.name == name]
        return sum(values) if values else None

    def label(self, name: str, label: str) -> str | None:
        """A label of the first sample of that name; None when there is none."""
        return next((m.labels[label] for m in self.samples if m.name == name and label in m.labels), None)

    def labels(self, name: str) -> Mapping[str, str] | None:
        """Labels of the first sample of that name that is not 0; None when there is none."""
        return next((m.labels for m in self.samples if m.name == name and m.value), None)


@dataclass(frozen=True)
class Counts:
    """What a SwiftKV engine counted between two readings."""

    tokens: float
    prompt_tokens: float
    second_half_tokens: float
    steps: float
    steps_without_second_half: float

    @classmethod
    def of(cls, page: Page) -> "Counts | None":
        """Counts since the engine started; None when it has no such counters."""
        prefix = "swiftkv:"
        values = [page.total(f"{prefix}{name}_total") for name in cls.__dataclass_fields__]
        if values[1] is None or values[2] is None:
            return None
        return cls(*(value or 0.0 for value in values))

    def since(self, earlier: "Counts") -> "Counts":
        """The difference of two readings."""
        return Counts(*(getattr(self, name) - getattr(earlier, name) for name in self.__dataclass_fields__))


def _samples(text: str) -> Iterator[Metric]:
    for line in text.splitlines():
        found = _SAMPLE.match(line)
        if found is not None:
            name, labels, value = found.groups()
            with contextlib.suppress(ValueError):
                yield Metric(name, dict(_LABEL.findall(labels or "")), float(value))
