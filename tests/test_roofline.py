"""Costs worked by hand on a tiny model, a brute-force count, and the published 8B dimensions."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from swiftkv_bench.errors import InputError
from swiftkv_bench.roofline import (
    Machine,
    decode_bytes,
    decode_flops,
    kv_cache_bytes_per_token,
    memory_bandwidth,
    mix_bound,
    mix_time_s,
    prefill_bound,
    prefill_bytes,
    prefill_flops,
    share_bound,
    weight_bytes,
)

# h = 4, a = 2, g = 1, d = 2, I = 8, V = 10, L = 2:
# kv weights 2*4*1*2 = 16, rest weights 2*4*2*2 + 3*4*8 = 128, per key 4*2*2 = 16, lm_head 40 weights.
TINY: dict[str, Any] = {
    "model_type": "llama",
    "hidden_size": 4,
    "intermediate_size": 8,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "vocab_size": 10,
    "torch_dtype": "float32",
}
TINY_SWIFTKV = {**TINY, "model_type": "llama_swiftkv", "num_key_value_layers": 1}
LLAMA_8B: dict[str, Any] = {
    "hidden_size": 4096,
    "intermediate_size": 14336,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "vocab_size": 128256,
    "torch_dtype": "bfloat16",
}
SWIFTKV_8B = {**LLAMA_8B, "num_key_value_layers": 16}


def test_prefill_flops_of_the_tiny_baseline() -> None:
    # 3 tokens: 2 layers * (3 * 2 * (16 + 128) + 16 * (1 + 2 + 3)) + lm_head 80 = 2 * (864 + 96) + 80
    assert prefill_flops(TINY, 3) == 2000


def test_prefill_flops_of_the_tiny_swiftkv_model() -> None:
    # first layer 960, K/V of layer 2: 3 * 2 * 16 = 96, its last row 2 * 128 + 16 * 3 = 304, lm_head 80
    assert prefill_flops(TINY_SWIFTKV, 3) == 960 + 96 + 304 + 80


def test_prefill_flops_with_a_cached_prefix() -> None:
    # 2 new tokens at positions 1, 2: 2 layers * (2 * 2 * 144 + 16 * (2 + 3)) + 80
    assert prefill_flops(TINY, 3, cached=1) == 2 * (576 + 80) + 80


def test_all_rows_cost_as_much_as_the_baseline() -> None:
    assert prefill_flops(TINY_SWIFTKV, 3, all_rows=True) == prefill_flops(TINY, 3)


def test_chunks_add_up_to_the_whole_prompt() -> None:
    whole = prefill_flops(LLAMA_8B, 5000)
    chunks = [
        prefill_flops(LLAMA_8B, end, cached=start, logit_rows=int(end == 5000))
        for start, end in ((0, 2048), (2048, 4096), (4096, 5000))
    ]
    assert sum(chunks) == whole


@given(st.integers(1, 40), st.integers(0, 30), st.integers(1, 6), st.integers(1, 6), st.integers(1, 4))
def test_prefill_flops_equal_a_count_token_by_token(new: int, cached: int, layers: int, first: int, group: int) -> None:
    first = min(first, layers)
    config = {
        **TINY,
        "num_hidden_layers": layers,
        "num_key_value_layers": first,
        "key_value_group_size": group,
    }
    total = 0
    for position in range(cached, cached + new):
        for layer in range(layers):
            runs = layer < first or position == cached + new - 1
            owns = layer < first or (layer - first) % group == 0
            total += 2 * 16 * owns + runs * (2 * 128 + 16 * (position + 1))
    assert prefill_flops(config, cached + new, cached) == total + 80


def test_decode_flops_worked_by_hand() -> None:
    # 2 layers * (2 * 144 + 16 * 5) + 80
    assert decode_flops(TINY, 5) == 816
    assert decode_flops(TINY_SWIFTKV, 5) == 816


def test_groups_of_later_layers_share_projection_and_cache() -> None:
    grouped = {**SWIFTKV_8B, "key_value_group_size": 4}
    # 16 later layers in 4 groups: 12 K/V projections of 2 * 2 * 4096 * 8 * 128 FLOPs fewer
    assert decode_flops(SWIFTKV_8B, 100) - decode_flops(grouped, 100) == 12 * 2 * 2 * 4096 * 1024
    assert kv_cache_bytes_per_token(SWIFTKV_8B) == 32 * 2 * 1024 * 2
    assert kv_cache_bytes_per_token(grouped) == 20 * 2 * 1024 * 2


def test_decode_bytes_worked_by_hand() -> None:
    # weights (2 * 144 + 40) * 4 = 1312; per request 4 keys * 2 layers * 4 values * 4 bytes, 32 written
    assert weight_bytes(TINY) == 1312
    assert decode_bytes(TINY, 5, batch=3) == 1312 + 3 * (128 + 32)


def test_prefill_bytes_worked_by_hand() -> None:
    # one chunk of 3: weights 2 * 144 * 4, head 160, no K/V read in layer 1, layer 2's last row reads 2 * 16
    swiftkv = prefill_bytes(TINY_SWIFTKV, 3)
    assert swiftkv == 1152 + 160 + 2 * 16 + 3 * 32
    # chunks of 2: the first layer and later K/V weights (144 + 16) * 4 once more, layer 1 reads 2 tokens' K/V
    assert prefill_bytes(TINY_SWIFTKV, 3, chunk_tokens=2) == swiftkv + 640 + 2 * 16


def test_fp8_linears_count_one_byte() -> None:
    scheme = {
        "quant_method": "compressed-tensors",
        "config_groups": {"group_0": {"weights": {"num_bits": 8}}},
    }
    assert weight_bytes({**TINY, "quantization_config": scheme}) == 288 * 1 + 40 * 4


@pytest.mark.parametrize(
    "scheme",
    [
        {"quant_method": "modelopt", "quant_algo": "FP8"},
        {"quant_method": "modelopt", "quantization": {"quant_algo": "FP8"}},
        {"quant_method": "fp8", "activation_scheme": "dynamic"},
    ],
)
def test_every_float8_form_counts_one_byte(scheme: dict[str, object]) -> None:
    assert weight_bytes({**TINY, "quantization_config": scheme}) == 288 * 1 + 40 * 4


def test_8b_bound_near_the_published_factor() -> None:
    # A prompt token of the 8B model costs about 52 % with half of the layers skipped.
    assert 1 / prefill_bound(LLAMA_8B, SWIFTKV_8B, 8000) == pytest.approx(0.53, abs=0.015)


def test_share_bound_is_amdahls_law() -> None:
    assert share_bound(2.0, 0.5) == pytest.approx(4 / 3)
    assert share_bound(2.0, 0.0) == 1.0
    assert share_bound(1.9, 1.0) == pytest.approx(1.9)


def test_mix_time_is_the_sum_of_the_slower_resource() -> None:
    compute_only = Machine(flops_per_s=100.0, bytes_per_s=1e30)
    memory_only = Machine(flops_per_s=1e30, bytes_per_s=100.0)
    # output tokens 2 and 3 attend to 4 and 5 keys
    assert mix_time_s(TINY, 3, 3, compute_only) == pytest.approx((2000 + 784 + 816) / 100)
    expected = (prefill_bytes(TINY, 3) + decode_bytes(TINY, 4) + decode_bytes(TINY, 5)) / 100
    assert mix_time_s(TINY, 3, 3, memory_only) == pytest.approx(expected)


def test_mix_bound_falls_from_the_prefill_bound_to_one() -> None:
    machine = Machine(flops_per_s=989e12, bytes_per_s=3.35e12)
    bounds = [mix_bound(LLAMA_8B, SWIFTKV_8B, 2000, out, machine, batch=64) for out in (1, 64, 2048)]
    assert bounds[0] == pytest.approx(prefill_bound(LLAMA_8B, SWIFTKV_8B, 2000))
    assert bounds[0] > bounds[1] > bounds[2] > 1.0


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({**TINY, "num_key_value_layers": 3}, "num_key_value_layers is 3, must be within 1 .. 2"),
        ({k: v for k, v in TINY.items() if k != "hidden_size"}, "no 'hidden_size'"),
        ({**TINY, "torch_dtype": "int4"}, "dtype 'int4' is unknown"),
        ({**TINY, "quantization_config": {"quant_method": "odd"}}, "no single weights.num_bits"),
    ],
)
def test_unusable_config_is_named(config: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError, match=words):
        prefill_flops(config, 3)


def test_cached_must_leave_a_token() -> None:
    with pytest.raises(InputError, match="got 3 of 3"):
        prefill_flops(TINY, 3, cached=3)


@pytest.mark.parametrize(
    ("card", "bytes_per_s"),
    [
        ("NVIDIA H100 80GB HBM3", 3.35e12),
        ("NVIDIA H100 PCIe", 2.0e12),
        ("NVIDIA H200", 4.8e12),
        ("NVIDIA A100-SXM4-40GB", 1.555e12),
        ("NVIDIA L4", 0.3e12),
        ("NVIDIA L40S", 0.864e12),
        ("NVIDIA L40", None),
        ("Tesla T4", None),
    ],
)
def test_bandwidth_is_known_by_the_name_that_nvidia_smi_gives(card: str, bytes_per_s: float | None) -> None:
    assert memory_bandwidth(card) == bytes_per_s
