"""What a second computation of an item says of the first."""

import pytest

from swiftkv_bench.accuracy.verify import ItemAgreement, lead


@pytest.mark.parametrize(
    ("difference_nat", "log_likelihoods", "is_tie"),
    [
        (2.0e-5, [-184.992284, -184.992276], True),  # 8e-6 nat apart
        (2.0e-5, [-184.992284, -184.992200], False),
        (2.0e-5, [-184.9, -190.0, -184.9], True),
        (0.3, [-184.9], False),  # nothing to be as likely as
        (None, [], False),
    ],
)
def test_a_tie_is_as_close_as_two_computations_differ(
    difference_nat: float | None, log_likelihoods: list[float], is_tie: bool
) -> None:
    item = ItemAgreement("winogrande", 672, 0.0, 1.0, difference_nat, lead(log_likelihoods), None)
    assert not item.same_score
    assert item.is_tie is is_tie
