"""One engine being asked: its client, its journal, what it can do, and many items in flight at once."""

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any

from swiftkv_bench.accuracy.items import Continuation, Item
from swiftkv_bench.accuracy.journal import Journal, answer_key
from swiftkv_bench.accuracy.probes import probe_abilities
from swiftkv_bench.accuracy.prompts import Prompter
from swiftkv_bench.accuracy.scoring import COMPLETIONS, Abilities, Answer, answer_questions
from swiftkv_bench.accuracy.target import Target
from swiftkv_bench.engines.client import Client
from swiftkv_bench.schema.accuracy import ScoringMethod
from swiftkv_bench.schema.engine import Arm
from swiftkv_bench.schema.manifest import Probe

_POLL_S = 0.5


@dataclass(frozen=True)
class Answered:
    """An item with an answer to each of its questions."""

    item: Item
    answers: list[Answer]
    method: ScoringMethod


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

    def __init__(self, arm: Arm, target: Target, folder: Path, stop: threading.Event) -> None:
        self.arm: Arm = arm
        self.target = target
        self.probes: list[Probe] = []
        self._stop = stop
        self._client = Client(target.base_url, target.api_key)
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
            EngineError: it failed.
        """
        if any(isinstance(question, Continuation) for item in items for question in item.questions):
            _ = self.abilities
        pool = ThreadPoolExecutor(min(concurrency, max(1, len(items))), thread_name_prefix=f"ask-{self.arm}")
        queue = iter(items)
        flying: set[Future[Answered]] = set()
        try:
            # No more than can be sent is handed over, so that a failure or Ctrl-C leaves no queue behind.
            while not self._stop.is_set():
                flying |= {
                    pool.submit(self._answer, item, repeat, tally)
                    for item in islice(queue, max(0, 2 * concurrency - len(flying)))
                }
                if not flying:
                    return
                done, flying = wait(flying, timeout=_POLL_S, return_when=FIRST_COMPLETED)
                yield from (future.result() for future in done)
        finally:
            pool.shutdown(wait=False, cancel_futures=True)

    def close(self) -> None:
        """Cuts what is under way and closes the journal."""
        self._client.close()
        self._journal.close()

    def _answer(self, item: Item, repeat: int, tally: Tally) -> Answered:
        def ask(body: dict[str, Any], reduce: Callable[[Any], Answer]) -> Answer:
            key = answer_key(self.target.engine_key, body, repeat)
            answer: Answer | None = self._journal.get(key)
            if answer is None:
                answer = reduce(self._client.post(COMPLETIONS, {"model": self.target.served_model, **body}))
                self._journal.put(key, answer)
                with self._lock:
                    tally.asked += 1
            else:
                with self._lock:
                    tally.from_journal += 1
            return answer

        is_scored = any(isinstance(question, Continuation) for question in item.questions)
        abilities = self.abilities if is_scored else Abilities(None)
        return Answered(item, *answer_questions(item.questions, abilities, ask))
