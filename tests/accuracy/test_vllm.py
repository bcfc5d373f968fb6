"""Scoring on real vLLM engines: against prompt logprobs, against PyTorch by stock lm-eval, and with a fault."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from swiftkv_bench.access import Access
from swiftkv_bench.accuracy.probes import probe_abilities
from swiftkv_bench.accuracy.prompts import Prompter
from swiftkv_bench.accuracy.records import read_statuses
from swiftkv_bench.accuracy.run import Prepared, prepare_accuracy, run_accuracy
from swiftkv_bench.accuracy.scoring import Abilities, loglikelihood
from swiftkv_bench.accuracy.suites import load_suite, plan_accuracy, suite_file
from swiftkv_bench.accuracy.target import Target
from swiftkv_bench.accuracy.verify import Weights, arithmetic, verify_run
from swiftkv_bench.analysis import analyse
from swiftkv_bench.embedded.checkpoint import ensure_pair
from swiftkv_bench.engines.client import Client
from swiftkv_bench.engines.probes import probe_engine
from swiftkv_bench.engines.vllm_server import vllm_server, with_mode
from swiftkv_bench.judge.lines import Verdict
from swiftkv_bench.observer import Silent
from swiftkv_bench.schema.engine import Arm, EngineInfo, EngineSpec, OptionValue
from swiftkv_bench.store import Run, cache_dir, open_run
from tests.accuracy.test_scoring import QUESTIONS, answers_of
from tests.cpu_engine import ENV
from tests.swiftkv.faults import stage_fault

pytestmark = pytest.mark.vllm

CONTEXT = 8192
ARGS: dict[str, OptionValue] = {
    "dtype": "float32", "enforce-eager": True, "max-num-seqs": 32, "max-num-batched-tokens": 2048,
    "generation-config": "vllm",
}  # fmt: skip
COLUMNS = ("mini_arc", "mini_winogrande", "mini_truthfulqa")
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def switch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Names the fault that the engine `faulty` has now; empty while it has none."""
    path = tmp_path_factory.mktemp("switch") / "fault"
    path.write_text("")
    return path


@pytest.fixture(scope="module")
def specs(switch: Path) -> dict[str, EngineSpec]:
    """`baseline`, `full` (SwiftKV weights, nothing skipped) and `faulty` (skips, with a fault to switch on)."""
    pair = ensure_pair(cache_dir())
    common = {"kind": "vllm", "max_model_len": CONTEXT, "tokenizer": str(pair.baseline)}
    swiftkv = common | {
        "model": str(pair.swiftkv), "architecture": json.loads((pair.swiftkv / "config.json").read_text())
    }  # fmt: skip
    plugins = os.pathsep.join((str(stage_fault(switch.parent / "plugin", "switched")), str(ROOT)))
    env = ENV | {"PYTHONPATH": plugins, "SWIFTKV_FAULT_FILE": str(switch)}
    return {
        "baseline": EngineSpec.model_validate(
            common | {"arm": "baseline", "model": str(pair.baseline), "args": ARGS, "env": ENV}
        ),
        "full": EngineSpec.model_validate(
            swiftkv | {"arm": "swiftkv-full", "args": with_mode(ARGS, "full"), "env": ENV}
        ),
        "faulty": EngineSpec.model_validate(
            swiftkv | {"arm": "swiftkv", "args": with_mode(ARGS, "skip"), "env": env}
        ),
    }  # fmt: skip


@pytest.fixture(scope="module")
def engines(specs: dict[str, EngineSpec], tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, EngineInfo]]:
    folder = tmp_path_factory.mktemp("engines")
    servers = {
        name: vllm_server(spec, folder / f"{name}.log", folder / name, secret_env={}, start_timeout_s=600)
        for name, spec in specs.items()
    }
    try:
        for server in servers.values():
            server.launch()
        yield {name: server.wait_ready(Silent()) for name, server in servers.items()}
    finally:
        for server in servers.values():
            server.stop()


def _target(info: EngineInfo, spec: EngineSpec) -> Target:
    return Target(info.base_url, info.served_model, spec.tokenizer, "engine", CONTEXT)


def _prepared(arm: Arm = "baseline") -> Prepared:
    suite = load_suite("mini")
    columns = tuple(c for c in suite.columns if c.name in COLUMNS)
    plan = plan_accuracy(suite.model_copy(update={"columns": columns}), [arm], file=suite_file("mini"), limit=8)
    return prepare_accuracy(plan, None, Silent())


@pytest.fixture(scope="module")
def recorded(
    engines: dict[str, EngineInfo], specs: dict[str, EngineSpec], tmp_path_factory: pytest.TempPathFactory
) -> Run:
    folder = tmp_path_factory.mktemp("run")
    run_accuracy(_prepared(), {"baseline": _target(engines["baseline"], specs["baseline"])}, folder, Silent())
    return Run(folder)


def test_an_ordinary_engine_passes_every_probe(engines: dict[str, EngineInfo], specs: dict[str, EngineSpec]) -> None:
    probes = probe_engine(specs["baseline"], engines["baseline"], Access())
    assert {p.name: p.status for p in probes} == {
        "context length": "pass", "repeatable": "pass", "prefix cache": "pass", "SwiftKV mode": "pass",
        "honest prompt logprobs": "pass", "right answers": "pass",
    }  # fmt: skip


def test_a_run_is_complete_and_says_how_it_scored(recorded: Run) -> None:
    assert {s.column: (s.status, s.methods) for s in read_statuses(recorded.path)} == {
        "mini_arc": ("complete", ("generation",)),
        "mini_winogrande": ("complete", ("forced decode",)),
        "mini_truthfulqa": ("complete", ("forced decode",)),
    }


@pytest.mark.parametrize("name", ["baseline", "full"])
def test_stock_lm_eval_on_the_weights_agrees_with_the_engine(
    name: str, engines: dict[str, EngineInfo], specs: dict[str, EngineSpec], tmp_path: Path
) -> None:
    pytest.importorskip("accelerate")
    spec = specs[name]
    prepared = _prepared(spec.arm)
    run_accuracy(prepared, {spec.arm: _target(engines[name], spec)}, tmp_path, Silent())
    weights = Weights(spec.model, spec.tokenizer, CONTEXT, skipping=spec.arm != "baseline", dtype="float32")
    limit = arithmetic(spec, weights)
    found = verify_run(Run(tmp_path), prepared, spec.arm, weights, Silent(), limit=limit, share=0.25)
    assert [(a.column, len(a.items), a.same_score, a.same_text) for a in found] == [
        ("mini_arc", 2, 2, 2), ("mini_winogrande", 2, 2, None), ("mini_truthfulqa", 2, 2, None),
    ]  # fmt: skip
    assert all(a.largest_difference_nat < 1e-3 for a in found if a.largest_difference_nat is not None)
    assert [a.beyond_rounding for a in found] == [0, 0, 0]
    if name == "full":  # once is enough for the rest
        return
    # An engine that had answered otherwise, by little a token: log-likelihoods of one column moved by 0.1 nat.
    records = [json.loads(line) for line in (tmp_path / "items.jsonl").read_text().splitlines()]
    for record in records:
        if record["column"] == "mini_winogrande":
            record["responses"] = [[value + 0.1, greedy] for value, greedy in record["responses"]]
    (tmp_path / "items.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    moved = verify_run(Run(tmp_path), prepared, spec.arm, weights, Silent(), limit=limit, share=0.25)
    assert [a.beyond_rounding for a in moved] == [0, 2, 0]


@pytest.mark.parametrize(
    "abilities",
    [
        Abilities("logprob_token_ids", forced_decode=True),
        Abilities("logprob_token_ids"),
        Abilities("allowed_token_ids"),
    ],
    ids=["forced decode", "one token, listed", "one token, allowed"],
)
def test_every_way_equals_prompt_logprobs_on_an_ordinary_engine(
    abilities: Abilities, engines: dict[str, EngineInfo]
) -> None:
    info = engines["baseline"]
    reference = Abilities(None, prompt_logprobs=True)
    expected, found = (
        answers_of(info.base_url, info.served_model, QUESTIONS[1:], way)[0] for way in (reference, abilities)
    )
    assert [loglikelihood(a)[0] for a in found] == pytest.approx([loglikelihood(a)[0] for a in expected], abs=1e-3)
    assert [loglikelihood(a)[1] for a in found] == [loglikelihood(a)[1] for a in expected]


def test_an_engine_that_skips_rows_it_must_not_is_found_out(
    engines: dict[str, EngineInfo], specs: dict[str, EngineSpec], switch: Path
) -> None:
    info, spec = engines["faulty"], specs["faulty"]
    switch.write_text("skips_prompt_rows")
    with Client(info.base_url) as client:
        abilities, probes = probe_abilities(
            client, _target(info, spec), "swiftkv", vocabulary=Prompter(spec.tokenizer).vocabulary
        )
    switch.write_text("")
    assert abilities == Abilities("logprob_token_ids", forced_decode=True, prompt_logprobs=False)
    [honesty] = [p for p in probes if p.name == "prompt logprobs"]
    assert honesty.status == "fail"
    assert honesty.data["largest_difference_nat"] > 0.5


def _command(engines: dict[str, EngineInfo], specs: dict[str, EngineSpec], run: Path, *more: str) -> list[str]:
    return [
        sys.executable, "-m", "swiftkv_bench", "accuracy", "--tokenizer", specs["baseline"].tokenizer,
        "--baseline-url", engines["baseline"].base_url, "--swiftkv-url", engines["faulty"].base_url,
        "--swiftkv-full-url", engines["full"].base_url, "--max-model-len", str(CONTEXT), "--out", str(run), *more,
    ]  # fmt: skip


def _lines(path: Path) -> int:
    return path.read_bytes().count(b"\n") if path.exists() else 0


def _kill_when(holds: Callable[[], bool], command: list[str], folder: Path) -> None:
    with subprocess.Popen(command, cwd=folder, env=os.environ | {"PYTHONPATH": str(ROOT)}) as process:
        while not holds() and process.poll() is None:
            time.sleep(0.1)
        process.send_signal(signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL


def test_a_fault_after_the_probes_is_the_engines_not_the_models(
    engines: dict[str, EngineInfo], specs: dict[str, EngineSpec], switch: Path, tmp_path: Path
) -> None:
    """By the command line on real engines; killed with -9 on its way and resumed, the fault switched on meanwhile."""
    run, journal = tmp_path / "run", tmp_path / "run" / "journal"
    # The last column is asked after the switch whichever arm comes first, and its letters are lost with the rows.
    suites = [f"--suite=mini:{column}" for column in ("mini_arc", "mini_winogrande", "mini_mmlu")]
    command = _command(engines, specs, run, *suites, "--limit", "60", "--arms", "all", "--repeat-baseline")
    _kill_when(lambda: _lines(run / "items.jsonl") >= 40, command, tmp_path)
    before = _lines(journal / "swiftkv.jsonl")
    with subprocess.Popen(command, cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(ROOT)}) as process:
        while _lines(journal / "swiftkv.jsonl") <= before and process.poll() is None:
            time.sleep(0.1)
        switch.write_text("skips_batched_rows")
    switch.write_text("")
    assert process.returncode == 0
    items = list(Run(run).items())
    assert len(items) == len({(i.arm, i.repeat, i.column, i.doc_id) for i in items}) == 4 * 3 * 60
    for arm in ("baseline", "swiftkv", "swiftkv-full"):
        keys = [json.loads(line)[0] for line in (journal / f"{arm}.jsonl").read_text().splitlines()]
        assert len(keys) == len(set(keys))
    [accuracy] = analyse(open_run(run)).accuracy
    assert accuracy.verdict is Verdict.FAIL
    assert "full depth" in {line.reference for line in accuracy.failed}
    assert all(c.comparisons["model"].verdict is not Verdict.FAIL for c in accuracy.columns)
    assert all(c.comparisons["noise"].delta.discordance == 0 for c in accuracy.columns)
