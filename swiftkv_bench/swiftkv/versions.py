"""Which vLLM the plug-in was tested with; plain data, read by the plug-in, ``doctor`` and the documentation."""

from dataclasses import dataclass
from typing import Literal

__all__ = ["TESTED", "Tested", "releases_tested"]


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
