"""What `doctor` checks: the machine, the packages, the models, and running engines through their probes."""

import importlib.util
import json
import os
import sys
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from rich.console import Console

from swiftkv_bench import points, provenance, request, units
from swiftkv_bench.cli.options import EngineFlags
from swiftkv_bench.cli.progress import observer as make_observer
from swiftkv_bench.engines.fleet import Fleet
from swiftkv_bench.engines.memory import hardware_here
from swiftkv_bench.engines.probes import probe_engine
from swiftkv_bench.engines.resolve import EngineConfig, build
from swiftkv_bench.engines.start_checks import start_checks, summary
from swiftkv_bench.errors import EngineError, InputError, RegressionError
from swiftkv_bench.observer import Observer
from swiftkv_bench.schema.engine import Profile
from swiftkv_bench.store import cache_dir

BREAKING = ("torchvision", "torchaudio", "torchcodec")
NEEDED = {"vllm": "engines on this machine", "transformers": "tokenisers", "lm_eval": "accuracy suites"}


@dataclass(frozen=True)
class Finding:
    """One line of the doctor's report."""

    status: Literal["ok", "warning", "problem"]
    what: str
    detail: str
    repair: str | None = None


def diagnose(flags: EngineFlags, *, start_engines: bool, machine: bool, as_json: bool) -> None:
    """Prints the findings.

    Args:
        machine: whether this machine and its packages are looked at.

    Raises:
        RegressionError: a finding is a problem.
        InputError: the flags cannot be used, or an engine would not start as they ask; none was started.
    """
    with make_observer(quiet=as_json) as observer:
        findings = machine_findings() + package_findings() if machine else []
        profile, sentence = request.choose_profile(flags.profile)
        findings.append(Finding("ok", "profile", sentence))
        configs = request.engines_for(profile, "both", flags.options(), cache_dir())
        together = profile.together if flags.together is None else flags.together
        findings += start_findings(configs, profile, together=together, starting=start_engines)
        refused = [f for f in findings if f.status == "problem"]
        if start_engines and not refused:
            findings += engine_findings(configs, together, observer)
    _print(findings, as_json=as_json)
    if refused:
        raise InputError(f"{refused[0].what}: {refused[0].detail}")
    problems = [f for f in findings if f.status == "problem"]
    if problems:
        raise RegressionError(f"{len(problems)} of {len(findings)} checks found a problem; see above")


def start_findings(
    configs: tuple[EngineConfig, ...], profile: Profile, *, together: bool, starting: bool
) -> list[Finding]:
    """What is known of both engines and the profile's load before anything starts.

    Args:
        starting: whether engines are about to start on this machine, which then counts even without a GPU.
    """
    hardware = hardware_here()
    if hardware is not None and not hardware.cards and not starting:
        hardware = None
    found = []
    for config, check in zip(configs, start_checks(configs, together=together, hardware=hardware), strict=True):
        found += [Finding("problem", check.arm, sentence) for sentence in check.refusals]
        if not check.refusals:
            status: Literal["ok", "warning"] = "ok" if check.unknown is None else "warning"
            found.append(Finding(status, check.arm, check.unknown or summary(config.spec)))
        if check.untested is not None:
            found.append(Finding("warning", "vLLM", check.untested, "trust it after `doctor` without --dry-run"))
    if hardware is None and not starting:
        found.append(Finding("ok", "machine", "no GPU is here, so whether cards and memory suffice was left out"))
    try:
        plan = points.perf_plan(points.LoadRequest(), profile, configs, seed=0, together=together)
    except InputError as e:
        # Engines can be probed all the same; other lengths can be given to `perf`.
        return [*found, Finding("warning" if starting else "problem", "load", str(e))]
    detail = f"{units.counted(len(plan.trials), 'trial')} of the profile fit the context of both engines"
    return [*found, Finding("ok", "load", detail)]


def machine_findings() -> list[Finding]:
    """Processors, memory, GPUs, open files."""
    machine = provenance.machine()
    found = [
        Finding("ok", "machine", f"{machine.cpu or 'unknown CPU'}, {machine.logical_cpus} processors, "
                f"{units.size(machine.memory_bytes)}, {machine.platform}"),
    ]  # fmt: skip
    for gpu in machine.accelerators:
        found.append(Finding("ok", "GPU", f"{gpu.name}, {units.size(gpu.memory_bytes)}, driver {gpu.driver}"))
    if machine.logical_cpus < 2:
        found.append(
            Finding("warning", "processors", "the load generator shares its only processor with the engines",
                    "expect late sends; use a machine with at least 2 processors")
        )  # fmt: skip
    load = os.getloadavg()[0]
    if load > machine.logical_cpus / 2:
        found.append(
            Finding("warning", "load", f"load average {load:.1f} before anything was started",
                    "stop other work: it moves every latency measured here")
        )  # fmt: skip
    return found


def package_findings() -> list[Finding]:
    """Packages that are needed, and those that break a text engine."""
    found = []
    for name, purpose in NEEDED.items():
        if importlib.util.find_spec(name) is None:
            found.append(
                Finding("warning", name, f"not installed: no {purpose}", f"install {name}, or name --python / a URL")
            )
        else:
            version = provenance.package_versions().get(name) or provenance.package_versions().get(f"{name}-cpu")
            found.append(Finding("ok", name, version or "installed"))
    for name in BREAKING:
        if importlib.util.find_spec(name) is not None and not provenance.accelerators():
            found.append(
                Finding("warning", name, "installed, and a text engine needs it not; a CUDA build beside a CPU torch "
                        "breaks transformers", f"{sys.executable} -m pip uninstall {name}")
            )  # fmt: skip
    return found


def engine_findings(configs: tuple[EngineConfig, ...], together: bool, observer: Observer) -> list[Finding]:
    """Starts every engine, probes it, stops it."""
    found: list[Finding] = []
    with tempfile.TemporaryDirectory(prefix="swiftkv-bench-doctor-") as folder:

        def make(config: EngineConfig):  # type: ignore[no-untyped-def]  # the engine protocol, inferred
            return build(config, Path(folder) / "logs" / f"{config.spec.arm}.log", Path(folder))

        one_by_one = request.start_one_by_one(configs)
        with Fleet(configs, make, together=together, observer=observer, one_by_one=one_by_one) as fleet:
            for config in configs:
                arm = config.spec.arm
                try:
                    info = fleet.get(arm)
                except EngineError as e:
                    found.append(Finding("problem", f"{arm} engine", str(e)))
                    continue
                started = "attached" if info.start_s is None else f"ready after {units.duration(info.start_s)}"
                found.append(Finding("ok", f"{arm} engine", f"{config.spec.model}, version {info.version}, {started}"))
                try:
                    probes = probe_engine(config.spec, info, config.access, thorough=True)
                except EngineError as e:
                    found.append(Finding("problem", f"{arm} engine", str(e)))
                    probes = []
                if (why := fleet.why_ended(arm)) is not None:
                    found.append(Finding("problem", f"{arm} engine", f"{why}; it was answering probes"))
                for probe in probes:
                    status: Literal["ok", "warning", "problem"] = (
                        "ok" if probe.status == "pass" else "problem" if probe.status == "fail" else "warning"
                    )
                    found.append(Finding(status, f"{arm}: {probe.name}", probe.detail))
    return found


def _print(findings: list[Finding], *, as_json: bool) -> None:
    if as_json:
        print(json.dumps([asdict(f) for f in findings], indent=1))
        return
    console = Console(highlight=False)
    marks = {"ok": "[green]ok[/]     ", "warning": "[yellow]warning[/]", "problem": "[red]problem[/]"}
    for f in findings:
        console.print(marks[f.status], end=" ")
        console.print(f"{f.what}: {f.detail}" + (f" — {f.repair}" if f.repair else ""), markup=False)
