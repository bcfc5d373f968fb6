"""How lengths, rates and latency targets are written on the command line."""

import math

from pydantic import ValidationError

from swiftkv_bench.errors import InputError
from swiftkv_bench.metrics import Objective
from swiftkv_bench.schema.perf import Length

_SECONDS = {"us": 1e-6, "ms": 1e-3, "s": 1.0, "min": 60.0}
_MOST_SIGMA = 10.0
SLO_METRICS = ("ttft", "tpot", "e2e")
"""Latencies a target can be set for."""


def parse_length(text: str, flag: str) -> Length:
    """`2000`, `lognormal:mean=2000,sigma=0.5` or `uniform:low=500,high=4000`.

    Raises:
        InputError: the text is none of these.
    """
    family, colon, rest = text.partition(":")
    try:
        if not colon:
            return Length(mean=_positive_int(text))
        values = dict(part.split("=", 1) for part in rest.split(","))
        if family == "uniform":
            low, high = int(values["low"]), int(values["high"])
            if low > high:
                raise ValueError("low is above high")
            return Length(distribution="uniform", mean=(low + high) / 2, low=low, high=high)
        length = Length.model_validate({"distribution": family, **{k: float(v) for k, v in values.items()}})
        if not length.sigma <= _MOST_SIGMA or (length.high is not None and length.low > length.high):
            raise ValueError("low is above high, or sigma is out of bounds")
        return length
    except (ValueError, KeyError, ValidationError) as e:
        raise InputError(
            f"{flag} {text} is no length in tokens; write 2000, lognormal:mean=2000,sigma=0.5 "
            "or uniform:low=500,high=4000"
        ) from e


def parse_rate(text: str, flag: str) -> float:
    """A request rate in 1/s; `inf` stands for all at once.

    Raises:
        InputError: it is no number above 0.
    """
    try:
        rate = float(text)
    except ValueError:
        rate = math.nan
    if not rate > 0:
        raise InputError(f"{flag} {text} is no request rate; give a number above 0 in requests per second, or inf")
    return rate


def parse_objective(text: str) -> Objective:
    """`ttft=2s,tpot=50ms,share=95%`: latencies, and the share of requests that must meet them (90 % without).

    Raises:
        InputError: a part is not METRIC=DURATION or share=PERCENT, or no latency is named.
    """
    parts = [part.strip() for part in text.split(",")]
    shares = [part for part in parts if part.startswith("share=")]
    found = parse_slo(",".join(part for part in parts if part not in shares))
    share = parse_share(shares[-1].removeprefix("share="), "--slo share") if shares else Objective.share
    return Objective(found.get("ttft"), found.get("tpot"), found.get("e2e"), share)


def parse_share(text: str, flag: str) -> float:
    """`95%` or `0.95` as a share of one.

    Raises:
        InputError: it is no share above 0 and at most 1.
    """
    stripped = text.strip()
    try:
        share = float(stripped.removesuffix("%")) / (100 if stripped.endswith("%") else 1)
    except ValueError:
        share = math.nan
    if not 0 < share <= 1:
        raise InputError(f"{flag}={text} is no share; write 95% or 0.95")
    return share


def parse_slo(text: str) -> dict[str, float]:
    """`ttft=2s,tpot=50ms` as seconds by metric.

    Raises:
        InputError: a part is not METRIC=DURATION.
    """
    found = {}
    for part in text.split(","):
        name, _, value = part.strip().partition("=")
        if name not in SLO_METRICS:
            raise InputError(f"--slo {text}: {name or part!r} is none of {', '.join(SLO_METRICS)}")
        if value.strip()[-1:].isdigit():
            raise InputError(f"--slo {name}={value} has no unit; write {name}={value}ms or {name}={value}s")
        found[name] = parse_duration(value, f"--slo {name}")
    return found


def parse_duration(text: str, flag: str, least: float | None = None) -> float:
    """`50ms`, `2s`, `1.5min` in seconds; a bare number is seconds.

    Raises:
        InputError: it is no duration above 0, or not at least `least`, or not finite.
    """
    stripped = text.strip()
    number = stripped.rstrip("abcdefghijklmnopqrstuvwxyz")
    unit = stripped[len(number) :] or "s"
    try:
        seconds = float(number) * _SECONDS[unit]
    except (ValueError, KeyError):
        seconds = math.nan
    if not (seconds > 0 or (least is not None and seconds >= least)) or math.isinf(seconds):
        raise InputError(f"{flag}={text} is no duration; write 50ms, 2s or 1.5min")
    return seconds


def _positive_int(text: str) -> int:
    value = int(text)
    if value <= 0:
        raise ValueError("not above 0")
    return value
