"""A comparison with texts that try to become markup, commands or XML."""

from swiftkv_bench.judge.comparison import RunComparison
from tests.render.hostile import EVIL

COMMAND = "::error::injected\n::set-output name=x::y\x1b[31m\x00"


def hostile(found: RunComparison) -> RunComparison:
    """With hostile labels, item texts, reasons and notes."""
    first = found.flipped[0].model_copy(
        update={"prompt": EVIL, "target": EVIL, "reference_answer": EVIL, "candidate_answer": EVIL}
    )
    lines = tuple(line.model_copy(update={"reason": EVIL + COMMAND}) for line in found.lines)
    return found.model_copy(
        update={
            "reference": found.reference.model_copy(update={"label": EVIL + COMMAND}),
            "candidate": found.candidate.model_copy(update={"label": EVIL}),
            "lines": lines,
            "notes": tuple(note.model_copy(update={"message": EVIL}) for note in found.notes),
            "flipped": (first, *found.flipped[1:]),
        }
    )
