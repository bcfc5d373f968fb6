"""What is read, and what is refused, before an engine runs: options, layer groups, configuration, backends."""

import ast
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from swiftkv_bench.errors import EngineError
from swiftkv_bench.swiftkv import compat
from swiftkv_bench.swiftkv.limits import key_value_owners
from swiftkv_bench.swiftkv.options import Options
from swiftkv_bench.swiftkv.preflight import check_backend, check_config
from swiftkv_bench.swiftkv.versions import default_runner


def _vllm_config(additional: Any = None, **changes: Any) -> SimpleNamespace:
    """The attributes of a ``VllmConfig`` that the plug-in reads, as a sound engine has them."""
    parallel: dict[str, Any] = {
        "tensor_parallel_size": 1,
        "pipeline_parallel_size": 1,
        "decode_context_parallel_size": 1,
        "prefill_context_parallel_size": 1,
        "use_ubatching": False,
    }
    cache: dict[str, Any] = {
        "kv_sharing_fast_prefill": False,
        "calculate_kv_scales": False,
        "kv_cache_dtype_skip_layers": [],
        "cache_dtype": "auto",
    }
    top: dict[str, Any] = {
        "additional_config": {} if additional is None else additional,
        "kv_transfer_config": None,
        "speculative_config": None,
        "use_v2_model_runner": False,
        "watermark_config": None,
        "lora_config": None,
        "quant_config": None,
    }
    model: dict[str, Any] = {"runner_type": "generate", "quantization": None}
    hf: dict[str, Any] = {
        "layer_types": None,
        "is_causal": True,
        "sliding_window": None,
        "quantization_config": None,
        "num_hidden_layers": 6,
        "num_key_value_layers": 3,
    }
    passes: dict[str, Any] = {"enable_sp": False}
    uva: dict[str, Any] = {"cpu_offload_gb": 0}
    prefetch: dict[str, Any] = {"offload_group_size": 0}
    parts = (parallel, cache, top, model, hf, passes, uva, prefetch)
    for name, value in changes.items():
        next(part for part in parts if name in part)[name] = value
    return SimpleNamespace(
        parallel_config=SimpleNamespace(**parallel),
        cache_config=SimpleNamespace(**cache),
        model_config=SimpleNamespace(**model, hf_config=SimpleNamespace(**hf)),
        offload_config=SimpleNamespace(uva=SimpleNamespace(**uva), prefetch=SimpleNamespace(**prefetch)),
        compilation_config=SimpleNamespace(static_forward_context={}, pass_config=SimpleNamespace(**passes)),
        **top,
    )


def test_options_default_to_skipping_with_graphs() -> None:
    assert Options.of(_vllm_config()) == Options(mode="skip", graphs=True)


def test_options_come_from_the_additional_config() -> None:
    given = {"swiftkv_mode": "full", "swiftkv_graphs": False, "gdn_prefill_backend": "triton"}
    assert Options.of(_vllm_config(given)) == Options(mode="full", graphs=False)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"swiftkv_mode": "fast"}, "swiftkv_mode is 'fast', must be 'skip' or 'full'"),
        ({"swiftkv_graphs": "no"}, "swiftkv_graphs is 'no', must be true or false"),
        ({"swiftkv_layers": 3}, "unknown key 'swiftkv_layers'"),
    ],
)
def test_a_wrong_option_is_named(given: dict[str, Any], words: str) -> None:
    with pytest.raises(EngineError, match=words):
        Options.of(_vllm_config(given))


def test_later_layers_own_their_key_values_without_groups() -> None:
    assert key_value_owners(6, 3, 1) == {3: 3, 4: 4, 5: 5}


def test_the_first_layer_of_a_group_owns_its_key_values() -> None:
    assert key_value_owners(8, 4, 2) == {4: 4, 5: 4, 6: 6, 7: 6}


def test_no_layer_is_late_when_all_have_key_values() -> None:
    assert key_value_owners(6, None, None) == {}
    assert key_value_owners(6, 6, 1) == {}


@pytest.mark.parametrize(
    ("layers", "first", "size", "words"),
    [
        (6, 0, 1, r"num_key_value_layers is 0, must be within 1 \.\. 6"),
        (6, 7, 1, r"num_key_value_layers is 7, must be within 1 \.\. 6"),
        (7, 4, 2, "key_value_group_size is 2, must divide the 3 layers after layer 4"),
    ],
)
def test_impossible_layer_groups_are_named(layers: int, first: int, size: int, words: str) -> None:
    with pytest.raises(EngineError, match=words):
        key_value_owners(layers, first, size)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"pipeline_parallel_size": 2}, "--pipeline-parallel-size is 2"),
        ({"decode_context_parallel_size": 2}, "--decode-context-parallel-size is 2"),
        ({"prefill_context_parallel_size": 2}, "--prefill-context-parallel-size is 2"),
        ({"use_ubatching": True}, "drop --enable-dbo"),
        ({"enable_sp": True}, "sequence parallelism is on"),
        (
            {"speculative_config": SimpleNamespace(method="draft_model", enable_adaptive_verification=True)},
            "has enable_adaptive_verification",
        ),
        ({"kv_sharing_fast_prefill": True}, "--kv-sharing-fast-prefill is on"),
        ({"calculate_kv_scales": True}, "--calculate-kv-scales is on"),
        ({"kv_cache_dtype_skip_layers": ["5"]}, "--kv-cache-dtype-skip-layers gives layers caches of different types"),
        ({"kv_transfer_config": object()}, "a KV connector is configured"),
        ({"cache_dtype": "int8_per_token_head"}, "--kv-cache-dtype is 'int8_per_token_head', never checked"),
        ({"cpu_offload_gb": 0.5}, "--cpu-offload-gb or --offload-group-size is set"),
        ({"offload_group_size": 2}, "--cpu-offload-gb or --offload-group-size is set"),
        ({"watermark_config": object()}, "--watermark-config is set"),
        ({"lora_config": object()}, "--enable-lora is on"),
        ({"layer_types": ["full_attention", "sliding_attention"]}, "layer_types holds sliding_attention, but"),
        ({"is_causal": False}, "is_causal is false"),
        ({"speculative_config": SimpleNamespace(method="eagle3")}, "speculative method 'eagle3' reads hidden states"),
        ({"speculative_config": SimpleNamespace(method="extract_hidden_states")}, "method 'extract_hidden_states'"),
        ({"speculative_config": SimpleNamespace(method="suffix")}, "speculative method 'suffix' reads hidden states"),
        ({"sliding_window": 4096}, "sliding_window is 4096, but later layers attend to the whole context"),
        (
            {"quantization": "awq", "quantization_config": {"quant_method": "awq"}},
            "quantization is 'awq', which was never",
        ),
        ({"num_key_value_layers": 7, "num_hidden_layers": 6}, "num_key_value_layers is 7, must be within"),
    ],
)
@pytest.mark.parametrize("mode", ["skip", "full"])
def test_a_configuration_neither_mode_can_serve_is_refused(mode: Any, changes: dict[str, Any], words: str) -> None:
    with pytest.raises(EngineError, match=words):
        check_config(_vllm_config(**changes), Options(mode=mode))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (
            {"speculative_config": SimpleNamespace(method="ngram")},
            "--speculative-config is set, under which the V1 model runner drops",
        ),
        ({"runner_type": "pooling"}, "--runner pooling pools hidden states"),
        ({}, "did not load the entry point vllm.logits_processors"),
    ],
)
def test_what_skip_cannot_serve_full_can(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(EngineError, match=words):
        check_config(_vllm_config(**changes), Options(mode="skip"))
    check_config(_vllm_config(**changes), Options(mode="full"))


def test_layers_that_all_attend_to_everything_may_say_so() -> None:
    check_config(_vllm_config(layer_types=["full_attention"] * 6), Options(mode="full"))


def test_every_import_of_vllm_is_checked() -> None:
    imported = set()
    for path in Path(compat.__file__).parent.glob("*.py"):
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.ImportFrom) and str(node.module).startswith("vllm"):
                imported |= {(node.module, alias.name) for alias in node.names}
    assert imported <= {*compat.NEEDED, *compat.NEEDED_BY_V2}


@pytest.mark.parametrize("missing", [("vllm.v1.attention.backend", "FromTheFuture"), ("vllm.gone", "Attention")])
def test_a_missing_interface_names_it_and_the_tested_versions(missing: tuple[str, str]) -> None:
    words = f"vLLM {compat.version()} has no {'.'.join(missing)}, which SwiftKV needs;"
    words += " install a tested version: 0.26.0 or 0.32.0 or 0.33.0"
    with pytest.raises(EngineError, match=re.escape(words)):
        compat.check_api([missing])


def test_a_builder_plans_selected_rows_outside_its_graphs() -> None:
    builder, other = SimpleNamespace(enable_cuda_graph=True), SimpleNamespace()
    with compat.planning_outside_graphs(builder), compat.planning_outside_graphs(other):
        assert not builder.enable_cuda_graph
        assert vars(other) == {}
    assert builder.enable_cuda_graph


def test_breakable_graphs_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VLLM_USE_BREAKABLE_CUDAGRAPH", "1")
    with pytest.raises(EngineError, match="VLLM_USE_BREAKABLE_CUDAGRAPH=1"):
        check_config(_vllm_config(), Options(mode="full"))


def test_a_backend_that_writes_the_cache_in_forward_is_refused() -> None:
    backend = SimpleNamespace(forward_includes_kv_cache_update=True, get_name=lambda: "FLEX_ATTENTION")
    with pytest.raises(EngineError, match="FLEX_ATTENTION writes the KV cache inside forward"):
        check_backend(backend)


@pytest.mark.parametrize(
    ("release", "triton", "runner"),
    [
        ("0.26.0", True, "V1"),
        ("0.31.0", True, "V2"),
        ("0.33.0", True, "V2"),
        ("0.33.0", False, "V1"),
        (None, True, "V2"),
    ],
)
def test_the_runner_that_a_release_takes_unasked(release: str | None, triton: bool, runner: str) -> None:
    assert default_runner(release, triton=triton) == runner
