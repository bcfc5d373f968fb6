"""What `history` prints and draws."""

import sys
from pathlib import Path

from rich.console import Console

from swiftkv_bench.accepted.history import history
from swiftkv_bench.accepted.runs import accepted_runs, read_accepted
from swiftkv_bench.cli.comparing import policy_file
from swiftkv_bench.errors import writing
from swiftkv_bench.judge.policy import load_policy
from swiftkv_bench.render.history import draw, terminal


def show_history(
    name: str, policy: Path | None, allow: tuple[str, ...], root: Path, out: Path | None, *, as_json: bool
) -> None:
    """Prints the series with their steps, and draws them into one SVG and PNG.

    Raises:
        InputError: no run is accepted under the name, one cannot be read, or the plot cannot be written.
        StorageError: the disk is full.
    """
    source = policy_file(policy)
    runs = [read_accepted(e.folder, e.accepted.manifest.run_id) for e in accepted_runs(root, name)]
    found = history(name, runs, load_policy(source), allow)
    if as_json:
        print(found.model_dump_json(indent=1))
        return
    terminal(found, Console(width=None if sys.stdout.isatty() else 140))
    folder = Path("results/history") / name if out is None else out
    with writing(folder, "choose another folder with --out"):
        files = draw(found, folder)
    for path in files:
        print(f"plot: {path}")
