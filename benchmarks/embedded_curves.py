"""Draws the loss curves of `python -m swiftkv_bench.embedded.train` from its logs.

    python benchmarks/embedded_curves.py OUT.png LOG.jsonl [LOG.jsonl ...]    # later logs go on where earlier end

Also writes OUT.csv: one row a logged step, one column a kind of training row (nat per answer token).
"""

import csv
import json
import sys
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt

#: What tells whether each column is understood: its letters where it has some, else its answer's tokens.
COLUMNS = {
    "lookup": "pairs looked up in the prompt",
    "mini_mmlu.letter": "MMLU, letter",
    "mini_mmlu_cot": "MMLU-CoT",
    "mini_gsm8k": "GSM8K",
    "mini_hellaswag": "HellaSwag",
    "quiz.letter": "story in the prompt, letter",
}
TWINS = {
    "swiftkv-n6": ("N = 6", "#0072B2", "-"),
    "swiftkv-n4": ("N = 4", "#D55E00", "--"),
    "swiftkv-n2": ("N = 2", "#009E73", ":"),
}
STYLES = (
    ("#000000", ":"), ("#0072B2", "-"), ("#D55E00", "-"), ("#009E73", "-"), ("#CC79A7", "-"), ("#E69F00", "--"),
)  # fmt: skip


def read(logs: list[Path], every: int) -> list[dict[str, object]]:
    """Every so many steps, stage, step and losses: the baseline through all logs, the twins of the last log."""
    rows: list[dict[str, object]] = []
    done = 0
    for log in logs:
        last = 0
        for line in log.read_text().splitlines():
            event = json.loads(line)
            if "losses" not in event:
                continue
            baseline = event["stage"] == "baseline"
            if baseline:
                last = event["step"]
            if event["step"] % every == 0 and (baseline or log == logs[-1]):
                step = event["step"] + (done if baseline else 0)
                rows.append({"stage": event["stage"], "step": step, **event["losses"]})
        done += last
    return rows


def draw(rows: list[dict[str, object]], path: Path) -> None:
    """The baseline's losses left, the twins' distillation loss right."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(9.6, 4.0), dpi=80, layout="constrained")
    baseline = [row for row in rows if row["stage"] == "baseline"]
    for (key, label), (colour, line) in zip(COLUMNS.items(), STYLES, strict=True):
        points = [(row["step"], max(float(str(row[key])), 1e-4)) for row in baseline if key in row]
        left.plot(*zip(*points, strict=True), color=colour, linestyle=line, linewidth=1.3, label=label)
    left.set_title("Baseline: loss of answer tokens, nat", loc="left", fontsize=10)
    for stage, (label, colour, line) in TWINS.items():
        points = [(row["step"], float(str(row["mini_mmlu.letter"]))) for row in rows if row["stage"] == stage]
        right.plot(*zip(*points, strict=True), color=colour, linestyle=line, linewidth=1.5, label=label)
    right.set_title("Twins: distillation loss of MMLU letters", loc="left", fontsize=10)
    for axes in (left, right):
        axes.set_yscale("log")
        axes.set_xlabel("optimizer steps")
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(alpha=0.25)
        axes.legend(frameon=False, fontsize=8, loc="upper center", bbox_to_anchor=(0.5, -0.18), ncols=3)
    figure.savefig(path)


def main() -> None:
    """Entry point."""
    out, logs = Path(sys.argv[1]), [Path(name) for name in sys.argv[2:]]
    draw(read(logs, 500), out)
    kept = read(logs, 1000)
    names = ["stage", "step", *sorted({name for row in kept for name in row} - {"stage", "step"})]
    with out.with_suffix(".csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, names)
        writer.writeheader()
        writer.writerows(kept)


if __name__ == "__main__":
    main()
