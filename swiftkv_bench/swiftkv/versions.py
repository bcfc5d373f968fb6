"""Which vLLM the plug-in was tested with; plain data, read by the plug-in, ``doctor`` and the documentation."""

from dataclasses import dataclass
from typing import Literal

__all__ = ["TESTED", "Tested", "default_runner", "releases_tested"]


@dataclass(frozen=True)
class Tested:
    """A vLLM release with one of its model runners on one kind of device (``CPU``, ``CUDA``)."""

    vllm: str
    runner: Literal["V1", "V2"]
    device: str

    def __str__(self) -> str:
        return f"vLLM {self.vllm} under the {self.runner} model runner on {self.device}"


TESTED = (
    Tested("0.26.0", "V1", "CUDA"),
    Tested("0.32.0", "V1", "CPU"),
    Tested("0.32.0", "V2", "CPU"),
)
"""Where the plug-in's tests (CPU) or every case of ``benchmarks/gpu_correctness.py`` (CUDA) passed."""


def releases_tested() -> list[str]:
    """Releases, oldest first, each once."""
    return list(dict.fromkeys(one.vllm for one in TESTED))


def default_runner(release: str | None, *, triton: bool) -> Literal["V1", "V2"]:
    """The model runner that a vLLM release takes where nothing chooses one and this package is installed.

    Before 0.31 it takes V1 beside any logits processor of a plug-in; from then on V2 wherever Triton is.

    Args:
        release: as ``0.32.0``; None, or what is no release, counts as a new one.
    """
    parts = (release or "").split(".")
    if len(parts) >= 2 and parts[0].isdigit() and parts[1].isdigit() and (int(parts[0]), int(parts[1])) < (0, 31):
        return "V1"
    return "V2" if triton else "V1"
