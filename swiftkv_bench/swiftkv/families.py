"""Families of models that SwiftKV serves: what differs between them, as data; imports neither vLLM nor torch.

All are Llama's decoder (RMS norms, rotary embedding, SwiGLU, full causal attention) but for what ``Family`` says.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

__all__ = ["FAMILIES", "SUFFIX", "Family", "family_of", "is_swiftkv", "sliding_window"]

SUFFIX = "_swiftkv"
"""What a SwiftKV model type has after its base's."""


@dataclass(frozen=True)
class Family:
    """A family of models.

    Attributes:
        model_type: of the base model's ``config.json``.
        name: as in its architectures: ``LlamaForCausalLM``.
        qkv_bias: whether q, k and v have biases; None: as ``attention_bias`` says, which o then follows.
        head_norms: whether each head's q and k are normed before they are rotated.
        head_dim: of a config that has no ``head_dim``; None divides the hidden size by the heads.
        sliding_window: of a config that has no ``sliding_window``, as transformers reads it.
    """

    model_type: str
    name: str
    qkv_bias: bool | None = None
    head_norms: bool = False
    head_dim: int | None = None
    sliding_window: int | None = None

    @property
    def swiftkv_type(self) -> str:
        """Model type of its SwiftKV models."""
        return f"{self.model_type}{SUFFIX}"

    @property
    def architecture(self) -> str:
        """Architecture of its SwiftKV models."""
        return f"{self.name}SwiftKVForCausalLM"

    def biases(self, config: Mapping[str, Any]) -> tuple[bool, bool]:
        """Whether (q, k and v; o) have biases in a model of this ``config.json``."""
        if self.qkv_bias is not None:
            return self.qkv_bias, False
        given = bool(config.get("attention_bias"))
        return given, given

    def head_size(self, config: Mapping[str, Any]) -> int:
        """Values of one attention head in a model of this ``config.json``."""
        own = config.get("head_dim") or self.head_dim
        return int(own or config["hidden_size"] // config["num_attention_heads"])


FAMILIES: Mapping[str, Family] = {
    family.model_type: family
    for family in (
        Family("llama", "Llama"),
        Family("mistral", "Mistral", qkv_bias=False, sliding_window=4096),
        Family("qwen2", "Qwen2", qkv_bias=True),
        Family("qwen3", "Qwen3", head_norms=True, head_dim=128),
    )
}
"""By the base model's type."""


def is_swiftkv(config: Mapping[str, Any]) -> bool:
    """Whether a ``config.json`` is a SwiftKV model's."""
    names = [family.architecture for family in FAMILIES.values()]
    return str(config.get("model_type")).endswith(SUFFIX) or any(n in names for n in config.get("architectures") or ())


def family_of(config: Mapping[str, Any]) -> Family | None:
    """The family of a base or SwiftKV model by its ``config.json``; None for another."""
    return FAMILIES.get(str(config.get("model_type")).removesuffix(SUFFIX))


def sliding_window(config: Mapping[str, Any]) -> int | None:
    """Tokens that a layer looks back to by a ``config.json``; None when every layer looks back to all.

    Qwen has the key always and a switch beside it; for a Mistral without the key transformers, and so vLLM, takes 4096:
    a model that attends to everything says ``"sliding_window": null``.
    """
    family = family_of(config)
    if family is not None and family.model_type.startswith("qwen") and not config.get("use_sliding_window"):
        return None
    default = None if family is None else family.sliding_window
    found = config.get("sliding_window", default)
    return found if isinstance(found, int) else None
