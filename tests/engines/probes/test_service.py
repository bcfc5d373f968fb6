"""Probes of the service: what an engine's metrics page and answers say, and what they cannot say."""

from pathlib import Path

import pytest

from swiftkv_bench.access import Access
from swiftkv_bench.embedded.tokenizer import tokenizer_json, write_tokenizer
from swiftkv_bench.engines.client import Client
from swiftkv_bench.engines.probes import probe_engine, service, why_stopped
from swiftkv_bench.engines.probes.asking import Asking
from swiftkv_bench.schema.engine import Arm, EngineInfo, EngineSpec, OptionValue
from swiftkv_bench.schema.manifest import Probe
from tests.accuracy.toy_engine import ALL_WAYS, ToyEngine
from tests.fake_engine import fake_engine

CACHE = 'vllm:cache_config_info{block_size="16",enable_prefix_caching="%s"} 1.0\n'


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("tokenizer")
    write_tokenizer(folder, tokenizer_json([]), 4096)
    return str(folder)


def _spec(tokenizer: str, arm: Arm = "baseline", **args: OptionValue) -> EngineSpec:
    return EngineSpec(arm=arm, kind="vllm", model="toy", tokenizer=tokenizer, max_model_len=512, args=args)


def _info(engine: ToyEngine, served: int | None = 512) -> EngineInfo:
    return EngineInfo(arm="baseline", base_url=engine.url, served_model="toy", max_model_len=served)


def _probes(engine: ToyEngine, spec: EngineSpec, served: int | None = 512) -> dict[str, Probe]:
    return {p.name: p for p in probe_engine(spec, _info(engine, served), Access())}


@pytest.mark.parametrize(("served", "status"), [(512, "pass"), (4096, "pass"), (400, "fail"), (None, "not run")])
def test_a_context_shorter_than_asked_fails(tokenizer: str, served: int | None, status: str) -> None:
    with ToyEngine() as engine:
        assert _probes(engine, _spec(tokenizer), served)["context length"].status == status


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
        assert _probes(engine, _spec(tokenizer, "baseline", **asked))["prefix cache"].status == status


@pytest.mark.parametrize(("fault", "status"), [("split", "pass"), ("buffered", "fail"), ("whole", "fail")])
def test_a_server_that_does_not_stream_is_seen_before_the_load(tokenizer: str, fault: str, status: str) -> None:
    spec = EngineSpec(
        arm="baseline", kind="url", url="http://127.0.0.1", model="toy", tokenizer=tokenizer, max_model_len=512
    )  # fmt: skip
    with fake_engine("--ttft", 0.02, "--itl", 0.01, "--vocab", 4096, "--fault", fault) as url, Client(url) as client:
        info = EngineInfo(arm="baseline", base_url=url, served_model="fake", max_model_len=512)
        (probe,) = service.streams(Asking(client, spec, info))
        assert service.streams(Asking(client, _spec(tokenizer), info)) == []
    assert (probe.name, probe.status, probe.stops) == ("streams", status, ())
    assert ("proxy in between" in probe.detail) == (status == "fail")


@pytest.mark.parametrize(("hits", "status"), [(256, "pass"), (0, "fail")])
def test_a_cache_that_says_it_is_on_must_be_hit_by_a_repeated_prompt(tokenizer: str, hits: int, status: str) -> None:
    def page(engine: ToyEngine) -> str:
        seen = [str(body["prompt"]) for body in engine.requests if body.get("max_tokens") == 1]
        repeats = len(seen) - len(set(seen))
        return CACHE % "True" + f"vllm:prefix_cache_hits_total {hits * repeats}\n"

    with ToyEngine(metrics=page) as engine:
        probe = _probes(engine, _spec(tokenizer))["prefix cache"]
    assert (probe.status, probe.data["hit_tokens"]) == (status, hits)


def test_the_cache_of_a_server_started_elsewhere_is_told_not_judged(tokenizer: str) -> None:
    with ToyEngine(metrics=lambda _: CACHE % "False") as engine:
        probe = _probes(engine, _spec(tokenizer).model_copy(update={"kind": "url"}))["prefix cache"]
    assert (probe.status, probe.data["says"]) == ("pass", "False")


def test_an_engine_that_answers_alike_is_repeatable(tokenizer: str) -> None:
    with ToyEngine() as engine:
        assert _probes(engine, _spec(tokenizer))["repeatable"].status == "pass"


def test_an_engine_that_answers_otherwise_the_second_time_is_not(tokenizer: str) -> None:
    with ToyEngine(drifts=True) as engine:
        probes = _probes(engine, _spec(tokenizer))
    assert probes["repeatable"].status == "fail"
    # It is reported; nothing depends on it alone.
    assert why_stopped([probes["repeatable"]], "baseline", "accuracy") is None


@pytest.mark.parametrize(
    ("engine", "status"),
    [
        (ToyEngine(), "pass"),
        (ToyEngine(honest=False), "fail"),
        (ToyEngine(ways=ALL_WAYS - {"prompt_logprobs"}), "not run"),
    ],
)
def test_prompt_logprobs_must_be_those_of_the_next_token(tokenizer: str, engine: ToyEngine, status: str) -> None:
    with engine:
        assert _probes(engine, _spec(tokenizer))["honest prompt logprobs"].status == status


def test_the_api_key_is_sent(tokenizer: str, tmp_path: Path) -> None:
    with ToyEngine() as engine:
        probe_engine(_spec(tokenizer), _info(engine), Access("secret"))
        assert set(engine.authorization) == {"Bearer secret"}


def test_a_failed_probe_stops_only_what_depends_on_it() -> None:
    failed = Probe(name="prefix cache", arm="swiftkv", status="fail", detail="it is off", stops=("load",))
    assert why_stopped([failed], "swiftkv", "load") == "the probe `prefix cache` failed: it is off"
    assert why_stopped([failed], "swiftkv", "accuracy") is None
    assert why_stopped([failed], "baseline", "load") is None
    assert why_stopped([failed.model_copy(update={"status": "not run"})], "swiftkv", "load") is None


@pytest.mark.parametrize(("vocabulary", "longest"), [(512, 4200), (128_256, 523)])
def test_an_engine_is_asked_for_no_more_prompt_logprobs_than_its_memory_is_sure_to_hold(
    tokenizer: str, vocabulary: int, longest: int
) -> None:
    spec = _spec(tokenizer).model_copy(update={"max_model_len": 9000, "architecture": {"vocab_size": vocabulary}})
    with ToyEngine() as engine:
        probe = _probes(engine, spec, 9000)["honest prompt logprobs"]
        scored = [len(body["prompt"]) - 1 for body in engine.requests if "prompt_logprobs" in body]
    assert (probe.status, max(scored)) == ("pass", longest)
