"""What `accept` and `accepted` print."""

import json
import sys
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console
from rich.table import Table

from swiftkv_bench import units
from swiftkv_bench.accepted.runs import Entry, accept, accepted_runs
from swiftkv_bench.cli.comparing import policy_file
from swiftkv_bench.judge.policy import load_policy


def accept_run(run: Path, name: str, note: str | None, policy: Path | None, root: Path) -> None:
    """Accepts and says where it lies.

    Raises:
        InputError: the run cannot be accepted.
    """
    source = policy_file(policy)
    now = datetime.now(UTC).isoformat(timespec="seconds")
    entry = accept(run, name, root, load_policy(source), now_utc=now, note=note)
    print(f"accepted as {name}: {entry.folder} ({units.size(_size(entry))}); commit it to compare in CI")


def list_runs(name: str | None, root: Path, *, as_json: bool) -> None:
    """Prints accepted runs.

    Raises:
        InputError: one cannot be read.
    """
    entries = accepted_runs(root, name)
    if as_json:
        print(json.dumps([_row(entry) for entry in entries], indent=1))
        return
    table = Table(title=f"Accepted runs under {root}", title_justify="left", box=None, pad_edge=False)
    for head in ("name", "run", "made", "accepted", "engines", "parts", "size", "note"):
        table.add_column(head, justify="right" if head == "size" else "left")
    for entry in entries:
        row = _row(entry)
        size = units.size(_size(entry))
        engines = ", ".join(dict.fromkeys(f"{model}" for model in row["models"].values()))  # type: ignore[attr-defined]
        table.add_row(entry.accepted.name, str(row["run_id"]), str(row["created_utc"]), entry.accepted.accepted_utc,
                      engines, " and ".join(row["parts"]), size, entry.accepted.note or "")  # type: ignore[arg-type]  # fmt: skip
    console = Console(width=None if sys.stdout.isatty() else 160, highlight=False)
    console.print(table if entries else f"no accepted run under {root}; accept one with `swiftkv-bench accept RUN`")


def _row(entry: Entry) -> dict[str, object]:
    manifest = entry.accepted.manifest
    return {
        "name": entry.accepted.name,
        "run_id": manifest.run_id,
        "created_utc": manifest.created_utc,
        "accepted_utc": entry.accepted.accepted_utc,
        "note": entry.accepted.note,
        "models": {spec.arm: spec.model.rstrip("/").rsplit("/", 1)[-1] for spec in manifest.engines},
        "parts": [part for part in ("accuracy", "perf") if getattr(manifest.plan, part) is not None],
        "bytes": _size(entry),
        "folder": str(entry.folder),
    }


def _size(entry: Entry) -> int:
    return sum(path.stat().st_size for path in entry.folder.iterdir())
