"""What is read from config.json without transformers, beside what transformers reads."""

from typing import Any

import pytest

from swiftkv_bench.swiftkv.config import CONFIGS
from swiftkv_bench.swiftkv.families import FAMILIES, family_of, is_swiftkv, sliding_window

SIZES = {"hidden_size": 96, "num_attention_heads": 4, "num_hidden_layers": 4, "num_key_value_heads": 2}


@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.parametrize(
    "keys",
    [
        {},
        {"sliding_window": None},
        {"sliding_window": 64},
        {"sliding_window": 64, "use_sliding_window": False},
        {"sliding_window": 64, "use_sliding_window": True, "max_window_layers": 2},
        {"head_dim": 32},
    ],
    ids=str,
)
def test_windows_and_head_sizes_are_those_that_transformers_reads(name: str, keys: dict[str, Any]) -> None:
    family = FAMILIES[name]
    read: Any = CONFIGS[name](**SIZES, **keys)
    given = {"model_type": family.swiftkv_type, **SIZES, **keys}
    assert sliding_window(given) == getattr(read, "sliding_window", None)
    if name != "qwen2":  # whose heads always share the hidden size out
        assert family.head_size(given) == read.head_dim


def test_types_of_all_families_are_told_apart() -> None:
    assert CONFIGS.keys() == FAMILIES.keys()
    for name, family in FAMILIES.items():
        assert CONFIGS[name].model_type == family.swiftkv_type == f"{name}_swiftkv"
        assert family_of({"model_type": name}) == family_of({"model_type": f"{name}_swiftkv"}) == family
        assert is_swiftkv({"model_type": f"{name}_swiftkv"})
        assert not is_swiftkv({"model_type": name})
    assert family_of({"model_type": "mixtral"}) is None
    assert is_swiftkv({"model_type": "llama", "architectures": ["LlamaSwiftKVForCausalLM"]})


@pytest.mark.parametrize(
    ("config", "biases"),
    [
        ({"model_type": "llama", "attention_bias": True}, (True, True)),
        ({"model_type": "llama"}, (False, False)),
        ({"model_type": "qwen2"}, (True, False)),
        ({"model_type": "qwen3", "attention_bias": False}, (False, False)),
        ({"model_type": "mistral"}, (False, False)),
    ],
)
def test_biases_of_projections(config: dict[str, Any], biases: tuple[bool, bool]) -> None:
    family = family_of(config)
    assert family is not None
    assert family.biases(config) == biases
