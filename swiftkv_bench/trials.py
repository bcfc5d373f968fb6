"""One load trial from start to record, and the self-test before the first: load, server counters, telemetry."""

import os
from dataclasses import dataclass, replace

from swiftkv_bench.checks import sentence
from swiftkv_bench.engines.models import tokenizer_file, vocabulary
from swiftkv_bench.engines.resolve import EngineConfig
from swiftkv_bench.errors import EngineError
from swiftkv_bench.load import self_test as client_test
from swiftkv_bench.load.driver import Options, TrialInterruptedError, TrialRun, run_trial
from swiftkv_bench.load.target import Target
from swiftkv_bench.load.texts import load_texts
from swiftkv_bench.observer import Observer
from swiftkv_bench.refusal import likely_cause
from swiftkv_bench.schema.engine import EngineInfo
from swiftkv_bench.schema.perf import STATUS, PerfPlan, RequestTable, SelfTest, Trial, TrialRecord, TrialStatus
from swiftkv_bench.telemetry.cards import engine_cards
from swiftkv_bench.telemetry.gpu import Gpus
from swiftkv_bench.telemetry.watch import Watch


@dataclass(frozen=True)
class Serving:
    """A running engine as a trial sees it."""

    info: EngineInfo
    config: EngineConfig
    session: int | None
    """Session id of its processes; None when they are not ours."""

    def target(self) -> Target:
        """Where requests go.

        Raises:
            InputError: the tokenizer cannot be read.
        """
        spec = self.config.spec
        size = None if spec.architecture is None else spec.architecture.get("vocab_size")
        return Target(
            base_url=self.info.base_url,
            model=self.info.served_model,
            vocabulary=vocabulary(spec.tokenizer, size if isinstance(size, int) else None),
            access=self.config.access,
        )


@dataclass(frozen=True)
class Recorded:
    """What there is to write of a trial."""

    record: TrialRecord
    table: RequestTable


class MeasureInterruptedError(KeyboardInterrupt):
    """Ctrl-C during a trial; `recorded` holds what was measured until then."""

    def __init__(self, recorded: Recorded) -> None:
        super().__init__("interrupted")
        self.recorded = recorded


def measure(trial: Trial, engine: Serving, gpus: Gpus | None, observer: Observer, options: Options) -> Recorded:
    """Runs one trial. One that cannot be run, or in which no request succeeds, is recorded as failed.

    Raises:
        InputError: a file of the point cannot be used.
        MeasureInterruptedError: the user stopped it.
    """
    target = engine.target()
    spec = engine.config.spec
    # Where a given server runs is not known: all cards that are busy count.
    cards = None if spec.kind == "url" else engine_cards({**os.environ, **spec.env}, spec.args)
    watch = Watch(target, engine.session, gpus, cards)
    try:
        as_text = trial.point.form.prompt == "text" or trial.point.prompts is not None
        texts = load_texts(tokenizer_file(spec.tokenizer)) if as_text else None
        done = run_trial(trial, target, observer, options=replace(options, texts=texts), window=watch)
    except TrialInterruptedError as e:
        watch.abandon()
        raise MeasureInterruptedError(_recorded(trial, e.run, watch, "interrupted", "stopped by the user")) from e
    except EngineError as e:
        watch.abandon()
        return Recorded(TrialRecord.not_run(trial, str(e).splitlines()[0]), RequestTable.empty())
    if done.cut:
        return _recorded(trial, done, watch, "interrupted", "the time budget (--budget) was used up")
    if (done.table.status == STATUS.index("ok")).any():
        return _recorded(trial, done, watch, "complete", None)
    first = next(iter(done.table.errors.values()), "none")
    cause = likely_cause(done.table.errors.values())
    reason = f"no request succeeded; the first error: {first}"
    return _recorded(trial, done, watch, "failed", reason if cause is None else f"{sentence(reason)} {cause}")


def _recorded(trial: Trial, done: TrialRun, watch: Watch, status: TrialStatus, reason: str | None) -> Recorded:
    record = TrialRecord(
        trial=trial,
        status=status,
        reason=reason,
        started_utc=done.started_utc,
        window_s=done.window_s,
        total_s=done.total_s,
        client=done.client,
        server_before=watch.before,
        server_after=watch.after,
        telemetry=watch.telemetry,
    )
    return Recorded(record, done.table)


def tested_client(plan: PerfPlan, observer: Observer, *, workers: int) -> SelfTest | str | None:
    """What the client measures of the fake engine at the plan's densest stream of tokens.

    A text says why the test could not be made; None when no point has a rate, so that there is none to hold.
    """
    paced = [t.point for t in plan.trials if t.point.arrivals.rate is not None]
    if not paced:
        return None
    densest = max(paced, key=lambda p: (p.arrivals.rate or 0.0) * p.output_len.mean)
    observer.progress("self-test", "measuring the client on the fake engine")
    try:
        found = client_test.self_test(densest.arrivals.rate or 0.0, round(densest.output_len.mean), workers=workers)
    except EngineError as e:
        reason = str(e).splitlines()[0]
        observer.finish("self-test", f"no self-test of the client: {reason}; the run goes on without it")
        return reason
    observer.finish("self-test", client_test.sentence(found))
    return found
