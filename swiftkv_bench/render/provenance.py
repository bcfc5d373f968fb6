"""Where figures come from: the run's facts, both sides option by option, what the probes saw, how to repeat it."""

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from swiftkv_bench import units
from swiftkv_bench.analysis.values import Analysis, RunInfo
from swiftkv_bench.render import wording
from swiftkv_bench.render.cells import Cell, Head, TableView, Tone
from swiftkv_bench.render.wording import ARM, MISSING
from swiftkv_bench.schema.engine import EngineSpec
from swiftkv_bench.schema.manifest import Manifest, Probe


@dataclass(frozen=True)
class Provenance:
    """Of one run.

    Attributes:
        facts: name and text.
        sides: a row an engine setting, a column an arm.
        probes: None when none was made.
    """

    title: str
    facts: tuple[tuple[str, str], ...]
    sides: TableView
    probes: TableView | None


def provenance(run: RunInfo, number: int) -> Provenance:
    """Everything that is known of one run; `number` keeps the tables of several runs apart."""
    m = run.manifest
    git = "not a checkout" if m.git is None else m.git.commit + (" with uncommitted changes" if m.git.dirty else "")
    gpus = [f"{a.name} ({units.size(a.memory_bytes)}, driver {a.driver or 'unknown'})" for a in m.machine.accelerators]
    facts = [
        ("Run", f"{m.run_id}, {m.status}, format {m.schema_version}"),
        ("Started", m.created_utc),
        ("Machine", wording.machine(m.machine)),
        *((f"GPU {i}", text) for i, text in enumerate(gpus)),
        ("Program", f"swiftkv-bench {m.harness_version}, commit {git}"),
        ("Packages", ", ".join(f"{name} {version}" for name, version in sorted(m.packages.items()))),
        ("Plan", "; ".join([f"hash {m.plan_hash}", *_plans(run)])),
    ]
    return Provenance(m.run_id, tuple(facts), _sides(m, number), _probes(m.probes, number))


def commands(analysis: Analysis) -> list[tuple[str, str]]:
    """What to type to measure again, and to make the report again."""
    out = []
    for run in analysis.runs:
        if run.manifest.argv:
            out.append((f"Measure {run.manifest.run_id} again", shlex.join(run.manifest.argv)))
    folders = " ".join(shlex.quote(run.folder) for run in analysis.runs)
    out.append(("Make this report again from the records, without engines", f"swiftkv-bench report {folders}"))
    return out


def _plans(run: RunInfo) -> list[str]:
    plan, out = run.manifest.plan, []
    if plan.accuracy is not None:
        out.append(f"suite {plan.accuracy.suite} ({plan.accuracy.suite_hash}), item seed {plan.accuracy.seed}")
        out.append(f"protocol: {plan.accuracy.protocol}")
    if plan.perf is not None:
        out.append(f"{len(plan.perf.trials)} trials, load seed {plan.perf.seed}")
        out += dict.fromkeys(text for t in plan.perf.trials if (text := wording.traffic(t.point)) is not None)
    return out


def _sides(m: Manifest, number: int) -> TableView:
    versions = {info.arm: info.version for info in m.engine_info}
    columns = {ARM[spec.arm]: settings(spec, versions.get(spec.arm)) for spec in m.engines}
    return sides_table(columns, f"sides-{number}", "Both sides")


def sides_table(columns: Mapping[str, Mapping[str, str]], key: str, title: str) -> TableView:
    """Settings side by side, a column a side, and whether they are the same."""
    names = sorted(dict.fromkeys(name for column in columns.values() for name in column), key=_kind_of_setting)
    rows = []
    for name in names:
        values = [column.get(name, MISSING) for column in columns.values()]
        tone: Tone = "plain" if len(set(values)) > 1 else "quiet"
        told = Cell("differs" if tone == "plain" else "same", tone)
        rows.append((Cell(name), *(Cell(value, tone) for value in values), told))
    heads = tuple(Head(text, align="left") for text in ("Setting", *columns, "Same?"))
    note = "Options are those given to the engine; everything else is the engine's default."
    return TableView(key, title, heads, tuple(rows), note, wrap=True)


def _kind_of_setting(name: str) -> tuple[str, int, str]:
    """By arm; what the engine is, then its options, then its environment."""
    prefix, _, last = name.rpartition(": ")
    kind = 1 if last.startswith("--") else 2 if last.isupper() else 0
    return (prefix, kind, last if kind else "")


def settings(spec: EngineSpec, version: str | None) -> Mapping[str, str]:
    """Everything that was set for one arm's engine."""
    found: dict[str, str] = {
        "model": spec.model,
        "revision": spec.revision or MISSING,
        "dimensions": wording.dimensions(spec) or MISSING,
        "configuration hash": spec.model_config_hash or MISSING,
        "tokenizer": spec.tokenizer,
        "engine": {"vllm": "vLLM", "url": spec.url or "a server", "fake": "fake engine"}[spec.kind],
        "engine version": version or MISSING,
        "context, tokens": f"{spec.max_model_len:,}",
    }
    found |= {f"--{name}": _option(value) for name, value in sorted(spec.args.items())}
    return found | dict(sorted(spec.env.items()))


def _option(value: object) -> str:
    return {True: "on", False: "off"}[value] if isinstance(value, bool) else str(value)


def _probes(probes: Sequence[Probe], number: int) -> TableView | None:
    if not probes:
        return None
    tones: dict[str, Tone] = {"pass": "good", "fail": "bad", "not run": "quiet"}
    names: Mapping[str, str] = {str(arm): text for arm, text in ARM.items()}
    rows = tuple(
        (Cell(p.name), Cell(names.get(p.arm, p.arm)), Cell(p.status, tones[p.status]), Cell(p.detail)) for p in probes
    )
    heads = tuple(Head(text, align="left") for text in ("Probe", "Arm", "Outcome", "What was seen"))
    note = "Probes ask each engine questions with known answers before anything is measured."
    return TableView(f"probes-{number}", "Is this the engine that was ordered?", heads, rows, note, wrap=True)
