"""From checkpoint names to parameters, with every missing or unexpected name an error that says so."""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from vllm.model_executor.model_loader.weight_utils import default_weight_loader

from swiftkv_bench.errors import EngineError

__all__ = ["load_checkpoint"]

# Fused parameter -> the checkpoint's names with the shard each one fills.
_FUSED: dict[str, list[tuple[str, str | int]]] = {
    "qkv_proj": [("q_proj", "q"), ("k_proj", "k"), ("v_proj", "v")],
    "gate_up_proj": [("gate_proj", 0), ("up_proj", 1)],
}
_BASE_QKV = re.compile(r"model\.layers\.(\d+)\.self_attn\.(?:[qkv]_proj|[qk]_norm)\.")
_FROM_CONFIG = ("input_scale_ub",)
"""Parameters of a quantised linear whose value is in config.json: fbgemm's bound of activation scales."""
_CACHE_SCALE = re.compile(r"(.*\.layers\.)(\d+)(\.self_attn)\.attn\.([qkv]|prob)_scale$")


@dataclass(frozen=True)
class _Route:
    parameter: torch.nn.Parameter
    shard: str | int | None
    optional: bool = False
    key_values: bool = False


def _routes(model: Any) -> Iterator[tuple[str, str, _Route]]:
    """Yield (checkpoint name, parameter name, route) for everything the model can take."""
    key_values = model.model.first_half.key_values
    for name, parameter in model.named_parameters():
        public = name.replace(".first_half.", ".").replace(".second_half.", ".")
        if ".self_attn.attn." in public:
            yield from _cache_scale_routes(model.model.layer_owners, public, name, parameter)
            continue
        module, _, leaf = public.rpartition(".")
        owner, _, linear = module.rpartition(".")
        if leaf in _FROM_CONFIG:
            yield public, name, _Route(parameter, None, optional=True)
        elif linear == "k_norm_swiftkv":
            for place, layer in enumerate(key_values.owners):
                yield f"model.layers.{layer}.self_attn.{linear}.{leaf}", name, _Route(parameter, place)
        elif ".key_values.projections." in public:
            yield from _key_value_routes(key_values, int(linear), leaf, name, parameter)
        elif linear in _FUSED:
            for source, shard in _FUSED[linear]:
                yield f"{owner}.{source}.{leaf}", name, _Route(parameter, shard)
        else:
            yield public, name, _Route(parameter, None)


def _cache_scale_routes(
    owners: dict[int, int], public: str, name: str, parameter: torch.nn.Parameter
) -> Iterator[tuple[str, str, _Route]]:
    """Parameters of a quantised KV cache: all optional, under each of the names that quantisers write.

    A layer that reads another layer's K/V takes its K and V scales as well.
    """
    route = _Route(parameter, None, optional=True)
    yield public, name, route
    scale = _CACHE_SCALE.match(public)
    if scale is None:
        return
    layers, index, attention, kind = scale.groups()
    layer = owners.get(int(index), int(index)) if kind in "kv" else int(index)
    module = f"{layers}{layer}{attention}"
    if layer != int(index):
        yield f"{module}.attn.{kind}_scale", name, route
    yield f"{module}.{kind}_scale", name, route
    for suffix in ("", "_swiftkv"):
        yield f"{module}.{kind}_proj{suffix}.{kind}_scale", name, route
        yield f"{module}.{kind}_proj{suffix}.output_scale", name, route


def _key_value_routes(
    key_values: Any, index: int, leaf: str, name: str, parameter: torch.nn.Parameter
) -> Iterator[tuple[str, str, _Route]]:
    owners = key_values.owners if len(key_values.projections) == 1 else [key_values.owners[index]]
    for half, kind in enumerate("kv"):
        for place, layer in enumerate(owners):
            source = f"model.layers.{layer}.self_attn.{kind}_proj_swiftkv.{leaf}"
            yield source, name, _Route(parameter, half * len(owners) + place, key_values=True)


def load_checkpoint(model: Any, weights: Iterable[tuple[str, torch.Tensor]], *, complete: bool = True) -> set[str]:
    """Load ``weights`` into a ``SwiftKVForCausalLM``.

    Left out silently: rotary tables, lm_head where the model has none of its own (tied embeddings, pooling), and the
    base model's q, k and v (and their norms) of layers after N, which training leaves in the state dict.

    Args:
        complete: whether every weight must come; false for an update of some weights of a running engine.

    Returns:
        names of the parameters that were filled.

    Raises:
        EngineError: a weight is unexpected, or one is missing; names it.
    """
    config = model.config
    routes: dict[str, list[tuple[str, _Route]]] = {}
    for source, name, route in _routes(model):
        routes.setdefault(source, []).append((name, route))
    first_later = config.num_key_value_layers or config.num_hidden_layers
    own_head = any(source.startswith("lm_head.") for source in routes)
    seen: set[str] = set()
    for source, weight in weights:
        if source not in routes:
            if _is_leftover(source, first_later, own_head):
                continue
            raise EngineError(
                f"checkpoint: unexpected weight {source!r} for {config.num_hidden_layers} layers of which"
                f" {first_later} have own K/V; check num_key_value_layers and key_value_group_size in config.json"
            )
        for _, route in routes[source]:
            _load_one(model, route, weight)
        seen.add(source)
    missing = sorted(s for s, targets in routes.items() if s not in seen and not targets[0][1].optional)
    if complete and missing:
        count = "1 weight is" if len(missing) == 1 else f"{len(missing)} weights are"
        raise EngineError(f"checkpoint: {count} missing, the first is {missing[0]!r}")
    targets = [(source, name, route) for source, listed in routes.items() for name, route in listed]
    return {name for source, name, route in targets if source in seen or route.optional}


def _load_one(model: Any, route: _Route, weight: torch.Tensor) -> None:
    parameter = route.parameter
    if route.key_values:
        weight = model.model.first_half.key_values.expand_heads(parameter, weight)
    loader = getattr(parameter, "weight_loader", default_weight_loader)
    if route.shard is None:
        loader(parameter, weight)
    else:
        loader(parameter, weight, route.shard)


def _is_leftover(source: str, first_later: int, own_head: bool) -> bool:
    if "rotary_emb." in source or (not own_head and source.startswith("lm_head.")):
        return True
    base = _BASE_QKV.match(source)
    return base is not None and int(base.group(1)) >= first_later
