"""When two sides did not do the same work."""

import pytest

from swiftkv_bench.metrics import Lengths, unequal_lengths


@pytest.mark.parametrize(
    ("reference", "candidate", "said"),
    [
        ((100.0, 12.0), (100.0, 12.0), None),
        ((100.0, 12.0), (101.0, 12.12), None),
        ((100.0, 12.0), (101.1, 12.0), "mean prompt lengths differ, 100.0 and 101.1 tokens a request"),
        ((100.0, 12.0), (100.0, 3.0), "mean output lengths differ, 12.0 and 3.0 tokens a request"),
        ((90.0, 3.0), (100.0, 12.0), "mean output lengths differ, 3.0 and 12.0 tokens a request"),
        ((None, 12.0), (100.0, None), None),
    ],
)
def test_lengths_that_differ_by_more_than_a_percent_are_named(
    reference: Lengths, candidate: Lengths, said: str | None
) -> None:
    assert unequal_lengths(reference, candidate) == said
