"""What a check says."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from swiftkv_bench.schema.engine import Arm

Severity = Literal["invalid", "warning", "note"]


@dataclass(frozen=True)
class Finding:
    """One thing the reader must know before using a figure.

    Attributes:
        code: stable key, for scripts.
        message: what was seen, with figures.
        next_step: what to do about it.
        point: id of the load point, None when it is not about one.
        arm: the engine it is about, None for all.
        column: the accuracy column, None when it is not about one.
        trials: trials in which it was seen.
    """

    code: str
    severity: Severity
    message: str
    next_step: str
    point: str | None = None
    arm: Arm | None = None
    column: str | None = None
    trials: int = 1


def sentence(text: str) -> str:
    """The text with its end mark."""
    return text if text.endswith((".", "!", "?")) else f"{text}."


def merge(findings: Sequence[Finding]) -> tuple[Finding, ...]:
    """One finding for the same code, point, arm, column and severity; it keeps the first text and counts trials."""
    found: dict[tuple[str, str | None, str | None, str | None, str], Finding] = {}
    for f in findings:
        key = (f.code, f.point, f.arm, f.column, f.severity)
        found[key] = replace(found[key], trials=found[key].trials + f.trials) if key in found else f
    order = {"invalid": 0, "warning": 1, "note": 2}
    return tuple(sorted(found.values(), key=lambda f: order[f.severity]))
