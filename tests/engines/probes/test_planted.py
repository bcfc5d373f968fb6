"""Real vLLM servers with planted faults: each is caught by the probe that is there for it, and named."""

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from typer.testing import CliRunner

from swiftkv_bench.access import Access
from swiftkv_bench.cli import app
from swiftkv_bench.engines.probes import probe_engine, why_stopped
from swiftkv_bench.engines.vllm_server import vllm_server
from swiftkv_bench.observer import Silent
from swiftkv_bench.schema.engine import EngineInfo, EngineSpec, OptionValue
from swiftkv_bench.schema.manifest import Probe
from swiftkv_bench.swiftkv.staging import stage
from tests.cpu_engine import ENV
from tests.swiftkv.checkpoints import CheckpointSpec, make_checkpoint
from tests.swiftkv.faults import stage_fault
from tests.swiftkv.request_fuzz import assert_nothing_ends

pytestmark = pytest.mark.vllm

CONTEXT = 1024
ARGS: dict[str, OptionValue] = {
    "dtype": "float32", "enforce-eager": True, "max-num-seqs": 16, "max-num-batched-tokens": 256,
    "generation-config": "vllm",
}  # fmt: skip
ALL = {
    "context length", "repeatable", "prefix cache", "SwiftKV mode", "skip equals full", "honest prompt logprobs",
    "right answers",
}  # fmt: skip


@dataclass(frozen=True)
class Server:
    """A running engine whose fault is what the file says."""

    spec: EngineSpec
    info: EngineInfo
    switch: Path

    def probes(self, fault: str) -> dict[str, Probe]:
        self.switch.write_text(fault)
        found = probe_engine(self.spec, self.info, Access())
        self.switch.write_text("")
        return {p.name: p for p in found}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("planted")
    model = make_checkpoint(folder / "model", CheckpointSpec())
    switch = folder / "fault"
    switch.write_text("")
    parts = (stage_fault(folder / "plugin", "switched"), stage(folder / "staged"), os.environ.get("PYTHONPATH", ""))
    plugins = os.pathsep.join(map(str, parts))
    spec = EngineSpec(
        arm="swiftkv", kind="vllm", model=str(model), tokenizer=str(model), args=ARGS, max_model_len=CONTEXT,
        architecture=json.loads((model / "config.json").read_text()),
        env=ENV | {"SWIFTKV_FAULT_FILE": str(switch), "PYTHONPATH": plugins},
    )  # fmt: skip
    process = vllm_server(spec, folder / "engine.log", folder / "scratch", secret_env={}, start_timeout_s=300)
    try:
        process.launch()
        yield Server(spec, process.wait_ready(Silent()), switch)
    finally:
        process.stop()


def _failed(probes: dict[str, Probe]) -> set[str]:
    return {name for name, p in probes.items() if p.status != "pass"}


def test_the_right_engine_passes_every_probe(server: Server) -> None:
    probes = server.probes("")
    assert {name: p.detail for name, p in probes.items() if p.status != "pass"} == {}
    assert probes.keys() == ALL
    # Rows are counted by the engine: one of a prompt runs the later layers.
    assert probes["SwiftKV mode"].data["second_half_tokens"] == 1
    assert probes["SwiftKV mode"].data["skipped_tokens"] == 299
    assert (probes["SwiftKV mode"].data["key_value_layers"], probes["SwiftKV mode"].data["layers"]) == ("3", "6")
    # The long prompt's first chunk needed no logits.
    assert probes["skip equals full"].data["steps_without_second_half"] >= 2
    assert why_stopped(probes.values(), "swiftkv", "accuracy") is None


def test_rows_skipped_in_mixed_batches_are_caught(server: Server) -> None:
    probes = server.probes("skips_decode_rows")
    # The comparison with the checkpoint sees it, too, when its requests happen to share a batch.
    assert {"skip equals full"} <= _failed(probes) <= {"skip equals full", "right answers"}
    assert "rows were skipped whose output was needed" in probes["skip equals full"].detail
    assert "rows were skipped" in str(why_stopped(probes.values(), "swiftkv", "load"))


def test_rows_skipped_that_prompt_logprobs_need_are_caught(server: Server) -> None:
    probes = server.probes("skips_prompt_rows")
    assert "honest prompt logprobs" in _failed(probes)
    assert "prompt logprobs are meaningless" in probes["honest prompt logprobs"].detail
    assert probes["right answers"].status == "pass"  # generation alone looks sound


def test_keys_and_values_in_the_wrong_layer_are_caught_and_named(server: Server) -> None:
    probes = server.probes("wrong_layer")
    # Skipping and full depth read the same wrong cache, so only the comparison with the checkpoint sees it.
    assert _failed(probes) == {"right answers"}
    assert "read the K/V of the layer before: K/V are written to the wrong layer" in probes["right answers"].detail
    assert probes["right answers"].data["fault"] == "layer_before"
    assert "wrong layer" in str(why_stopped(probes.values(), "swiftkv", "accuracy"))


def test_no_request_ends_the_server_or_changes_another_s_answer(server: Server) -> None:
    assert_nothing_ends(str(server.info.base_url), every=1, accepted=1)


def test_doctor_catches_an_engine_that_is_silently_the_baseline(tmp_path: Path) -> None:
    baseline = make_checkpoint(tmp_path / "baseline", CheckpointSpec(key_value_layers=None))
    swiftkv = make_checkpoint(tmp_path / "swiftkv", CheckpointSpec())
    plugins = os.pathsep.join(
        (str(stage_fault(tmp_path / "plugin", "silent_baseline")), os.environ.get("PYTHONPATH", ""))
    )
    options = [word for name, value in ARGS.items() for word in ("--engine-arg", f"{name}={value}")]
    variables = [word for name, value in ENV.items() for word in ("--engine-env", f"{name}={value}")]
    done = CliRunner().invoke(
        app,
        [
            "doctor", "--profile", "embedded", "--baseline-model", str(baseline), "--swiftkv-model", str(swiftkv),
            "--max-model-len", str(CONTEXT), "--swiftkv-env", f"PYTHONPATH={plugins}", "--json", *options, *variables,
        ],
    )  # fmt: skip
    assert done.exit_code == 1, done.output
    findings = {f["what"]: f for f in json.loads(done.stdout)}
    problems = {what for what, f in findings.items() if f["status"] == "problem"}
    assert problems == {"swiftkv: SwiftKV mode", "swiftkv: right answers"}
    assert "the engine runs no SwiftKV" in findings["swiftkv: SwiftKV mode"]["detail"]
    assert "a silent baseline" in findings["swiftkv: right answers"]["detail"]
    assert findings["baseline: right answers"]["status"] == "ok"
