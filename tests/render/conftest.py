"""One small analysis and one comparison with every part, made once."""

from dataclasses import replace

import pytest

from swiftkv_bench.analysis import Analysis, analyse_all
from swiftkv_bench.judge.comparison import Note, RunComparison
from swiftkv_bench.judge.judgement import Verdicts
from swiftkv_bench.judge.lines import Verdict
from swiftkv_bench.render.comparison.figures import figures as comparison_figures
from swiftkv_bench.render.drawing import Figure
from swiftkv_bench.render.figures import figures
from swiftkv_bench.schema.engine import Arm
from tests.judge.planted import BATCH, RATE, Scores, answered, compared, flipped, loaded, right
from tests.synthetic import accuracy_run, load_run

LABELS = ("results/main", "results/candidate")


@pytest.fixture(scope="session")
def drawn(analysis: Analysis) -> tuple[Figure, ...]:
    """Every figure in every format, drawn once."""
    return figures(analysis, ("svg", "png", "pdf"))


@pytest.fixture(scope="session")
def analysis(tmp_path_factory: pytest.TempPathFactory) -> Analysis:
    """A load run with an invalid and a saturated point, and an accuracy run with three arms."""
    folder = tmp_path_factory.mktemp("runs")
    arms: tuple[Arm, ...] = ("baseline", "swiftkv-full", "swiftkv")
    runs = [load_run(folder / "load", requests=40), accuracy_run(folder / "accuracy", share=0.01, arms=arms)]
    found = analyse_all(runs)
    # Folders differ from one session to the next; golden files must not.
    places = tuple(replace(run, folder=f"results/{run.manifest.run_id}") for run in found.runs)
    return replace(found, runs=places)


@pytest.fixture(scope="session")
def comparison(tmp_path_factory: pytest.TempPathFactory) -> RunComparison:
    """Two runs of which the candidate lost answers on GSM8K and is 12 % slower to its first token."""
    folder = tmp_path_factory.mktemp("compared")
    before: Scores = {
        (column, arm, 0): right(300, 240) for column in ("gsm8k", "mmlu") for arm in ("baseline", "swiftkv")
    }
    after = {**before, ("gsm8k", "swiftkv", 0): flipped(right(300, 240), lost=45, gained=3)}
    accuracy = compared(answered(folder / "a", before), answered(folder / "b", after))
    fast, slow = (0.1, 0.102, 0.099), (0.112, 0.115, 0.111)
    runs = [
        loaded(folder / name, {"baseline": fast, "swiftkv": ttft}, arrivals=(RATE, BATCH))
        for name, ttft in (("c", fast), ("d", slow))
    ]
    load = compared(runs[0], runs[1])
    sides = [
        side.model_copy(update={"label": label, "source": label})
        for side, label in zip((accuracy.reference, accuracy.candidate), LABELS, strict=True)
    ]
    verdicts = Verdicts(
        overall=Verdict.FAIL, accuracy=accuracy.verdicts.accuracy, performance=load.verdicts.performance
    )
    note = Note(
        code="drift", severity="warning", message="TTFT mean differs by 30 % between 3 trials of the same arm.",
        next_step="Add repeats.", side="candidate", where=load.lines[0].where, arm="swiftkv",
    )  # fmt: skip
    return accuracy.model_copy(
        update={
            "reference": sides[0],
            "candidate": sides[1],
            "lines": (*accuracy.lines, *load.lines),
            "claims": accuracy.claims + load.claims,
            "verdicts": verdicts,
            "notes": (*accuracy.notes, *load.notes, note),
        }
    )


@pytest.fixture(scope="session")
def drawn_comparison(comparison: RunComparison) -> tuple[Figure, ...]:
    """Its figures, drawn once."""
    return comparison_figures(comparison, ("svg",))
