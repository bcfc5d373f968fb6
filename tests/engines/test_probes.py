"""Probes of an engine: what its metrics page and its answers say, and what they cannot say."""

from pathlib import Path

import pytest

from swiftkv_bench.embedded.tokenizer import tokenizer_json, write_tokenizer
from swiftkv_bench.engines.probes import Metric, probe_engine, probe_same_answers, read_metrics
from swiftkv_bench.schema.engine import Arm, EngineInfo, EngineSpec, OptionValue
from tests.accuracy.toy_engine import ToyEngine

CACHE = 'vllm:cache_config_info{block_size="16",enable_prefix_caching="%s"} 1.0\n'


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("tokenizer")
    write_tokenizer(folder, tokenizer_json([]), 4096)
    return str(folder)


def _spec(tokenizer: str, arm: Arm = "baseline", **args: OptionValue) -> EngineSpec:
    return EngineSpec(arm=arm, kind="url", model="toy", tokenizer=tokenizer, max_model_len=2048, args=args)


def _info(engine: ToyEngine, served: int | None = 2048) -> EngineInfo:
    return EngineInfo(arm="baseline", base_url=engine.url, served_model="toy", max_model_len=served)


def _statuses(engine: ToyEngine, spec: EngineSpec, served: int | None = 2048) -> dict[str, str]:
    return {p.name: p.status for p in probe_engine(spec, _info(engine, served), None)}


def test_a_metrics_page_is_read_with_its_labels() -> None:
    page = '# HELP a b\na_total{x="1",y="q\\"r"} 3.0\nb 4e-2 1700000000\n'
    assert read_metrics(page) == [Metric("a_total", {"x": "1", "y": 'q\\"r'}, 3.0), Metric("b", {}, 0.04)]


@pytest.mark.parametrize(("served", "status"), [(2048, "pass"), (4096, "pass"), (1024, "fail"), (None, "not run")])
def test_a_context_shorter_than_asked_fails(tokenizer: str, served: int | None, status: str) -> None:
    with ToyEngine() as engine:
        assert _statuses(engine, _spec(tokenizer), served)["context length"] == status


@pytest.mark.parametrize(
    ("page", "asked", "status"),
    [
        (CACHE % "True", {}, "pass"),
        (CACHE % "False", {}, "fail"),
        (CACHE % "False", {"enable-prefix-caching": False}, "pass"),
        (CACHE % "True", {"enable-prefix-caching": False}, "fail"),
        ("", {}, "not run"),
    ],
)
def test_prefix_caching_other_than_asked_fails(
    tokenizer: str, page: str, asked: dict[str, OptionValue], status: str
) -> None:
    with ToyEngine(metrics=lambda _: page) as engine:
        assert _statuses(engine, _spec(tokenizer, "baseline", **asked))["prefix cache"] == status


def test_an_engine_that_answers_alike_is_repeatable(tokenizer: str) -> None:
    with ToyEngine() as engine:
        assert _statuses(engine, _spec(tokenizer))["repeatable"] == "pass"


def test_an_engine_that_answers_otherwise_the_second_time_is_not(tokenizer: str) -> None:
    with ToyEngine(drifts=True) as engine:
        assert _statuses(engine, _spec(tokenizer))["repeatable"] == "fail"


def _counters(share: float):  # type: ignore[no-untyped-def]
    """A metrics page that counts prompt tokens, of which a share runs the later layers."""

    def page(engine: ToyEngine) -> str:
        tokens = sum(len(body["prompt"]) for body in engine.requests)
        return f"swiftkv:prompt_tokens_total {tokens}\nswiftkv:second_half_tokens_total {share * tokens}\n"

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
        assert _statuses(engine, _spec(tokenizer, arm))["SwiftKV mode"] == status


def test_an_engine_without_counters_cannot_tell_whether_it_skips(tokenizer: str) -> None:
    with ToyEngine() as engine:
        assert _statuses(engine, _spec(tokenizer, "swiftkv"))["SwiftKV mode"] == "not run"


@pytest.mark.parametrize(("drifts", "status"), [(False, "pass"), (True, "fail")])
def test_skipping_must_answer_as_full_depth(tokenizer: str, drifts: bool, status: str) -> None:
    with ToyEngine() as full, ToyEngine(drifts=drifts) as skipping:
        skipping.requests.append({"prompt": []})
        probe = probe_same_answers((_spec(tokenizer, "swiftkv"), _info(skipping), None), (_info(full), None))
    assert probe.status == status


def test_the_api_key_is_sent(tokenizer: str, tmp_path: Path) -> None:
    with ToyEngine() as engine:
        probe_engine(_spec(tokenizer), _info(engine), "secret")
        assert set(engine.authorization) == {"Bearer secret"}
