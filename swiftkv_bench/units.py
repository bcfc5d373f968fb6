"""The only place that turns a quantity into text."""

import math

_TIME = (("s", 1.0, 1.0), ("ms", 1e3, 1e-3), ("µs", 1e6, 0.0))
_SI = ((1e9, "G"), (1e6, "M"), (1e3, "k"))


def duration(seconds: float | None) -> str:
    """A duration at three significant digits: `12.3 ms`, `1.24 s`, `4 min 10 s`; `–` when not measured."""
    if seconds is None or math.isnan(seconds):
        return "–"
    a = abs(seconds)
    if a >= 60:
        minutes, rest = divmod(round(a), 60)
        hours, minutes = divmod(minutes, 60)
        sign = "-" if seconds < 0 else ""
        return f"{sign}{hours} h {minutes:02d} min" if hours else f"{sign}{minutes} min {rest:02d} s"
    if a >= 1:
        return f"{_significant(seconds)} s"
    if a >= 1e-3 or a == 0:
        return f"{_significant(seconds * 1e3)} ms"
    return f"{_significant(seconds * 1e6)} µs"


def milliseconds(seconds: float | None) -> str:
    """A duration as a bare number of milliseconds, for table columns that carry the unit."""
    return "–" if seconds is None or math.isnan(seconds) else _significant(seconds * 1e3)


def count(value: float | None) -> str:
    """A count or rate at three significant digits with an SI prefix from 10,000 on: `9,870`, `26.4k`."""
    if value is None or math.isnan(value):
        return "–"
    if math.isinf(value):
        return "∞"
    if abs(value) < 10_000:
        return f"{value:,.0f}" if abs(value) >= 1000 or value == int(value) else _significant(value)
    for factor, prefix in _SI:
        if abs(value) >= factor:
            return f"{_significant(value / factor)}{prefix}"
    raise AssertionError("unreachable")


def counted(n: int, noun: str) -> str:
    """`1 claim`, `1,200 claims`."""
    return f"{n:,} {noun}{'' if n == 1 else 's'}"


def ratio(value: float | None) -> str:
    """A ratio with two decimals and a times sign: `1.82×`."""
    return "–" if value is None or math.isnan(value) else f"{value:.2f}×"


def percent(share: float | None, digits: int = 1) -> str:
    """A share of one as a percentage: `0.8213` gives `82.1 %`."""
    return "–" if share is None or math.isnan(share) else f"{share * 100:.{digits}f} %"


def points(share: float | None, digits: int = 2) -> str:
    """A difference of two shares in signed percentage points, with a true minus sign: `-0.0162` gives `−1.62`."""
    if share is None or math.isnan(share):
        return "–"
    text = f"{share * 100:+.{digits}f}"
    return text.replace("-", "−") if float(text) else text[1:]


def change(ratio: float | None, digits: int = 1) -> str:
    """A ratio as a signed change in per cent, with a true minus sign: `0.953` gives `−4.7 %`."""
    if ratio is None or math.isnan(ratio):
        return "–"
    text = f"{(ratio - 1) * 100:+.{digits}f}"
    return f"{text.replace('-', '−') if float(text) else text[1:]} %"


def p_value(p: float | None) -> str:
    """A p value at two significant digits: `0.031`, `< 0.001`."""
    if p is None or math.isnan(p):
        return "–"
    return "< 0.001" if p < 0.001 else f"{p:.2g}"


def rate(per_second: float | None) -> str:
    """A request rate: `0.5/s`, `12/s`; `–` when there is none."""
    return "–" if per_second is None or math.isnan(per_second) else f"{per_second:.3g}/s"


def energy(joules: float | None) -> str:
    """An energy at three significant digits: `25.3 mJ`, `1.24 J`."""
    if joules is None or math.isnan(joules):
        return "–"
    return f"{_significant(joules)} J" if abs(joules) >= 1 else f"{_significant(joules * 1e3)} mJ"


def durations(*seconds: float) -> tuple[str, tuple[str, ...]]:
    """Durations in the one unit that suits the first: `("ms", ("12.3", "11.9", "12.8"))`.

    Raises:
        ValueError: nothing was given.
    """
    if not seconds:
        raise ValueError("durations needs at least one value")
    a = abs(seconds[0])
    unit, factor = next((u, f) for u, f, least in _TIME if a >= least or u == "µs")
    digits = 3
    decimals = max(0, digits - 1 - math.floor(math.log10(a * factor))) if a else 1
    return unit, tuple(f"{x * factor:,.{decimals}f}" for x in seconds)


def size(num_bytes: float | None) -> str:
    """A size with a binary prefix: `1.5 GiB`."""
    if num_bytes is None:
        return "–"
    for factor, unit in ((2**30, "GiB"), (2**20, "MiB"), (2**10, "KiB")):
        if abs(num_bytes) >= factor:
            return f"{_significant(num_bytes / factor)} {unit}"
    return f"{num_bytes:.0f} B"


def _significant(value: float, digits: int = 3) -> str:
    if value == 0:
        return "0"
    decimals = max(0, digits - 1 - math.floor(math.log10(abs(value))))
    return f"{value:,.{decimals}f}"
