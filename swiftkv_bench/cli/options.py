"""Option groups that several commands share. Imports nothing slow.

A command declares a parameter of a group's type; `grouped` lays the group's fields out as flags and hands the
command one value.
"""

import dataclasses
import inspect
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_type_hints

import typer

if TYPE_CHECKING:
    from swiftkv_bench.engines.resolve import EngineOptions, SideOptions

_ENGINES = "Engines"
_RUN = "Run"


def _engine(*names: str, text: str, **more: Any) -> Any:
    return typer.Option(*names, help=text, rich_help_panel=_ENGINES, show_default=False, **more)


def _run(*names: str, text: str, **more: Any) -> Any:
    return typer.Option(*names, help=text, rich_help_panel=_RUN, **more)


@dataclass(frozen=True)
class EngineFlags:
    """What serves the two arms."""

    profile: Annotated[
        str | None, _engine("--profile", text="Model pair: a shipped profile or a YAML file. Default: by machine.")
    ] = None
    baseline_model: Annotated[str | None, _engine(text="Baseline model: hub id or folder.")] = None
    swiftkv_model: Annotated[str | None, _engine("--swiftkv-model", text="SwiftKV model: hub id or folder.")] = None
    baseline_url: Annotated[str | None, _engine(text="Attach to this baseline server.")] = None
    swiftkv_url: Annotated[str | None, _engine("--swiftkv-url", text="Attach to this SwiftKV server.")] = None
    swiftkv_full_url: Annotated[
        str | None, _engine("--swiftkv-full-url", text="Attach to this server of SwiftKV weights without skipping.")
    ] = None
    tokenizer: Annotated[str | None, _engine(text="Tokenizer: hub id or folder. Default: the model's.")] = None
    max_model_len: Annotated[int | None, _engine(text="Context length, tokens. Default: the profile's.", min=1)] = None
    engine_arg: Annotated[list[str] | None, _engine(text="Option of both engines, NAME=VALUE; repeatable.")] = None
    baseline_arg: Annotated[list[str] | None, _engine(text="Option of the baseline engine, NAME=VALUE.")] = None
    swiftkv_arg: Annotated[
        list[str] | None, _engine("--swiftkv-arg", text="Option of the SwiftKV engine, NAME=VALUE.")
    ] = None
    engine_env: Annotated[list[str] | None, _engine(text="Environment of both engines, NAME=VALUE.")] = None
    baseline_env: Annotated[list[str] | None, _engine(text="Environment of the baseline, NAME=VALUE.")] = None
    swiftkv_env: Annotated[list[str] | None, _engine("--swiftkv-env", text="Environment of SwiftKV, NAME=VALUE.")] = (
        None
    )
    proxy: Annotated[
        str | None,
        _engine(text="Proxy of attached servers, http://host:port. Default: HTTP_PROXY, HTTPS_PROXY, NO_PROXY."),
    ] = None
    tls_ca: Annotated[
        Path | None, _engine(text="Certificate authorities (PEM) of attached https servers. Default: the system's.")
    ] = None
    insecure: Annotated[
        bool, _engine("--insecure", text="Accept any certificate of attached servers; the report says so.")
    ] = False
    python: Annotated[str | None, _engine(text="Interpreter that starts both engines.")] = None
    baseline_python: Annotated[str | None, _engine(text="Interpreter for the baseline alone.")] = None
    swiftkv_python: Annotated[str | None, _engine("--swiftkv-python", text="Interpreter for SwiftKV alone.")] = None
    baseline_port: Annotated[
        int | None, _engine(text="Port of the baseline. Default: a free one.", min=1, max=65535)
    ] = None
    swiftkv_port: Annotated[
        int | None, _engine("--swiftkv-port", text="Port of SwiftKV. Default: a free one.", min=1, max=65535)
    ] = None
    start_timeout: Annotated[float, _engine(text="Seconds until a start counts as failed. Default: 1800.", min=1)] = (
        1800.0
    )
    together: Annotated[
        bool | None,
        _engine("--together/--in-turn", text="Both engines up at once, or one at a time. Default: the profile's."),
    ] = None

    def options(self) -> "EngineOptions":
        """The engine options these flags say.

        Raises:
            InputError: an option is not NAME=VALUE.
        """
        from swiftkv_bench.engines.resolve import EngineOptions, parse_env, parse_options

        return EngineOptions(
            baseline=self._side("baseline"),
            swiftkv=self._side("swiftkv"),
            args=parse_options(self.engine_arg or [], "--engine-arg"),
            env=parse_env(self.engine_env or [], "--engine-env"),
            swiftkv_full_url=self.swiftkv_full_url,
            tokenizer=self.tokenizer,
            max_model_len=self.max_model_len,
            start_timeout_s=self.start_timeout,
            api_key=os.environ.get("OPENAI_API_KEY"),
            proxy=self.proxy,
            tls_ca=self.tls_ca,
            insecure=self.insecure,
        )

    def _side(self, name: str) -> "SideOptions":
        from swiftkv_bench.engines.resolve import SideOptions, parse_env, parse_options

        return SideOptions(
            model=getattr(self, f"{name}_model"),
            url=getattr(self, f"{name}_url"),
            python=getattr(self, f"{name}_python") or self.python,
            port=getattr(self, f"{name}_port"),
            args=parse_options(getattr(self, f"{name}_arg") or [], f"--{name}-arg"),
            env=parse_env(getattr(self, f"{name}_env") or [], f"--{name}-env"),
        )


@dataclass(frozen=True)
class RunFlags:
    """How a run is made and shown."""

    out: Annotated[Path | None, _run(text="Run folder. Default: a new one under results/.")] = None
    seed: Annotated[int, _run(text="Seed of schedules, prompts and samples.", min=0)] = 0
    fresh: Annotated[bool, _run("--fresh", text="Start anew instead of resuming the same interrupted run.")] = False
    dry_run: Annotated[bool, _run("--dry-run", text="Print the plan with a time estimate; start nothing.")] = False
    json: Annotated[bool, _run("--json", text="Print the result as JSON.")] = False
    quiet: Annotated[bool, _run("--quiet", "-q", text="No progress on standard error.")] = False


@dataclass(frozen=True)
class AccuracyFlags:
    """What is asked of the models."""

    suite: Annotated[
        list[str] | None,
        typer.Option(help="A suite, or one of its columns (arc_challenge, winogrande, ...); repeatable."),
    ] = None
    limit: Annotated[int | None, typer.Option(min=1, help="Items a column, the same seeded sample in all arms.")] = None
    data_dir: Annotated[
        Path | None, typer.Option(help="Folder with local copies of the data set repositories. Default: the hub.")
    ] = None
    arms: Annotated[
        str, typer.Option(help="`both`, or `all` to add swiftkv-full: SwiftKV weights with every layer run.")
    ] = "both"
    repeat_baseline: Annotated[
        bool, typer.Option("--repeat-baseline", help="Ask the baseline twice and show the noise floor (A/A).")
    ] = False
    stop_when_decided: Annotated[
        bool, typer.Option("--stop-when-decided", help="End a column once its verdicts are reached.")
    ] = False


@dataclass(frozen=True)
class RescoreFlags:
    """What is scored again instead of asked."""

    rescore: Annotated[
        Path | None,
        typer.Option(
            help="Run folder whose answers are scored again, by its suite or by --suite; no engine starts.",
            metavar="RUN",
        ),
    ] = None


@dataclass(frozen=True)
class LoadFlags:
    """What load is put on the engines."""

    suite: Annotated[
        str | None, typer.Option("--suite", help="Load points: card, figure4, figure6, quick, or a YAML file.")
    ] = None
    input_len: Annotated[
        list[str] | None,
        typer.Option(
            help="Input length, tokens, or lognormal:mean=2000,sigma=0.5; repeatable. A suite's own keep their rates."
        ),
    ] = None
    output_len: Annotated[str | None, typer.Option(help="Output length, tokens, or a distribution.")] = None
    rate: Annotated[
        list[str] | None, typer.Option(help="Request rate, 1/s; inf: all at once; auto: find them. Repeatable.")
    ] = None
    concurrency: Annotated[
        list[int] | None,
        typer.Option(min=1, help="Closed loop with so many requests in flight; with --rate: at most so many."),
    ] = None
    arrivals: Annotated[
        str | None, typer.Option(help="Arrival process: poisson, constant or gamma. Default: poisson.")
    ] = None
    burstiness: Annotated[float | None, typer.Option(help="Shape of gamma arrivals; 1 is Poisson.")] = None
    ramp_up: Annotated[
        str | None, typer.Option(help="The rate grows from 0 for so long before the window, e.g. 30s.")
    ] = None
    trace: Annotated[
        Path | None, typer.Option(help="Replay a trace: Mooncake JSONL, Azure LLM inference or BurstGPT CSV.")
    ] = None
    speedup: Annotated[float | None, typer.Option(help="Play the trace so many times faster.")] = None
    requests: Annotated[int | None, typer.Option(min=1, help="Requests a point.")] = None
    duration: Annotated[float | None, typer.Option(help="Seconds of arrivals a point, instead of --requests.")] = None
    repeats: Annotated[int | None, typer.Option(min=1, help="Interleaved trials of each arm at each point.")] = None
    warmup: Annotated[
        int | None, typer.Option(min=0, help="Requests before each window, not counted. Default: 1, or the suite's.")
    ] = None
    shared_prefix: Annotated[
        float | None, typer.Option(help="Share of each prompt equal to the others of its group, 0 to 1.")
    ] = None
    prefix_groups: Annotated[
        int | None, typer.Option(min=1, help="Groups of prompts that share a prefix. Default: 1.")
    ] = None
    turns: Annotated[
        int | None, typer.Option(help="Conversations of so many turns, each adding --input-len and --output-len.")
    ] = None
    think_time: Annotated[str | None, typer.Option(help="From an answer to the next turn, e.g. 2s.")] = None
    prompts: Annotated[Path | None, typer.Option(help="Prompts of a file: JSONL with `prompt`, or ShareGPT JSON.")] = (
        None
    )
    prompt_as: Annotated[
        str | None, typer.Option(help="Send prompts as ids or as text. Default: text of --prompts and chats, else ids.")
    ] = None
    endpoint: Annotated[str, typer.Option(help="completions, or chat: with the model's chat template.")] = "completions"
    ignore_eos: Annotated[
        bool, typer.Option("--ignore-eos/--no-ignore-eos", help="Ask for the whole output length, or let answers end.")
    ] = True
    extra_body: Annotated[
        str | None, typer.Option(help="JSON object: further fields of every request; null takes one out.")
    ] = None
    workers: Annotated[int, typer.Option(min=1, help="Client processes, each with a slice of the schedule.")] = 1
    self_test: Annotated[
        bool,
        typer.Option("--self-test/--no-self-test", help="Measure the client on the fake engine first, a few seconds."),
    ] = True
    request_timeout: Annotated[
        str, typer.Option(help="Time for one request, e.g. 90s; one that takes longer has failed as stalled.")
    ] = "60min"
    budget: Annotated[
        str | None, typer.Option(help="Time for the whole run, e.g. 480s: leaves out trials that do not fit.")
    ] = None
    stop_when_ratio_within: Annotated[
        str | None, typer.Option(help="Stop repeating a point once its ratio is known so well, e.g. 3%.")
    ] = None
    slo: Annotated[
        str | None,
        typer.Option(help="Latency targets: ttft=2s,tpot=50ms,share=90%, share being that of requests to meet them."),
    ] = None


def grouped(function: Callable[..., None]) -> Callable[..., None]:
    """The command with every option group laid out as flags; the command itself receives one value a group."""
    flat: list[inspect.Parameter] = []
    groups: dict[str, type[Any]] = {}
    for parameter in inspect.signature(function, eval_str=True).parameters.values():
        group = parameter.annotation
        if not dataclasses.is_dataclass(group):
            flat.append(parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY))
            continue
        groups[parameter.name] = group  # type: ignore[assignment]  # is_dataclass narrows to an instance as well
        hints = get_type_hints(group, include_extras=True)
        flat += [
            inspect.Parameter(f.name, inspect.Parameter.KEYWORD_ONLY, default=f.default, annotation=hints[f.name])
            for f in dataclasses.fields(group)
        ]

    def command(**flags: Any) -> None:
        values = {
            name: group(**{f.name: flags.pop(f.name) for f in dataclasses.fields(group)})
            for name, group in groups.items()
        }
        function(**values, **flags)

    command.__doc__ = function.__doc__
    command.__signature__ = inspect.Signature(flat)  # type: ignore[attr-defined]  # read by inspect.signature
    command.__annotations__ = {p.name: p.annotation for p in flat}
    return command
