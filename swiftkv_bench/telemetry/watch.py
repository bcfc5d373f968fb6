"""Watches one trial: the server's counters at its edges, and its gauges, the engine and the GPUs in between."""

import threading
from time import perf_counter

from swiftkv_bench.errors import EngineError
from swiftkv_bench.load import server_metrics
from swiftkv_bench.load.target import Target
from swiftkv_bench.schema.telemetry import Telemetry
from swiftkv_bench.telemetry.gpu import Gpus
from swiftkv_bench.telemetry.processes import Usage, session_usage

GAUGES = ("num_requests_running", "num_requests_waiting", "kv_cache_usage_perc")
EVERY_S = 1.0
"""Between samples of gauges and memory: rare enough to cost the server nothing that shows."""


class Watch:
    """Of a trial on one server; the driver calls it at the edges of the measurement."""

    def __init__(
        self, target: Target, session: int | None, gpus: Gpus | None, cards: tuple[str, ...] | None = None
    ) -> None:
        """
        Args:
            session: session id of the engine's processes; None when it is not ours.
            cards: GPUs that the engine uses, as `cards` names them; None for all.
        """
        self.before: dict[str, float] = {}
        self.after: dict[str, float] = {}
        self.telemetry: Telemetry | None = None
        self._target = target
        self._session = session
        self._gpus = gpus
        self._cards = cards
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._sample, name="trial-telemetry", daemon=True)
        self._peaks: dict[str, float] = {}
        self._rss_bytes: list[int] = []
        self._start: Usage | None = None
        self._start_s = 0.0

    def opens(self) -> None:
        """After the warm-up."""
        self.before = server_metrics.read(self._target)
        self._start = self._usage()
        self._start_s = perf_counter()
        self._thread.start()

    def closes(self) -> None:
        """After the last measured response."""
        end_s, end = perf_counter(), self._usage()
        self.after = server_metrics.read(self._target)
        self._over.set()
        self._thread.join()
        self._note(self.after, end)
        cpu_s = None if self._start is None or end is None else end.cpu_s - self._start.cpu_s
        self.telemetry = Telemetry(
            seconds=end_s - self._start_s,
            engine_cpu_s=cpu_s,
            engine_max_rss_bytes=max(self._rss_bytes, default=None),
            gpus=() if self._gpus is None else self._gpus.between(self._start_s, end_s, self._cards),
            server_peaks=self._peaks,
        )

    def abandon(self) -> None:
        """Ends sampling of a trial that has failed or was interrupted."""
        self._over.set()

    def _usage(self) -> Usage | None:
        return None if self._session is None else session_usage(self._session)

    def _sample(self) -> None:
        while not self._over.wait(EVERY_S):
            try:
                self._note(server_metrics.read(self._target), self._usage())
            except EngineError:
                # The trial's own requests will tell.
                return

    def _note(self, values: dict[str, float], usage: Usage | None) -> None:
        for name in GAUGES:
            if name in values:
                self._peaks[name] = max(self._peaks.get(name, 0.0), values[name])
        if usage is not None:
            self._rss_bytes.append(usage.rss_bytes)
