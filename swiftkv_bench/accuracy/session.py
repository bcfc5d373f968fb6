"""One engine being asked: its client, its journal, what it can do, and many requests in flight at once."""

import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any

from swiftkv_bench.accuracy.items import Continuation, Item
from swiftkv_bench.accuracy.journal import Journal, answer_key
from swiftkv_bench.accuracy.probes import probe_abilities
from swiftkv_bench.accuracy.prompts import Prompter
from swiftkv_bench.accuracy.scoring import COMPLETIONS, Abilities, Answer, Request, Script, write_script
from swiftkv_bench.accuracy.target import Target
from swiftkv_bench.engines.client import Client, LostError, RefusedError
from swiftkv_bench.errors import ScoringError
from swiftkv_bench.observer import Observer
from swiftkv_bench.schema.accuracy import ScoringMethod
from swiftkv_bench.schema.engine import Arm
from swiftkv_bench.schema.manifest import Probe

_POLL_S = 0.5

_OF_THIS_REQUEST = (400, 413, 422)
"""HTTP status that says something of one request; others are of the server: no such model, no permission."""


@dataclass(frozen=True)
class Answered:
    """An item with an answer to each of its questions."""

    item: Item
    answers: list[Answer]
    method: ScoringMethod


@dataclass
class _Asked:
    """An item whose requests are under way.

    Attributes:
        left: requests without an answer yet.
    """

    item: Item
    script: Script
    futures: list[Future[Answer]]
    left: int


@dataclass
class Tally:
    """How many answers were asked of the engine and how many the journal held."""

    asked: int = 0
    from_journal: int = 0


class Session:
    """Asks one arm's engine.

    Attributes:
        probes: outcomes of the engine's probes, once it was probed.
    """

    def __init__(self, arm: Arm, target: Target, folder: Path, stop: threading.Event, observer: Observer) -> None:
        self.arm: Arm = arm
        self.target = target
        self.probes: list[Probe] = []
        self._stop = stop
        self._client = Client(target.base_url, target.access, observer=observer)
        self._journal = Journal(folder / "journal" / f"{arm}.jsonl")
        self._lock = threading.Lock()

    @cached_property
    def abilities(self) -> Abilities:
        """What the engine can score exactly; probed on first use."""
        vocabulary = Prompter(self.target.tokenizer, self.target.tokenizer_revision).vocabulary
        abilities, self.probes = probe_abilities(self._client, self.target, self.arm, vocabulary=vocabulary)
        return abilities

    def answer(self, items: Sequence[Item], repeat: int, concurrency: int, tally: Tally) -> Iterator[Answered]:
        """Answers items, many at once, and yields them as they are done; ends early once `stop` is set.

        Raises:
            ProbeError: the engine has no exact way to score them.
            ScoringError: an item has no answer, or one that holds no number; names the document. Answers that came
                before are in the journal.
            EngineError: it failed.
        """
        if any(isinstance(question, Continuation) for item in items for question in item.questions):
            _ = self.abilities
        pool = ThreadPoolExecutor(concurrency, thread_name_prefix=f"ask-{self.arm}")
        done: SimpleQueue[tuple[_Asked, Future[Answer]]] = SimpleQueue()
        queue, flying = iter(items), 0
        try:
            while not self._stop.is_set():
                # Little more than can be sent is handed over, so that a failure or Ctrl-C leaves no queue behind.
                while flying < 2 * concurrency and (item := next(queue, None)) is not None:
                    flying += self._send(item, repeat, tally, pool, done)
                if not flying:
                    return
                try:
                    asked, future = done.get(timeout=_POLL_S)
                except Empty:
                    continue
                try:
                    future.result()
                except ScoringError as e:
                    raise ScoringError(f"document {asked.item.doc_id} of task {asked.item.task}: {e}") from e
                flying, asked.left = flying - 1, asked.left - 1
                if not asked.left:
                    answers = asked.script.combine([future.result() for future in asked.futures])
                    yield Answered(asked.item, answers, asked.script.method)
        finally:
            pool.shutdown(wait=False, cancel_futures=True)

    def close(self) -> None:
        """Cuts what is under way and closes the journal."""
        self._client.close()
        self._journal.close()

    def _send(
        self, item: Item, repeat: int, tally: Tally, pool: ThreadPoolExecutor,
        done: SimpleQueue[tuple[_Asked, Future[Answer]]],
    ) -> int:  # fmt: skip
        """Hands an item's requests to the pool, to be in `done` as they are answered; returns their number."""
        is_scored = any(isinstance(question, Continuation) for question in item.questions)
        script = write_script(item.questions, self.abilities if is_scored else Abilities(None))
        futures = [pool.submit(self._ask, request, repeat, tally) for request in script.requests]
        asked = _Asked(item, script, futures, len(futures))
        for future in futures:
            future.add_done_callback(lambda answered: done.put((asked, answered)))
        return len(futures)

    def _ask(self, request: Request, repeat: int, tally: Tally) -> Answer:
        """The journal's answer, else the engine's, journalled."""
        key = answer_key(self.target.engine_key, request.body, repeat)
        answer: Answer | None = self._journal.get(key)
        if answer is None:
            answer = request.read(self._post({"model": self.target.served_model, **request.body}))
            self._journal.put(key, answer)
            with self._lock:
                tally.asked += 1
        else:
            with self._lock:
                tally.from_journal += 1
        return answer

    def _post(self, body: dict[str, Any]) -> Any:
        """The engine's answer. vLLM writes a log-probability that JSON cannot hold as HTTP 500, and is up afterwards.

        Raises:
            ScoringError: this request alone failed.
            EngineError: the engine failed.
        """
        try:
            return self._client.post(COMPLETIONS, body)
        except RefusedError as e:
            if e.status in _OF_THIS_REQUEST:
                raise ScoringError(f"the engine refuses this request: {e}") from e
            if e.status != 500 or not self._is_up():
                raise
            raise ScoringError(f"the engine failed at this request and is up ({e}); look into its log") from e

    def _is_up(self) -> bool:
        try:
            self._client.get("/health")
        except RefusedError as e:
            return e.status < 500
        except LostError:
            return False
        return True
