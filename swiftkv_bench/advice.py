"""What helps a run that is not complete, by what ended it: one table for reports, comparisons and `accept`."""

from swiftkv_bench.errors import EngineError, InputError, ProbeError, ScoringError, StorageError
from swiftkv_bench.schema.accuracy import NO_DATA
from swiftkv_bench.schema.manifest import Cause, Manifest
from swiftkv_bench.schema.perf import TrialRecord

STEPS: dict[Cause, str] = {
    "interrupted": "Give the same command again to resume it.",
    "disk": "Make room on the disk, then give the same command again to resume it.",
    "engine": "Read the engine's log and mend what ended it, then give the same command again to resume it.",
    "refused": "Until what it names is mended the same command is refused; --fresh, or another --out, measures anew.",
    "probe": "Mend the engine, then give the same command again; with other options or weights it is a new run.",
    "answer": "Read the engine's log; the same command asks the document again and everything else that has no answer.",
    "trials": "Mend what failed them, then give the same command again: it repeats these alone.",
    "budget": "Give the same command again with a longer --budget: it measures what was left out.",
}
KILLED = "If no process is running it, give the same command again to resume it."
DATA = "Give its data with --data-dir: the same command then asks it."
ASKED = "Give the same command again: it asks what has no answer yet."
NO_STEP = "Give the same command again to resume it."
_PROBE = "the probe `"
_CLASSES: tuple[tuple[type[BaseException], Cause], ...] = (
    (KeyboardInterrupt, "interrupted"), (StorageError, "disk"), (ProbeError, "probe"), (ScoringError, "answer"),
    (EngineError, "engine"), (InputError, "refused"),
)  # fmt: skip


def cause_of(error: BaseException) -> Cause:
    """What an error that ended a run is to it."""
    return next(cause for kind, cause in _CLASSES if isinstance(error, kind))


def next_step(manifest: Manifest) -> str:
    """What makes a run complete that is not."""
    if manifest.status == "running":
        return KILLED
    return " ".join(STEPS[cause] for cause in manifest.causes) or NO_STEP


def of_trial(record: TrialRecord) -> str:
    """What makes a trial complete that is not."""
    reason = record.reason or ""
    return STEPS["probe" if reason.startswith(_PROBE) else "trials" if record.status == "failed" else "interrupted"]


def of_column(status: str, reason: str | None) -> str:
    """What makes a column complete that is `not run` or `incomplete`, for the reason it gives."""
    if status != "not run":
        return ASKED
    return DATA if (reason or "").startswith(NO_DATA) else STEPS["probe"]
