"""The Hugging Face config class of SwiftKV checkpoints; its consequences live in ``model``."""

from transformers import LlamaConfig

from swiftkv_bench.errors import EngineError

__all__ = ["LlamaSwiftKVConfig", "key_value_owners"]


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


def key_value_owners(layers: int, key_value_layers: int | None, group_size: int | None) -> dict[int, int]:
    """Map each later layer to the layer whose K/V it reads: the first of its group.

    Returns:
        later layer index -> owner's index, in order; empty when all layers are ordinary.

    Raises:
        EngineError: N is outside 1 .. L, or the group size does not divide L - N.
    """
    first = layers if key_value_layers is None else key_value_layers
    size = 1 if group_size is None else group_size
    if not 1 <= first <= layers:
        raise EngineError(f"config.json: num_key_value_layers is {first}, must be within 1 .. {layers}")
    if size < 1 or (layers - first) % size != 0:
        raise EngineError(
            f"config.json: key_value_group_size is {size}, must divide the {layers - first} layers after layer {first}"
        )
    return {layer: layer - (layer - first) % size for layer in range(first, layers)}
