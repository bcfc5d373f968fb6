"""Names and phrases of an analysis' values, shared by every renderer."""

from collections import Counter
from pathlib import Path

from swiftkv_bench import units
from swiftkv_bench.analysis.values import Comparison, ComparisonKind, Estimate, Gain, Macro
from swiftkv_bench.evidence.published import Published
from swiftkv_bench.metrics import METRICS
from swiftkv_bench.schema.accuracy import Column
from swiftkv_bench.schema.engine import Arm, EngineSpec
from swiftkv_bench.schema.manifest import Machine, Manifest
from swiftkv_bench.schema.perf import Arrivals, Length, Point
from swiftkv_bench.stats.intervals import Interval
from swiftkv_bench.stats.items import ItemDelta, Score
from swiftkv_bench.stats.missing import Missing

ARM: dict[Arm, str] = {
    "baseline": "Baseline", "swiftkv": "SwiftKV", "swiftkv-full": "SwiftKV, all layers",
    "baseline-repeat": "Baseline again",
}  # fmt: skip
KIND: dict[ComparisonKind, str] = {
    "total": "SwiftKV − baseline",
    "model": "model: SwiftKV, all layers − baseline",
    "engine": "engine: SwiftKV − SwiftKV, all layers",
    "noise": "noise: baseline again − baseline",
}
MISSING = "–"


def length(value: Length) -> str:
    """`2,000`, or `≈2,000 (lognormal)`."""
    text = f"{value.mean:,.0f}"
    return text if value.distribution == "fixed" else f"≈{text} ({value.distribution})"


def load(arrivals: Arrivals) -> str:
    """`0.5/s`, `all at once`, `16 in flight`, `trace`."""
    if arrivals.process == "all-at-once":
        return "all at once"
    if arrivals.process == "closed-loop":
        return f"{arrivals.concurrency} in flight"
    cap = "" if arrivals.cap is None else f", at most {arrivals.cap} in flight"
    if arrivals.rate is None:
        faster = "" if arrivals.speedup == 1 else f" {arrivals.speedup:g}× as fast"
        return f"trace{faster}{cap}"
    suffix = "" if arrivals.process == "poisson" else f" {arrivals.process}"
    return f"{arrivals.rate:g}/s{suffix}{cap}"


def traffic(value: Point) -> str | None:
    """What sets requests apart from random token ids on their own; None where nothing does."""
    form, arrivals = value.form, value.arrivals
    parts = []
    if arrivals.trace is not None:
        span = "" if arrivals.span_s is None else f" over {units.duration(arrivals.span_s)}"
        parts.append(f"trace {arrivals.trace} ({arrivals.trace_format or 'unknown format'}){span}")
    if value.prompts is not None:
        parts.append(f"prompts of {value.prompts}")
    if value.from_file and value.input_len.high is not None:
        parts.append(f"{value.input_len.low:,} to {value.input_len.high:,} prompt tokens")
    if value.turns is not None:
        parts.append(f"conversations of {value.turns.count} turns, {units.duration(value.turns.think_s)} to think")
    if value.shared_prefix:
        groups = "" if value.prefix_groups == 1 else f" in {value.prefix_groups:,} groups"
        parts.append(f"{units.percent(value.shared_prefix, 0)} of each prompt shared{groups}")
    if value.expected_hits is not None:
        parts.append(f"{units.percent(value.expected_hits)} of prompt tokens meant from the prefix cache")
    if arrivals.ramp_up_s:
        parts.append(f"{units.duration(arrivals.ramp_up_s)} of growing rate before the window")
    parts += ["chat endpoint"] if form.endpoint == "chat" else ["prompts as text"] if form.prompt == "text" else []
    parts += [] if form.ignore_eos else ["answers end where the model ends them"]
    parts += [f"extra fields {form.extra_body}"] if form.extra_body else []
    return "; ".join(parts) or None


def point(value: Point) -> str:
    """`2,000 in, 256 out, 0.5/s`."""
    return f"{length(value.input_len)} in, {length(value.output_len)} out, {load(value.arrivals)}"


def gain(value: Gain | None) -> str:
    """`1.82× [1.78, 1.86]`, without brackets when there is no interval."""
    if value is None:
        return MISSING
    return f"{units.ratio(value.value)} {gain_interval(value)}".rstrip()


def gain_interval(value: Gain | None) -> str:
    """`[1.78, 1.86]`; empty when there is none."""
    if value is None or value.interval is None:
        return ""
    low, high = value.interval.low, value.interval.high
    return f"[{'< 0.01' if low < 0.01 else f'{low:.2f}'}, {'> 100' if high > 100 else f'{high:.2f}'}]"


def figure(key: str, value: float | None) -> str:
    """A metric's value with its unit where the unit varies: `12.3 ms`, `26.4k`, `0.5/s`."""
    unit = METRICS[key].unit
    if unit == "s":
        return units.duration(value)
    if unit == "J/token":
        return units.energy(value)
    if unit == "token":
        return MISSING if value is None else f"{value:,.1f}"
    return units.count(value) if unit == "token/s" else units.rate(value)


def estimate(key: str, value: Estimate | None, *, interval: bool = False) -> str:
    """A figure, on wish with its interval: `12.3 ms [11.9, 12.8]`."""
    if value is None:
        return MISSING
    if not interval or value.interval is None:
        return figure(key, value.value)
    ends = value.interval.low, value.interval.high
    if METRICS[key].unit == "s":
        unit, (low, high) = units.durations(value.value, *ends)[0], units.durations(value.value, *ends)[1][1:]
        return f"{units.durations(value.value)[1][0]} {unit} [{low}, {high}]"
    return f"{figure(key, value.value)} [{figure(key, ends[0])}, {figure(key, ends[1])}]"


def points_interval(delta: float, interval: Interval | None) -> str:
    """`−1.62 [−3.1, −0.2]` in percentage points."""
    return f"{units.points(delta)} {points_ends(interval)}".rstrip()


def points_ends(interval: Interval | None) -> str:
    """`[−3.10, −0.20]`; empty when there is none."""
    return "" if interval is None else f"[{units.points(interval.low)}, {units.points(interval.high)}]"


def score(column: Column, value: float) -> str:
    """A column's figure: per cent of a share, else as it is; `12.31 ↓` where lower is better."""
    shown = f"{value * 100:.2f}" if column.measure.is_share else f"{value:,.2f}"
    return shown if column.measure.higher_is_better else f"{shown} ↓"


def score_ends(column: Column, found: Score) -> str:
    """`[79.1, 84.9]`; empty without an interval."""
    if found.interval is None:
        return ""
    scale = 100 if column.measure.is_share else 1
    return f"[{found.interval.low * scale:,.1f}, {found.interval.high * scale:,.1f}]"


def difference(found: Comparison) -> str:
    """`−1.62`, in points of a share, else in the metric's unit."""
    if found.line is None or found.line.unit == "share":
        return units.points(found.effect)
    return f"{found.effect:+,.2f}".replace("-", "−")


def difference_ends(found: Comparison) -> str:
    """`[−3.10, −0.20]`; empty when there is none."""
    if found.interval is None or found.line is None or found.line.unit == "share":
        return points_ends(found.interval)
    return f"[{found.interval.low:+,.2f}, {found.interval.high:+,.2f}]".replace("-", "−")


def margin(found: Comparison, value: float) -> str:
    """`2.5`, in points of a share, else in the metric's unit."""
    return f"{value * 100:.1f}" if found.line is None or found.line.unit == "share" else f"{value:g}"


def flips(delta: ItemDelta) -> str:
    """Lost and gained, `61 / 42`; the share of items that differ for a continuous score."""
    if delta.lost is None or delta.gained is None:
        return f"{units.percent(delta.discordance)} differ"
    return f"{delta.lost:,} / {delta.gained:,}"


def answered(n: int, missing: Missing | None) -> str:
    """`1,172`, or `700 of 1,172` where planned items have no answer."""
    return f"{n:,}" if missing is None else f"{n:,} of {n + missing.n:,}"


def average(macro: Macro, planned: int) -> str:
    """`Average of 7`, or `Average of 6 of 7` where a planned column is not in it."""
    n = len(macro.columns)
    return f"Average of {n}" if n == planned else f"Average of {n} of {planned}"


def published(value: Published | None) -> str:
    """The published difference, in points."""
    return MISSING if value is None else units.points(value.candidate - value.baseline)


def engine(spec: EngineSpec, version: str | None) -> str:
    """`meta-llama/Llama-3.1-8B-Instruct (32 layers, hidden size 4,096) on vLLM 0.32.0`."""
    revision = f" at {spec.revision}" if spec.revision else ""
    kind = {"vllm": "vLLM", "url": f"the server {spec.url}", "fake": "the fake engine"}[spec.kind]
    shape = f" ({dimensions(spec)})" if spec.architecture is not None else ""
    return f"{model_name(spec)}{revision}{shape} on {kind}{f' {version}' if version else ''}"


def model_name(spec: EngineSpec) -> str:
    """A hub id whole; of a folder its last part."""
    return Path(spec.model).name if spec.model.startswith(("/", "~", ".")) else spec.model


def dimensions(spec: EngineSpec) -> str:
    """`8 layers, 4 of them run for prompt tokens, hidden size 192`; empty when the configuration is not known."""
    config = spec.architecture or {}
    layers, run, hidden = (config.get(k) for k in ("num_hidden_layers", "num_key_value_layers", "hidden_size"))
    parts = [f"{layers} layers"] if layers is not None else []
    parts += [f"{run} of them run for prompt tokens"] if run is not None and spec.arm == "swiftkv" else []
    parts += [f"hidden size {hidden:,}"] if isinstance(hidden, int) else []
    return ", ".join(parts)


def machine(value: Machine) -> str:
    """`2 × NVIDIA H100 80GB HBM3, AMD EPYC, 64 logical processors, 256 GiB, Linux x86_64`."""
    parts = [f"{n} × {name}" for name, n in Counter(a.name for a in value.accelerators).items()]
    parts.append(f"{value.cpu or 'unknown processor'}, {value.logical_cpus} logical processors")
    parts += [units.size(value.memory_bytes)] if value.memory_bytes is not None else []
    return ", ".join([*parts, value.platform])


def measured(manifest: Manifest) -> str:
    """`2026-11-24 04:00 UTC with swiftkv-bench 0.1.0 (commit 0123456789ab), profile embedded`."""
    when = manifest.created_utc[:16].replace("T", " ")
    profile = "" if manifest.attached else f", profile {manifest.profile}"
    return f"{when} UTC with swiftkv-bench {manifest.harness_version}{_commit(manifest)}{profile}"


def _commit(manifest: Manifest) -> str:
    git = manifest.git
    return "" if git is None else f" (commit {git.commit[:12]}{' with uncommitted changes' if git.dirty else ''})"
