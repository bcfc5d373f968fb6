"""The manifest of a run: everything needed to say years later what was measured."""

from typing import Any, Literal

from pydantic import Field

from swiftkv_bench.schema.accuracy import AccuracyPlan, DataSource
from swiftkv_bench.schema.base import SCHEMA_VERSION, Record
from swiftkv_bench.schema.engine import UNNAMED, EngineInfo, EngineSpec
from swiftkv_bench.schema.perf import PerfPlan, SelfTest


class GitState(Record):
    """State of the checkout that ran."""

    commit: str = Field(description="commit id")
    dirty: bool = Field(description="True when tracked files differ from the commit")


class Accelerator(Record):
    """One GPU."""

    name: str = Field(description="product name")
    memory_bytes: int | None = Field(None, description="device memory")
    driver: str | None = Field(None, description="driver version")


class Machine(Record):
    """Where the run was made."""

    platform: str = Field(description="operating system and architecture")
    cpu: str | None = Field(None, description="processor model")
    logical_cpus: int = Field(description="logical processors this process may use")
    memory_bytes: int | None = Field(None, description="main memory")
    accelerators: tuple[Accelerator, ...] = Field(
        (), description="GPUs that the run could see, in index order; all where it saw a MIG slice"
    )


Status = Literal["pass", "fail", "not run"]
Part = Literal["accuracy", "load"]
"""Parts of a run."""


class Probe(Record):
    """Outcome of one engine probe."""

    name: str = Field(description="what was probed")
    arm: str = Field(description="role of the engine")
    status: Status = Field(description="outcome")
    detail: str = Field(description="one sentence with the figures")
    data: dict[str, Any] = Field({}, description="figures")
    stops: tuple[Part, ...] = Field((), description="parts of the run that are not measured on the engine if it fails")


Cause = Literal["interrupted", "disk", "engine", "refused", "probe", "answer", "trials", "budget"]
"""What ended a run before it was complete; `advice` says what helps."""


class RunPlan(Record):
    """What a run does: an accuracy part, a performance part, or both on the same engines."""

    accuracy: AccuracyPlan | None = Field(None, description="None: no accuracy part")
    perf: PerfPlan | None = Field(None, description="None: no performance part")


class Manifest(Record):
    """Written when a run starts and replaced atomically when its status changes."""

    schema_version: int = Field(SCHEMA_VERSION, description="version of the run folder's format")
    run_id: str = Field(description="name of the run folder")
    status: Literal["running", "complete", "incomplete"] = Field(description="how far the run got")
    status_reason: str | None = Field(None, description="why it is incomplete")
    causes: tuple[Cause, ...] = Field((), description="what ended it before it was complete; empty where it is")
    created_utc: str = Field(description="start, ISO 8601 with UTC offset")
    argv: tuple[str, ...] = Field((), description="command line as typed, secrets redacted")
    profile: str = Field(description="profile name")
    engines: tuple[EngineSpec, ...] = Field(description="resolved configuration of every arm")
    engine_info: tuple[EngineInfo, ...] = Field((), description="what the engines said of themselves")
    probes: tuple[Probe, ...] = Field((), description="outcomes of the engine probes")
    self_test: SelfTest | None = Field(
        None, description="what the client measured of the fake engine before the run; None when it was not asked"
    )
    self_test_failure: str | None = Field(
        None, description="why the self-test could not be made; None when it was made or not asked"
    )
    slo: str | None = Field(None, description="latency targets of goodput as typed: ttft=2s,tpot=50ms,share=90%")
    plan: RunPlan = Field(description="the plan, whole: columns, grid, seeds and ids")
    plan_hash: str = Field(description="content hash of the plan")
    builds: dict[str, str] = Field(
        {}, description="what must be the same when the run goes on: builds of engine and plug-in, weights, hardware"
    )
    task_hashes: dict[str, str] = Field(
        {}, description="accuracy task -> hash of its resolved configuration and documents"
    )
    data: dict[str, DataSource] = Field({}, description="accuracy task -> where its documents came from")
    rescored_from: str | None = Field(None, description="run whose recorded answers were scored again")
    git: GitState | None = Field(None, description="None outside a checkout")
    machine: Machine = Field(description="where it ran")
    packages: dict[str, str] = Field(description="versions of the packages that matter")
    harness_version: str = Field(description="version of swiftkv-bench")

    @property
    def attached(self) -> bool:
        """All engines are somebody else's, so that the profile says nothing of them."""
        return all(spec.kind == "url" for spec in self.engines)

    def named(self) -> "Manifest":
        """The same with the name that a server says in place of `UNNAMED`."""
        served = {info.arm: info.served_model for info in self.engine_info}
        engines = [
            spec.model_copy(update={"model": served[spec.arm]})
            if spec.model == UNNAMED and spec.arm in served
            else spec
            for spec in self.engines
        ]
        return self.model_copy(update={"engines": tuple(engines)})
