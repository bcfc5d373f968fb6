"""One small analysis with every part, made once."""

from dataclasses import replace

import pytest

from swiftkv_bench.analysis import Analysis, analyse_all
from swiftkv_bench.render.drawing import Figure
from swiftkv_bench.render.figures import figures
from swiftkv_bench.schema.engine import Arm
from tests.synthetic import accuracy_run, load_run


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
