"""What a trial shows of its traffic, of tables whose truth is known."""

from dataclasses import replace

import numpy as np
import pytest

from swiftkv_bench.evidence.traffic import NOTHING_TOLD, Reasoning, Traffic, over_trials, traffic_of
from swiftkv_bench.metrics import server_metrics, trial_metrics
from swiftkv_bench.schema.perf import Arrivals, Point, RequestTable
from tests.synthetic import point, table, trial_record

AT = point(100, Arrivals(process="constant", rate=1.0), 4, output_len=4)


def seen(given: RequestTable, at: Point = AT) -> Traffic:
    m = trial_metrics(given, at.arrivals, 4.0)
    return traffic_of(trial_record(at, window_s=4.0), given, m, server_metrics({}, {}))


def test_reasoning_has_its_share_and_the_answer_its_own_first_token() -> None:
    # First tokens after 100 ms, then one every 10 ms; 2 of 4 tokens are reasoning, of the last request all.
    given = replace(table([0.0, 1.0, 2.0, 3.0], [0.1] * 4), reasoning_chunks=np.array([2, 2, 2, 4]))
    found = seen(given).reasoning
    assert found is not None
    assert found.share == pytest.approx(10 / 16)
    assert found.first_answer_s == pytest.approx(0.12)
    assert found.unanswered == 1


def test_without_reasoning_nothing_is_said_of_it() -> None:
    plain = table([0.0, 1.0, 2.0, 3.0], [0.1] * 4)
    assert seen(plain).reasoning is None
    assert seen(replace(plain, reasoning_chunks=np.zeros(4, dtype=np.int64))).reasoning is None


def test_first_tokens_are_told_by_turn() -> None:
    given = replace(table([0.0, 1.0, 2.0, 3.0], [0.1, 0.3, 0.2, 0.5]), turn=np.array([0, 1, 0, 1]))
    of_turns = Point.model_validate(AT.model_dump() | {"turns": {"count": 2}})
    assert seen(given, of_turns).ttft_of_turn_s == pytest.approx((0.15, 0.4))
    assert seen(given).ttft_of_turn_s == ()


def test_trials_are_averaged_where_they_tell() -> None:
    one = Traffic(0.25, (0.1, 0.2), Reasoning(0.5, 0.3, 1))
    other = Traffic(None, (0.3, 0.4), Reasoning(0.7, None, 2))
    found = over_trials([one, other])
    assert found.prefix_hits == 0.25
    assert found.ttft_of_turn_s == pytest.approx((0.2, 0.3))
    assert found.reasoning == Reasoning(0.6, 0.3, 3)
    assert over_trials([]) == NOTHING_TOLD
