"""Tells the process that takes requests which model is served; the entry point ``vllm.stat_logger_plugins``.

A statistics logger is the one object of a plug-in that vLLM makes there with the engine's configuration. This one logs
nothing. Beside it vLLM counts statistics even under ``--disable-log-stats``, without writing them.
"""

from typing import Any

from vllm.v1.metrics.loggers import StatLoggerBase

from swiftkv_bench.swiftkv.admission import remember

__all__ = ["ServedModel"]


class ServedModel(StatLoggerBase):
    """Remembers the vocabulary that forced tokens must be of, as long as the engine's client lives."""

    def __init__(self, vllm_config: Any, engine_index: int = 0) -> None:
        remember(self, vllm_config)

    def record(self, *_statistics: Any, **_more: Any) -> None:
        """Nothing."""

    def log_engine_initialized(self) -> None:
        """Nothing."""
