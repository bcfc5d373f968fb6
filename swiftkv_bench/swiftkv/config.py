"""The Hugging Face config class of SwiftKV checkpoints; its consequences live in ``model``."""

from transformers import LlamaConfig

__all__ = ["LlamaSwiftKVConfig"]


class LlamaSwiftKVConfig(LlamaConfig):
    """A Llama config with the SwiftKV keys of the released checkpoints.

    Attributes:
        num_key_value_layers: N: the first N layers are ordinary; every later layer takes K and V from the
            normed output of layer N. None: all layers are ordinary.
        key_value_group_size: later layers in groups of this size share one K and V (AcrossKV).
        swiftkv: whether the later layers' own projections are in use; a trained checkpoint says true.
    """

    model_type = "llama_swiftkv"
    # Class attributes, not constructor arguments: transformers 5 builds configs without a custom __init__.
    num_key_value_layers: int | None = None
    key_value_group_size: int | None = 1
    swiftkv: bool = True
