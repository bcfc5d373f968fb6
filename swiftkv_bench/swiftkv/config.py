"""The Hugging Face config classes of SwiftKV checkpoints, one a family; their consequences live in ``model``."""

from collections.abc import Mapping

from transformers import LlamaConfig, MistralConfig, PreTrainedConfig, Qwen2Config, Qwen3Config

__all__ = ["CONFIGS", "LlamaSwiftKVConfig", "MistralSwiftKVConfig", "Qwen2SwiftKVConfig", "Qwen3SwiftKVConfig"]

# Class attributes, not constructor arguments: transformers 5 builds configs without a custom __init__, from the
# annotations of each class, so that all of them repeat the three keys.


class LlamaSwiftKVConfig(LlamaConfig):
    """A Llama config with the SwiftKV keys of the released checkpoints.

    Attributes:
        num_key_value_layers: N: the first N layers are ordinary; every later layer takes K and V from the
            normed output of layer N. None: all layers are ordinary.
        key_value_group_size: later layers in groups of this size share one K and V (AcrossKV).
        swiftkv: whether the later layers' own projections are in use; a trained checkpoint says true.
    """

    model_type = "llama_swiftkv"
    num_key_value_layers: int | None = None
    key_value_group_size: int | None = 1
    swiftkv: bool = True


class MistralSwiftKVConfig(MistralConfig):
    """A Mistral config with the same keys."""

    model_type = "mistral_swiftkv"
    num_key_value_layers: int | None = None
    key_value_group_size: int | None = 1
    swiftkv: bool = True


class Qwen2SwiftKVConfig(Qwen2Config):
    """A Qwen2 or Qwen2.5 config with the same keys.

    Attributes:
        qkv_bias: read by vLLM's decoder layer of Llama; Qwen2 has the biases always and says so nowhere.
    """

    model_type = "qwen2_swiftkv"
    num_key_value_layers: int | None = None
    key_value_group_size: int | None = 1
    swiftkv: bool = True
    qkv_bias: bool = True


class Qwen3SwiftKVConfig(Qwen3Config):
    """A Qwen3 config with the same keys."""

    model_type = "qwen3_swiftkv"
    num_key_value_layers: int | None = None
    key_value_group_size: int | None = 1
    swiftkv: bool = True


CONFIGS: Mapping[str, type[PreTrainedConfig]] = {
    "llama": LlamaSwiftKVConfig,
    "mistral": MistralSwiftKVConfig,
    "qwen2": Qwen2SwiftKVConfig,
    "qwen3": Qwen3SwiftKVConfig,
}
"""By the base model's type, as ``families.FAMILIES``."""
