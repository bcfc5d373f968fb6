"""Which vLLM the plug-in was tested with; plain data, read by the plug-in, ``doctor`` and the documentation."""

from dataclasses import dataclass, field
from typing import Literal

__all__ = ["NEWEST", "TESTED", "Tested", "default_runner", "releases_tested", "untested"]

Runner = Literal["V1", "V2"]


@dataclass(frozen=True)
class Tested:
    """A vLLM release with one of its model runners on one kind of device (``CPU``, ``CUDA``).

    Attributes:
        how: what passed there; no part of what makes two of them equal.
    """

    vllm: str
    runner: Runner
    device: str
    how: str = field(default="", compare=False)

    def __str__(self) -> str:
        return f"vLLM {self.vllm} under the {self.runner} model runner on {self.device}"


TESTED = (
    Tested("0.26.0", "V1", "CUDA", "every case of `benchmarks/gpu_correctness.py` on an H200"),
    Tested("0.32.0", "V1", "CPU", "`make test`"),
    Tested("0.32.0", "V2", "CPU", "`make test`, kernels by Triton's interpreter"),
    Tested(
        "0.33.0",
        "V1",
        "CUDA",
        "22 cases of `benchmarks/gpu_correctness.py` on an H200 and an H100, none of structured output",
    ),
    Tested(
        "0.33.0",
        "V2",
        "CUDA",
        "21 cases of `benchmarks/gpu_correctness.py` on an H200 and an H100, none of structured output",
    ),
)
"""Where the plug-in's answers were held against the float32 reference, oldest release first."""

NEWEST = TESTED[-1].vllm
"""The release that the extra ``cuda`` installs."""


def releases_tested() -> list[str]:
    """Releases, oldest first, each once."""
    return list(dict.fromkeys(one.vllm for one in TESTED))


def untested(release: str, runner: Runner, device: str) -> str | None:
    """A warning where the three were never tested together; None where they were."""
    here = Tested(release, runner, device)
    if here in TESTED:
        return None
    return f"SwiftKV was never tested with {here} (tested: {'; '.join(map(str, TESTED))})"


def default_runner(release: str | None, *, triton: bool) -> Runner:
    """The model runner that a vLLM release takes where nothing chooses one and this package is installed.

    Before 0.31 it takes V1 beside any logits processor of a plug-in; from then on V2 wherever Triton is.

    Args:
        release: as ``0.32.0``; None, or what is no release, counts as a new one.
    """
    parts = (release or "").split(".")
    if len(parts) >= 2 and parts[0].isdigit() and parts[1].isdigit() and (int(parts[0]), int(parts[1])) < (0, 31):
        return "V1"
    return "V2" if triton else "V1"
