"""Probes of depth against engines whose counters and answers are scripted."""

import pytest

from swiftkv_bench.access import Access
from swiftkv_bench.embedded.tokenizer import tokenizer_json, write_tokenizer
from swiftkv_bench.engines.probes import probe_engine
from swiftkv_bench.schema.engine import Arm, EngineInfo, EngineSpec
from swiftkv_bench.schema.manifest import Probe
from tests.accuracy.toy_engine import ToyEngine

MODEL = 'swiftkv:model_info{mode="skip",key_value_layers="3",layers="6",key_value_group_size="1"} 1.0\n'


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("tokenizer")
    write_tokenizer(folder, tokenizer_json([]), 4096)
    return str(folder)


def _probes(engine: ToyEngine, tokenizer: str, arm: Arm, kind: str = "vllm", layers: int = 6) -> dict[str, Probe]:
    spec = EngineSpec.model_validate({
        "arm": arm, "kind": kind, "model": "toy", "tokenizer": tokenizer, "max_model_len": 512,
        "architecture": {"num_hidden_layers": layers, "num_key_value_layers": 3, "torch_dtype": "float32"},
    })  # fmt: skip
    info = EngineInfo(arm=arm, base_url=engine.url, served_model="toy", max_model_len=512)
    return {p.name: p for p in probe_engine(spec, info, Access())}


def _tokens(body: dict[str, object]) -> int:
    prompt = body["prompt"]
    assert isinstance(prompt, list)
    return sum(map(len, prompt)) if isinstance(prompt[0], list) else len(prompt)


def _counters(share: float, *, heeds_switch: bool = True):  # type: ignore[no-untyped-def]
    """A metrics page that counts prompt tokens, of which a share runs the later layers, or all where asked."""

    def page(engine: ToyEngine) -> str:
        total = second = 0.0
        for body in engine.requests:
            deep = heeds_switch and bool(body.get("vllm_xargs"))
            total += _tokens(body)
            second += _tokens(body) * (1.0 if deep else share)
        names = ("tokens", "prompt_tokens", "second_half_tokens")
        counted = "".join(f"swiftkv:{n}_total {v}\n" for n, v in zip(names, (total, total, second), strict=True))
        return MODEL + counted

    return page


@pytest.mark.parametrize(
    ("arm", "share", "status"),
    [
        ("swiftkv", 1 / 300, "pass"),
        ("swiftkv", 1.0, "fail"),
        ("swiftkv-full", 1.0, "pass"),
        ("swiftkv-full", 0.01, "fail"),
    ],
)
def test_an_arm_must_skip_exactly_as_it_says(tokenizer: str, arm: Arm, share: float, status: str) -> None:
    with ToyEngine(metrics=_counters(share)) as engine:
        probe = _probes(engine, tokenizer, arm)["SwiftKV mode"]
    assert (probe.status, probe.stops) == (status, ("accuracy", "load"))
    assert probe.data["skipped_tokens"] == pytest.approx(300 * (1 - share))


def test_an_engine_of_ours_without_the_counters_is_silently_the_baseline(tokenizer: str) -> None:
    with ToyEngine(metrics=lambda _: "vllm:prompt_tokens_total 3.0\n") as engine:
        probe = _probes(engine, tokenizer, "swiftkv")["SwiftKV mode"]
    assert probe.status == "fail"
    assert "the engine runs no SwiftKV" in probe.detail


def test_an_engine_of_others_without_counters_cannot_tell_whether_it_skips(tokenizer: str) -> None:
    with ToyEngine(metrics=lambda _: "vllm:prompt_tokens_total 3.0\n") as engine:
        probes = _probes(engine, tokenizer, "swiftkv", kind="url")
    assert probes["SwiftKV mode"].status == "not run"
    assert "skip equals full" not in probes


def test_a_baseline_that_serves_a_swiftkv_model_fails(tokenizer: str) -> None:
    with ToyEngine(metrics=_counters(1.0)) as engine:
        assert _probes(engine, tokenizer, "baseline")["SwiftKV mode"].status == "fail"
    with ToyEngine() as engine:
        assert _probes(engine, tokenizer, "baseline")["SwiftKV mode"].status == "pass"


def test_another_number_of_layers_than_the_checkpoints_fails(tokenizer: str) -> None:
    with ToyEngine(metrics=_counters(0.01)) as engine:
        probe = _probes(engine, tokenizer, "swiftkv", layers=8)["SwiftKV mode"]
    assert probe.status == "fail"
    assert probe.detail == "the engine serves a model with num_hidden_layers 6, config.json says 8"


def test_skipping_must_answer_as_full_depth(tokenizer: str) -> None:
    with ToyEngine(metrics=_counters(0.01)) as engine:
        probe = _probes(engine, tokenizer, "swiftkv")["skip equals full"]
    # 3 short and 1 long alone, 2 behind a cached prefix, all 4 together.
    assert (probe.status, probe.data["answers"], probe.data["changed"]) == ("pass", 10, 0)


def test_answers_that_differ_from_full_depth_fail(tokenizer: str) -> None:
    with ToyEngine(metrics=_counters(0.01), shallow=True) as engine:
        probe = _probes(engine, tokenizer, "swiftkv")["skip equals full"]
    assert probe.status == "fail"
    assert probe.detail.startswith("rows were skipped whose output was needed")


def test_an_engine_without_the_switch_for_full_depth_cannot_pass(tokenizer: str) -> None:
    with ToyEngine(metrics=_counters(0.01, heeds_switch=False)) as engine:
        probe = _probes(engine, tokenizer, "swiftkv")["skip equals full"]
    assert probe.status == "fail"
    assert "did not run all layers for requests that asked for it" in probe.detail
