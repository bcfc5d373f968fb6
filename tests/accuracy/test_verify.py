"""What a second computation of an item says of the first."""

import pytest

from swiftkv_bench.accuracy.verify import Agreement, ItemAgreement, Weights, arithmetic, lead
from swiftkv_bench.cli.verify import _judge
from swiftkv_bench.engines.probes.asking import Limit
from swiftkv_bench.errors import RegressionError
from swiftkv_bench.schema.engine import EngineSpec


@pytest.mark.parametrize(
    ("difference_nat", "log_likelihoods", "lengths", "is_tie"),
    [
        (2.0e-5, [-184.992284, -184.992276], [1, 1], True),  # 8e-6 nat apart
        (2.0e-5, [-184.992284, -184.992200], [1, 1], False),
        (2.0e-5, [-184.9, -190.0, -184.9], [1, 1, 1], True),
        (
            0.17,
            [-20.0, -40.5],
            [10, 20],
            True,
        ),  # -2 and -2.025 a character: 0.1667 nat each way, 0.1667 · (1/10 + 1/20)
        (0.16, [-20.0, -40.5], [10, 20], False),
        (0.3, [-20.0, -20.1], [10, 40], False),  # close as log-likelihoods, far apart a character
        (0.3, [-184.9], [1], False),  # nothing to be as likely as
        (None, [], [], False),
    ],
)
def test_a_tie_is_as_close_as_two_computations_differ(
    difference_nat: float | None, log_likelihoods: list[float], lengths: list[float], is_tie: bool
) -> None:
    item = ItemAgreement("winogrande", 672, 0.0, 1.0, difference_nat, lead(log_likelihoods, lengths), None)
    assert not item.same_score
    assert item.is_tie is is_tie


@pytest.mark.parametrize(
    ("served", "computed", "limit"),
    [
        ({"dtype": "float32"}, "float32", Limit(0.002, 0.01)),
        ({"dtype": "float32"}, "bfloat16", Limit(0.06, 0.4)),
        ({"dtype": "bfloat16"}, "float32", Limit(0.06, 0.4)),
        ({"dtype": "float32"}, "auto", Limit(0.002, 0.01)),
        ({}, "auto", Limit(0.06, 0.4)),
    ],
)
def test_the_coarser_arithmetic_says_what_is_rounding(served: dict[str, str], computed: str, limit: Limit) -> None:
    spec = EngineSpec.model_validate(
        {"arm": "baseline", "kind": "vllm", "model": "m", "tokenizer": "t", "max_model_len": 8, "args": served}
    )
    assert arithmetic(spec, Weights("m", "t", 8, dtype=computed)) == limit


@pytest.mark.parametrize("beyond", [0, 1])
def test_log_likelihoods_beyond_rounding_fail_the_command(beyond: int) -> None:
    items = [ItemAgreement("arc", i, 1.0, 1.0, 0.5, 2.0, None, beyond_rounding=i < beyond) for i in range(3)]
    texts = [ItemAgreement("gsm8k", 0, 1.0, 0.0, None, None, same_text=False)]
    found = [Agreement("swiftkv", name, name, 9, tuple(some)) for name, some in (("arc", items), ("gsm8k", texts))]
    if not beyond:
        _judge(found)
        return
    with pytest.raises(RegressionError, match=r"^1 of 4 items have log-likelihoods"):
        _judge(found)
