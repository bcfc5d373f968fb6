"""Published accuracy rows that stand beside our own: same suite, same model, never another protocol."""

import csv
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from swiftkv_bench.schema.accuracy import AccuracyPlan
from swiftkv_bench.schema.manifest import Manifest
from swiftkv_bench.store import data_dir

MACRO = "average"


@dataclass(frozen=True)
class Published:
    """A published pair of rows for a column, shares of one."""

    model: str
    baseline: float
    candidate: float
    source: str
    status: str


def published_rows(manifest: Manifest, plan: AccuracyPlan) -> dict[str, Published]:
    """Column name (or `MACRO`) -> published pair for the baseline's model; empty when there is none.

    A model matches by the last part of its name, so that a mirror or a local copy of the same name matches too.
    """
    path = data_dir("reference") / (plan.published or "")
    model = next((spec.model for spec in manifest.engines if spec.arm == "baseline"), None)
    if plan.published is None or model is None or not path.is_file():
        return {}
    name = model.rstrip("/").rsplit("/", 1)[-1]
    rows = [row for row in _read(path) if row["model"] == name]
    baseline = next((row for row in rows if row["method"] == "baseline"), None)
    candidate = next((row for row in rows if row["method"] == "SingleInputKV"), None)
    if baseline is None or candidate is None:
        return {}
    keys = [column.name for column in plan.columns] + [MACRO]
    return {
        key: Published(
            model=name,
            baseline=float(baseline[key]) / 100,
            candidate=float(candidate[key]) / 100,
            source=candidate["source"],
            status=candidate["status"],
        )
        for key in keys
        if baseline.get(key) and candidate.get(key)
    }


@lru_cache(maxsize=4)
def _read(path: Path) -> tuple[dict[str, str], ...]:
    with path.open(newline="", encoding="utf-8") as file:
        return tuple(csv.DictReader(file))
