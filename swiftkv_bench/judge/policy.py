"""`regression.yaml`: what a comparison gates on, with which margins and at which confidence."""

from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, field_validator

from swiftkv_bench.errors import InputError
from swiftkv_bench.metrics import METRICS
from swiftkv_bench.notation import parse_objective
from swiftkv_bench.schema.base import Record
from swiftkv_bench.schema.engine import Arm
from swiftkv_bench.schema.yaml_file import read_yaml

Share = Annotated[float, Field(gt=0, lt=1)]

FORMAT: Literal["swiftkv-bench/policy/1"] = "swiftkv-bench/policy/1"

ReferenceKind = Literal["reference run", "accepted run", "baseline arm", "published", "full depth"]
"""`reference run`: the same arm of another run. `accepted run`: the same arm of a run accepted under a name.
`baseline arm`: the original model in the same run. `published`: the published difference of the two models.
`full depth`: the same weights with every layer run."""


USUAL: Mapping[str, float] = dict.fromkeys(
    ("ttft_paired_s", "ttft_mean_s", "tpot_paired_s", "tpot_mean_s", "total_throughput", "goodput"), 0.05
)
"""Metrics that a policy gates on when it names none."""

GATED = tuple(key for key, metric in METRICS.items() if metric.better is not None)
"""Metrics that a policy can gate on."""


def suggestion(name: str, known: Iterable[str]) -> str:
    """` (did you mean 'x'?)` where a known name is close; else empty."""
    close = get_close_matches(name, list(known), 1, 0.75)
    return f" (did you mean {close[0]!r}?)" if close else ""


class AccuracyPolicy(Record):
    """Margins of accuracy, shares of one."""

    margin: Share | None = Field(None, description="largest tolerated drop of a column; None: the suite's own margins")
    columns: dict[str, Share] = Field({}, description="column key -> its margin, before `margin`")
    macro_margin: Share | None = Field(None, description="of the columns' average; None: the suite's own")
    flip_margin: Share = Field(0.01, description="right answers lost beyond noise that are tolerated, share of items")
    flip_floor: Annotated[float, Field(ge=0, lt=1)] | None = Field(
        None,
        description="flip rate of an unchanged engine, where no A/A answers (--repeat-baseline) were recorded; None: "
        "unknown, so that only the direction of flips counts",
    )
    unanswered_margin: Share = Field(
        0.02, description="largest tolerated rise of unparsed and of unfinished answers, share of items"
    )


class PerformancePolicy(Record):
    """Margins of figures under load, relative."""

    metrics: dict[str, Share] | None = Field(
        None,
        description="metric -> largest tolerated change for the worse, relative; others are not gated. None: 5 % of "
        f"the usual ones, where the runs have them ({', '.join(USUAL)}). Where the median of a latency is gated its "
        f"other figures only guard. Metrics: {', '.join(GATED)}",
    )
    slo: str | None = Field(None, description="latency targets that goodput counts against, e.g. ttft=2s,tpot=50ms")

    @field_validator("metrics")
    @classmethod
    def _known(cls, metrics: dict[str, float] | None) -> dict[str, float] | None:
        for key in metrics or {}:
            if key not in GATED:
                what = f"{key!r} has no better direction" if key in METRICS else f"no metric {key!r}"
                raise ValueError(f"{what}{suggestion(key, GATED)}; known are {', '.join(GATED)}")
        return metrics

    @field_validator("slo")
    @classmethod
    def _readable(cls, slo: str | None) -> str | None:
        try:
            if slo is not None:
                parse_objective(slo)
        except InputError as e:
            raise ValueError(str(e).removeprefix("--slo ")) from e
        return slo

    @property
    def gated(self) -> Mapping[str, float]:
        """Metric -> margin."""
        return USUAL if self.metrics is None else self.metrics


class Policy(Record):
    """What a comparison gates on. Every field has a default, so that an empty file is a policy."""

    format: Literal["swiftkv-bench/policy/1"] = Field(FORMAT, description="version of the policy's format")
    confidence: Annotated[float, Field(ge=0.5, lt=1)] = Field(
        0.95, description="one-sided: that what passes is within its margin, that what fails got worse"
    )
    correction: Literal["holm", "none"] = Field("holm", description="over all FAIL claims of one report")
    arms: tuple[Arm, ...] = Field(
        ("swiftkv", "swiftkv-full"), description="arms whose lines decide; lines of others are shown beside them"
    )
    references: tuple[ReferenceKind, ...] = Field(
        ("reference run", "accepted run", "baseline arm", "published", "full depth"),
        description="what the candidate is held against, where it is there; `baseline run` is the old name of "
        "`reference run`",
    )
    variables: tuple[str, ...] = Field(
        (), description="keys that are meant to differ, e.g. engine.max-num-batched-tokens; as --allow"
    )
    accuracy: AccuracyPolicy = Field(AccuracyPolicy(), description="margins of accuracy")
    performance: PerformancePolicy = Field(PerformancePolicy(), description="margins under load")

    @field_validator("references", mode="before")
    @classmethod
    def _old_name(cls, names: object) -> object:
        if not isinstance(names, list | tuple):
            return names
        return tuple("reference run" if name == "baseline run" else name for name in names)

    @property
    def alpha(self) -> float:
        """One-sided level of every claim."""
        return 1 - self.confidence

    def with_slo(self, slo: str) -> "Policy":
        """The same with goodput counted against given targets."""
        return self.model_copy(update={"performance": self.performance.model_copy(update={"slo": slo})})


def load_policy(path: Path | None) -> Policy:
    """The policy of a file; the default one without.

    Raises:
        InputError: the file is missing or says something that a policy has not; the message names the key.
    """
    if path is None:
        return Policy()
    return read_yaml(path, Policy, "a policy", empty=True, flag="--policy")
