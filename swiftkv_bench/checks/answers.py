"""What can be wrong with the answers of an accuracy column."""

from collections.abc import Sequence

from swiftkv_bench.advice import ASKED, of_column
from swiftkv_bench.checks.finding import Finding, Severity, sentence
from swiftkv_bench.schema.accuracy import Notice
from swiftkv_bench.schema.engine import Arm
from swiftkv_bench.stats.items import ItemDelta, Score
from swiftkv_bench.units import counted, percent

UNPARSED_RISE = 0.01
"""Rise of the share of unparsed answers over the reference arm that is worth a warning."""


def check_answers(column: str, arm: Arm, *, n: int, truncated: int, unfinished: int) -> list[Finding]:
    """Answers of one arm that were not what the protocol wants."""
    found = []
    if truncated:
        text = f"{truncated:,} of {n:,} prompts were cut to fit the context."
        step = "Raise max-model-len: a cut prompt loses its head."
        found.append(Finding("truncated-prompts", "warning", text, step, arm=arm, column=column))
    if unfinished:
        text = f"{unfinished:,} of {n:,} answers reached the token limit unfinished."
        step = "Read them in the item browser; looping text is a sign of a broken engine."
        found.append(Finding("unfinished-answers", "note", text, step, arm=arm, column=column))
    return found


def check_reached(column: str, arm: Arm, status: str, reason: str | None) -> Finding | None:
    """How far a column got on an arm: `complete`, `ended early`, `incomplete` or `not run`, and why."""
    if status == "complete":
        return None
    severity: Severity = "warning" if status == "incomplete" else "note"
    text = sentence(f"{status.capitalize()}: {reason or 'no reason was recorded'}")
    step = of_column(status, reason)
    if status == "ended early":
        step = "Bounds count every look at the data; the difference itself may be overstated a little."
    return Finding("column-not-complete", severity, text, step, arm=arm, column=column)


def check_noticed(column: str, arm: Arm, notices: Sequence[Notice]) -> list[Finding]:
    """What was noticed while the column was asked: lm-eval's warnings, shots, borders and thinking; one a kind."""
    texts: dict[str, list[str]] = {}
    for one in notices:
        if one.code in _NOTICED:
            times = f" ({one.count:,} times)" if one.count > 1 else ""
            texts.setdefault(one.code, []).append(f"{one.text[:1].upper()}{one.text[1:].rstrip('.')}{times}")
    return [
        Finding(code, "note", sentence("; ".join(said)), _NOTICED[code], arm=arm, column=column)
        for code, said in texts.items()
    ]


_NOTICED = {
    "lm-eval": "Read the figure with it, or mend the task file.",
    "thinking": "State think_end_token in the suite, then score the run again with --rescore.",
    "own-shot": "State fewshot_split in the task file; where it is the evaluated split, lm-eval leaves the item out.",
    "token-border": "The continuation's score holds a piece of its context, as in lm-eval.",
    "data-revision": "Leave out --data-dir to read the pinned revision from the hub.",
    "system-turn": "Compare with figures of the same template alone.",
}
"""Kinds of notice that become findings; cut prompts have one of their own."""


def check_unparsed(column: str, arm: Arm, n: int, unparsed: int, reference: int) -> Finding | None:
    """A rise of unparsed answers over the reference arm's, of `UNPARSED_RISE` or more, on the same n items."""
    if n == 0 or (unparsed - reference) / n < UNPARSED_RISE:
        return None
    text = (
        f"Unparsed answers rose from {reference:,} to {unparsed:,} of {n:,}: often the first sign of a broken engine."
    )
    step = "Filter the item browser to unparsed answers and read them."
    return Finding("unparsed-rise", "warning", text, step, arm=arm, column=column)


def check_missing(column: str, arm: Arm, n: int, planned: int) -> Finding:
    """Planned items that a comparison lacks because a side was cut short."""
    text = (
        f"{n:,} of {planned:,} items have no answer on one side; they are not missing at random, so that a verdict "
        "stands only where it would whatever they had scored."
    )
    return Finding("missing-answers", "warning", text, ASKED, arm=arm, column=column)


def check_chance(column: str, chance: float | None, scores: Sequence[Score]) -> Finding | None:
    """Every arm scores no better than guessing, so that a difference between them means nothing.

    Args:
        chance: expected score of guessing; None counts as 0, for a column whose answers cannot be guessed.
    """
    if not scores or any(s.interval is None or s.interval.low > (chance or 0.0) for s in scores):
        return None
    known = f"No arm is better than guessing ({percent(chance, 0)})" if chance else "No arm gets an answer right"
    text = f"{known}: a model that knows nothing cannot lose quality."
    step = "Use trained weights, or more items; the verdict on this column says nothing."
    return Finding("chance-level", "warning", text, step, column=column)


def check_margin(column: str, noise: ItemDelta, margin: float) -> Finding | None:
    """The margin must exceed what two runs of the same engine differ by."""
    interval = noise.interval
    if interval is None or interval.half_width < margin:
        return None
    text = (
        f"The margin of {margin * 100:.1f} points is below the noise between two runs of the baseline "
        f"(±{interval.half_width * 100:.1f} points, {counted(noise.n, 'item')})."
    )
    return Finding("margin-below-noise", "invalid", text, "Use more items or a wider margin.", column=column)
