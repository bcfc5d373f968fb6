"""What a profile may say, and the resolved configuration of one engine."""

from typing import Literal

from pydantic import Field, model_validator

from swiftkv_bench.schema.base import Record

Arm = Literal["baseline", "swiftkv", "swiftkv-full", "baseline-repeat"]
"""`baseline`: the original model. `swiftkv`: SwiftKV weights, prompt tokens skip the later layers.
`swiftkv-full`: SwiftKV weights, every token runs every layer (separates model from engine deltas).
`baseline-repeat`: the original model on a second engine like the baseline's: what differs between the two is noise."""

BASELINES: tuple[Arm, ...] = ("baseline", "baseline-repeat")
"""Arms that serve the original model."""

OptionValue = str | int | float | bool
"""Value of an engine option; `True` gives the bare flag, `False` its `--no-` form."""


Builtin = Literal[
    "baseline", "swiftkv", "swiftkv-n2", "swiftkv-n6", "swiftkv-undistilled",
    "smollm2-135m", "smollm2-135m-n22", "smollm2-135m-n15", "smollm2-135m-n8", "smollm2-135m-undistilled",
]  # fmt: skip
"""The embedded pair and other twins of its baseline, which keep the K/V of 2 or 6 of 8 layers or were never distilled;
SmolLM2-135M-Instruct and its twins, which keep 22, 15 or 8 of 30 layers, or 15 and were never distilled."""


class ModelSource(Record):
    """Where the weights of one arm come from: exactly one of the three."""

    model: str | None = Field(None, description="Hugging Face id or a local folder")
    revision: str | None = Field(None, description="Hugging Face revision")
    builtin: Builtin | None = Field(None, description="a model of the embedded pair, or SmolLM2 or a twin of it")
    config: dict[str, object] | None = Field(
        None, description="config.json of a model without weights (perf only, load format dummy)"
    )

    @model_validator(mode="after")
    def _one_source(self) -> "ModelSource":
        given = [k for k in ("model", "builtin", "config") if getattr(self, k) is not None]
        if len(given) != 1:
            raise ValueError(f"exactly one of model, builtin, config is needed, found {given or 'none'}")
        return self


class PerfDefaults(Record):
    """Load points that a profile runs when the command line names none."""

    input_len: tuple[int, ...] = Field((2000,), description="input lengths, tokens")
    output_len: int = Field(256, description="output length, tokens", gt=0)
    rate: tuple[float, ...] = Field((1.0,), description="request rates, 1/s; `inf` sends all at once")
    requests: int = Field(100, description="requests a point", gt=0)
    repeats: int = Field(3, description="interleaved trials of each arm at each point", gt=0)


class AccuracyDefaults(Record):
    """What `accuracy` runs when the command line names nothing."""

    suite: str = Field("paper", description="suite name")
    limit: int | None = Field(None, description="items a column, the same seeded sample in all arms")


class Profile(Record):
    """A pair of models, the engine options for them, and what to run by default."""

    name: str = Field(description="name on the command line; equals the file name")
    description: str = Field(description="one line")
    baseline: ModelSource = Field(description="the original model")
    swiftkv: ModelSource = Field(description="its SwiftKV counterpart")
    max_model_len: int = Field(description="context length of both engines, tokens", gt=0)
    engine: Literal["vllm", "fake"] = Field("vllm", description="what serves both arms")
    engine_args: dict[str, OptionValue] = Field({}, description="engine options of both arms, without dashes")
    baseline_args: dict[str, OptionValue] = Field({}, description="engine options of the baseline alone")
    swiftkv_args: dict[str, OptionValue] = Field({}, description="engine options of the SwiftKV arms alone")
    env: dict[str, str] = Field({}, description="environment variables of both arms")
    together: bool = Field(
        False, description="both engines fit on the machine at once, so that trials can be interleaved"
    )
    accuracy: AccuracyDefaults | None = Field(None, description="None: the profile has no weights")
    perf: PerfDefaults = Field(PerfDefaults(), description="default load points")


UNNAMED = "unnamed model"
"""Model of an attached server whose weights nobody named: what it serves is not known, only its tokenizer is."""


class EngineSpec(Record):
    """One arm's engine, fully resolved: what is started or attached to."""

    arm: Arm = Field(description="role in the comparison")
    kind: Literal["vllm", "url", "fake"] = Field(description="own vLLM process, a given server, the fake engine")
    model: str = Field(description="Hugging Face id or folder as given to the engine, or `UNNAMED`")
    revision: str | None = Field(None, description="Hugging Face revision")
    model_config_hash: str | None = Field(
        None,
        description="hash of a local model's config.json and its weights' names, sizes and sampled content; else None",
    )
    architecture: dict[str, object] | None = Field(
        None, description="config.json of a local model; None for hub models and attached servers"
    )
    tokenizer: str = Field(description="Hugging Face id or folder of the tokenizer used by the harness")
    url: str | None = Field(None, description="base URL of a server that is attached to")
    insecure: bool = Field(
        False, exclude_if=lambda value: not value, description="the certificate of an attached server was not verified"
    )
    python: str | None = Field(None, description="interpreter that starts vLLM")
    args: dict[str, OptionValue] = Field({}, description="vLLM options, without dashes")
    env: dict[str, str] = Field({}, description="environment variables given to the engine, secrets redacted")
    max_model_len: int = Field(description="context length, tokens", gt=0)
    port: int | None = Field(None, description="port asked for; None takes a free one")


class EngineInfo(Record):
    """What a running engine says of itself."""

    arm: Arm = Field(description="role in the comparison")
    base_url: str = Field(description="where it listens")
    served_model: str = Field(description="model name to send in requests")
    version: str | None = Field(None, description="engine version as the server reports it")
    max_model_len: int | None = Field(None, description="context length as the server reports it, tokens")
    start_s: float | None = Field(None, description="seconds from start to readiness; None when attached")
    command: tuple[str, ...] = Field((), description="command line with secrets redacted")
    log: str | None = Field(None, description="log file, relative to the run folder")
