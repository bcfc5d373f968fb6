"""The table of what server and machine did at each load point."""

from collections.abc import Callable

from swiftkv_bench import units
from swiftkv_bench.analysis.values import MachineUse, PerfAnalysis
from swiftkv_bench.render import wording
from swiftkv_bench.render.cells import Cell, Head, TableView
from swiftkv_bench.render.wording import ARM, MISSING


def machine_table(perf: PerfAnalysis) -> TableView | None:
    """What server and machine did, a row an arm and point; None when nothing tells."""
    columns: list[tuple[str, Callable[[MachineUse], str]]] = [
        ("engine CPUs", lambda m: MISSING if m.engine_cpus is None else f"{m.engine_cpus:.2f}"),
        ("engine memory", lambda m: MISSING if m.engine_rss_bytes is None else units.size(m.engine_rss_bytes)),
        ("GPU power", lambda m: MISSING if m.gpu_power_w is None else f"{m.gpu_power_w:,.0f} W"),
        ("GPU busy", lambda m: units.percent(m.gpu_utilization, 0)),
        ("most running", lambda m: units.count(m.running)),
        ("most waiting", lambda m: units.count(m.waiting)),
        ("most KV cache", lambda m: units.percent(m.kv_usage, 0)),
        ("preemptions", lambda m: units.count(m.preemptions)),
    ]
    known = [(p, arm, a.machine) for p in perf.points for arm, a in p.arms.items() if a.machine is not None]
    columns = [(name, text) for name, text in columns if any(text(m) != MISSING for _, _, m in known)]
    if not columns:
        return None
    heads = [Head("Input"), Head("Load", align="left"), Head("Arm", align="left"), *(Head(name) for name, _ in columns)]
    rows = tuple(
        (
            Cell(wording.length(p.point.input_len)),
            Cell(wording.load(p.point.arrivals)),
            Cell(ARM[arm]),
            *(Cell(text(m)) for _, text in columns),
        )
        for p, arm, m in known
    )
    note = (
        "Engine CPUs: processors kept busy by the engine's processes, mean over the trials; memory is their resident "
        "memory together, pages shared between them counted in each. Most: highest sampled value, once a second."
    )
    return TableView("machine", "What server and machine did", tuple(heads), rows, note, folded=True)
