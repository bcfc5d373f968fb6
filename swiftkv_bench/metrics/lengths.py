"""Whether two sides did the same work: the one rule of when lengths are too unequal for a comparison."""

LENGTH_SLACK = 0.01
"""Share by which mean lengths of two sides may differ."""
Lengths = tuple[float | None, float | None]
"""Mean prompt and output tokens of a finished request; None where nobody tells."""


def unequal_lengths(reference: Lengths, candidate: Lengths) -> str | None:
    """Which mean length differs by more than `LENGTH_SLACK`, in words; None when none is known to.

    Throughputs, E2E latency and energy then compare different work. TTFT does not depend on output, TPOT hardly.
    """
    for name, a, b in zip(("output", "prompt"), reversed(reference), reversed(candidate), strict=True):
        if a is not None and b is not None and max(a, b) > (1 + LENGTH_SLACK) * min(a, b):
            return f"mean {name} lengths differ, {a:,.1f} and {b:,.1f} tokens a request"
    return None
