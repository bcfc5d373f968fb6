"""What ``--additional-config`` may say to the plug-in; nothing else configures it."""

from dataclasses import dataclass
from typing import Any, Literal

from swiftkv_bench.errors import EngineError

__all__ = ["Options"]

_KEYS = ("swiftkv_mode", "swiftkv_graphs")


@dataclass(frozen=True)
class Options:
    """The plug-in's switches, under the keys ``swiftkv_mode`` and ``swiftkv_graphs``.

    Attributes:
        mode: ``skip`` runs later layers for rows whose logits are needed, ``full`` for every row.
        graphs: on CUDA, replay captured graphs in the second half of mixed batches; false runs it eagerly.
    """

    mode: Literal["skip", "full"] = "skip"
    graphs: bool = True

    @property
    def skips(self) -> bool:
        """Whether rows may leave out the second half."""
        return self.mode == "skip"

    @classmethod
    def of(cls, vllm_config: Any) -> "Options":
        """Read the switches from a ``VllmConfig``; raises as ``read`` does."""
        return cls.read(vllm_config.additional_config)

    @classmethod
    def read(cls, given: object) -> "Options":
        """Read the switches from what ``--additional-config`` holds.

        Raises:
            EngineError: a key that starts with ``swiftkv_`` is unknown, or a value is not allowed.
        """
        if not isinstance(given, dict):
            return cls()
        unknown = sorted(key for key in given if str(key).startswith("swiftkv_") and key not in _KEYS)
        if unknown:
            raise EngineError(f"--additional-config: unknown key {unknown[0]!r}; known are {', '.join(_KEYS)}")
        mode, graphs = given.get("swiftkv_mode", cls.mode), given.get("swiftkv_graphs", cls.graphs)
        if mode not in ("skip", "full"):
            raise EngineError(f"--additional-config: swiftkv_mode is {mode!r}, must be 'skip' or 'full'")
        if not isinstance(graphs, bool):
            raise EngineError(f"--additional-config: swiftkv_graphs is {graphs!r}, must be true or false")
        return cls(mode=mode, graphs=graphs)
