"""Which forms of quantised weights are served, and which K/V weights may be one linear; from plain values."""

from typing import Any

import pytest

from swiftkv_bench.swiftkv.quantization import Form, form_of

KEY_VALUES = [f"model.layers.{layer}.self_attn.{kind}_proj_swiftkv" for layer in (4, 5, 6) for kind in "kv"]


def _compressed(strategy: str = "channel", dynamic: bool = True, **more: Any) -> dict[str, Any]:
    weights = {"num_bits": 8, "type": "float", "strategy": strategy, **more.pop("weights", {})}
    inputs = {"num_bits": 8, "type": "float", "strategy": "token" if dynamic else "tensor", "dynamic": dynamic}
    group = {"targets": more.pop("targets", ["Linear"]), "weights": weights, "input_activations": inputs}
    return {"quant_method": "compressed-tensors", "config_groups": {"group_0": group}, "ignore": ["lm_head"], **more}


FP8 = {"quant_method": "fp8", "activation_scheme": "dynamic", "ignored_layers": ["lm_head"]}
BLOCK = {**FP8, "weight_block_size": [128, 128], "ignored_layers": None, "modules_to_not_convert": ["lm_head"]}
FBGEMM = {"quant_method": "fbgemm_fp8", "activation_scale_ub": 1200.0, "modules_to_not_convert": ["lm_head"]}
MODELOPT = {"quant_method": "modelopt", "quant_algo": "FP8", "ignore": ["lm_head"]}
LEGACY_MODELOPT = {"quant_method": "modelopt", "quantization": {"quant_algo": "FP8", "exclude_modules": ["lm_head"]}}


@pytest.mark.parametrize(
    ("checkpoint", "option", "method", "scale", "static_inputs"),
    [
        (None, None, None, None, False),
        (FP8, None, "fp8", "tensor", False),
        (FP8, "fp8", "fp8", "tensor", False),
        ({**FP8, "activation_scheme": "static"}, None, "fp8", "tensor", True),
        (BLOCK, None, "fp8", "block", False),
        (_compressed(), None, "compressed-tensors", "channel", False),
        (_compressed("tensor", dynamic=False), None, "compressed-tensors", "tensor", True),
        (_compressed("block"), None, "compressed-tensors", "block", False),
        (FBGEMM, None, "fbgemm_fp8", "channel", False),
        (MODELOPT, None, "modelopt", "tensor", True),
        (LEGACY_MODELOPT, None, "modelopt", "tensor", True),
        (None, "fp8", "fp8", "tensor", False),
        (None, "fp8_per_tensor", "fp8_per_tensor", "tensor", False),
        (None, "fp8_per_channel", "fp8_per_channel", "channel", False),
        (None, "fp8_per_block", "fp8_per_block", "block", False),
    ],
)
def test_forms_that_are_served(
    checkpoint: Any, option: str | None, method: str | None, scale: str | None, static_inputs: bool
) -> None:
    form = form_of(checkpoint, option)
    assert (form.method, form.scale, form.static_inputs, form.refusal) == (method, scale, static_inputs, None)
    assert form.ignored == (() if checkpoint is None else ("lm_head",))


@pytest.mark.parametrize(
    ("checkpoint", "option", "words"),
    [
        ({"quant_method": "awq", "bits": 4}, None, "quantization is 'awq', which was never checked with SwiftKV; load"),
        ({"bits": 4}, None, "quantization is 'unknown', which was never checked"),
        (None, "bitsandbytes", "quantization is 'bitsandbytes', which was never checked"),
        (_compressed(weights={"type": "int"}), None, "holds 8-bit int weights, never checked"),
        (_compressed(weights={"num_bits": 4}), None, "holds 4-bit float weights, never checked"),
        (_compressed("group"), None, "scales weights by group, never checked"),
        ({"quant_method": "compressed-tensors"}, None, "holds no weights, never checked"),
        (
            _compressed(transform_config={"config_groups": {"R1": {}}}),
            None,
            "has a transform_config, which later layers",
        ),
        (_compressed(sparsity_config={"format": "sparse-24-bitmask"}), None, "has a sparsity_config"),
        ({**MODELOPT, "quant_algo": "NVFP4"}, None, "holds NVFP4 weights and was checked with FP8"),
    ],
)
def test_other_forms_are_refused_by_name_with_a_way_out(checkpoint: Any, option: str | None, words: str) -> None:
    assert words in str(form_of(checkpoint, option).refusal)


@pytest.mark.parametrize("option", ["fp8_per_tensor", "modelopt", "awq"])
def test_an_option_that_contradicts_the_checkpoint_is_named(option: str) -> None:
    clash = form_of(FP8, option).clash
    assert clash == f"--quantization is {option!r} and config.json has quant_method 'fp8'; drop --quantization"


@pytest.mark.parametrize(
    ("form", "rows", "joined"),
    [
        (Form(), 64, True),
        (form_of(_compressed()), 64, True),
        (form_of(FBGEMM), 64, True),
        (form_of(None, "fp8_per_channel"), 64, True),
        (form_of(_compressed("tensor")), 64, False),
        (form_of(FP8), 64, False),
        (form_of(BLOCK), 256, True),
        (form_of(BLOCK), 64, False),
        (form_of(_compressed(dynamic=False)), 64, False),
        (form_of(_compressed(targets=["re:.*self_attn.*"])), 64, False),
        (form_of(None, "fp8_per_channel", even=False), 64, False),
    ],
)
def test_key_values_of_all_layers_are_one_linear_where_no_rounding_changes(form: Form, rows: int, joined: bool) -> None:
    assert form.joins(KEY_VALUES, rows) is joined


@pytest.mark.parametrize(
    "ignored",
    ["model.layers.5.self_attn.k_proj_swiftkv", "re:.*layers\\.5\\..*", "model.layers.5", "*.layers.5.*", "re:["],
)
def test_a_layer_that_may_be_ignored_keeps_a_linear_of_its_own(ignored: str) -> None:
    assert not form_of(_compressed(ignore=["lm_head", ignored])).joins(KEY_VALUES, 64)


def test_key_values_that_are_all_ignored_are_one_linear() -> None:
    assert form_of({**FP8, "ignored_layers": ["lm_head", *KEY_VALUES]}).joins(KEY_VALUES, 64)
