"""The pacer: never early, never twice, and cancellable. How late it is belongs to benchmarks/load_client.py."""

import asyncio
from time import perf_counter

import pytest

from swiftkv_bench.load.pacer import NEVER, Pacer
from swiftkv_bench.load.worker import event_loop


def calls_at(due_s: list[float], last: int) -> list[tuple[float, float]]:
    """(due, called) of a pacer that is armed for the next time at each call; times from the start."""
    loop, _ = event_loop()
    start, found = perf_counter(), list[tuple[float, float]]()
    over = loop.create_future()

    def due(now_s: float) -> None:
        found.append((due_s[len(found)], now_s - start))
        if len(found) == last:
            pacer.arm(NEVER)
            over.set_result(None)
        else:
            pacer.arm(start + due_s[len(found)])

    pacer = Pacer(loop, due)
    pacer.arm(start + due_s[0])
    try:
        loop.run_until_complete(asyncio.wait_for(over, 30))
    finally:
        pacer.close()
        loop.close()
    return found


def test_a_call_is_never_before_its_time() -> None:
    times = [0.001 * i for i in range(1, 50)]
    found = calls_at(times, len(times))
    assert len(found) == len(times)
    assert all(called >= due for due, called in found)


def test_times_in_the_past_are_called_at_once_and_none_is_lost() -> None:
    found = calls_at([-1.0, -0.5, -0.5, 0.0, 0.01], 5)
    assert [due for due, _ in found] == [-1.0, -0.5, -0.5, 0.0, 0.01]


@pytest.mark.parametrize("later_s", [0.02, NEVER])
def test_a_time_that_was_moved_is_not_called(later_s: float) -> None:
    loop, _ = event_loop()
    start, found = perf_counter(), list[float]()
    pacer = Pacer(loop, found.append)
    pacer.arm(start + 0.005)
    pacer.arm(start + later_s)
    try:
        loop.run_until_complete(asyncio.sleep(0.1))
    finally:
        pacer.close()
        loop.close()
    assert all(called >= start + later_s for called in found)
    assert bool(found) == (later_s != NEVER)
