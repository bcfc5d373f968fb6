"""Whether the cards and the memory of a machine hold what engines need at least."""

import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from swiftkv_bench import provenance
from swiftkv_bench.engines.engine_facts import config_of, options_of, whole
from swiftkv_bench.errors import InputError
from swiftkv_bench.roofline import ModelShape, kv_cache_bytes_per_token, weight_bytes
from swiftkv_bench.schema.engine import EngineSpec
from swiftkv_bench.schema.manifest import Accelerator
from swiftkv_bench.swiftkv.quantization import ONLINE
from swiftkv_bench.telemetry.cards import engine_cards, share_a_card, visible_cards
from swiftkv_bench.units import counted, size

__all__ = ["Hardware", "Need", "hardware_here", "machine_refusals", "need_of"]

_DEFAULT_SHARE = 0.92
"""Largest share of a card that a vLLM from 0.26 to 0.33 takes unasked."""
_HALF_TYPES = ("float16", "half", "bfloat16")


@dataclass(frozen=True)
class Hardware:
    """What engines can have of a machine: GPUs, or its memory where it has none."""

    cards: tuple[Accelerator, ...]
    memory_bytes: int | None


@dataclass(frozen=True)
class Need:
    """Least bytes of an engine over all its ranks: its weights, and the K/V of one request of the whole context."""

    ranks: int
    weight_bytes: float
    cache_bytes: float

    @property
    def rank_bytes(self) -> float:
        """Of one rank."""
        return (self.weight_bytes + self.cache_bytes) / self.ranks


def hardware_here() -> Hardware | None:
    """Of this machine; None where its accelerators are not NVIDIA's, whose memory is not known here."""
    if Path("/dev/kfd").exists():
        return None
    machine = provenance.machine()
    return Hardware(machine.accelerators, machine.memory_bytes)


def need_of(spec: EngineSpec) -> Need | None:
    """What an engine needs at least; None when its dimensions are not known.

    Activations, graphs and allocators' losses are left out, so what fits here may still not start.

    Raises:
        InputError: an option's value cannot be read.
    """
    options = options_of(spec)
    config = config_of(spec, options)
    ranks = math.prod(whole(options, f"{kind}-parallel-size", spec) for kind in ("tensor", "pipeline"))
    if config is None:
        return None
    config = config | {"torch_dtype": _dtype(config, options), "dtype": None}
    if str(options.get("quantization")) in (*ONLINE, "fp8"):
        config["quantization_config"] = {"quant_method": "fp8"}
    try:
        per_token = kv_cache_bytes_per_token(
            config, kv_bytes=1.0 if str(options.get("kv-cache-dtype")).startswith("fp8") else None
        )
        weights, shape = weight_bytes(config), ModelShape.from_config(config)
    except InputError:
        return None
    if not config.get("tie_word_embeddings"):  # the embedding, which no decode step reads whole
        weights += shape.vocab * shape.hidden * shape.dtype_bytes
    return Need(ranks, weights, 0.0 if _own_cache_size(options) else per_token * spec.max_model_len)


def machine_refusals(specs: Sequence[EngineSpec], hardware: Hardware, *, together: bool) -> dict[str, tuple[str, ...]]:
    """By arm, why the machine cannot hold what it needs; only of engines that are ours to start.

    Raises:
        InputError: an option's value cannot be read.
    """
    own = [spec for spec in specs if spec.kind == "vllm"]
    found: dict[str, tuple[str, ...]] = {}
    for spec in own:
        need = need_of(spec)
        if hardware.cards:
            found[spec.arm] = tuple(_on_cards(spec, need, hardware.cards))
        elif need is not None and hardware.memory_bytes is not None:
            found[spec.arm] = tuple(_in_memory(spec, need, hardware.memory_bytes))
    if hardware.cards and together:
        for spec, sentence in _shared(own):
            found[spec.arm] += (sentence,)
    return found


def _on_cards(spec: EngineSpec, need: Need | None, cards: Sequence[Accelerator]) -> list[str]:
    options, visible = options_of(spec), visible_cards(spec.env)
    ranks = math.prod(whole(options, f"{kind}-parallel-size", spec) for kind in ("tensor", "pipeline", "data"))
    seen = len(cards) if visible is None else min(len(visible), len(cards))
    if seen < ranks:
        return [
            f"parallel sizes ask for {counted(ranks, 'GPU')} and the engine sees {seen}; give a --tensor-parallel-size"
            " of at most that, and a model that fits"
        ]
    largest = max((card.memory_bytes or 0 for card in cards), default=0)
    share = _share(options)
    if need is None or largest == 0 or need.rank_bytes <= share * largest:
        return []
    return [
        f"{_text(need, spec)} need {size(int(need.rank_bytes))} on each of {counted(need.ranks, 'GPU')}, and"
        f" gpu-memory-utilization={share:g} of {size(largest)} is {size(int(share * largest))}; give more ranks with"
        " --engine-arg tensor-parallel-size=N, a shorter --max-model-len or larger cards"
    ]


def _in_memory(spec: EngineSpec, need: Need, memory_bytes: int) -> list[str]:
    whole_need = need.weight_bytes + need.cache_bytes
    if whole_need <= memory_bytes:
        return []
    return [
        f"{_text(need, spec)} need {size(int(whole_need))}, this machine has no GPU and"
        f" {size(memory_bytes)} of memory; run it on one with GPUs, or give a smaller model"
    ]


def _shared(specs: Sequence[EngineSpec]) -> list[tuple[EngineSpec, str]]:
    """The last of several engines on one card that together ask for more than all of it."""
    found = []
    for index, spec in enumerate(specs):
        mine = engine_cards({**os.environ, **spec.env}, options_of(spec))
        others = [
            other
            for other in specs[:index]
            if share_a_card([mine, engine_cards({**os.environ, **other.env}, options_of(other))])
        ]
        shares = [_share(options_of(one)) for one in (*others, spec)]
        if others and sum(shares) > 1.0:
            words = " and ".join(f"{share:g}" for share in shares)
            found.append(
                (
                    spec,
                    f"gpu-memory-utilization is {words} of one GPU for engines that are up together; give both at most"
                    f" {math.floor(100 / len(shares)) / 100 - 0.02:.2g} with --engine-arg, or --in-turn",
                )
            )
    return found


def _text(need: Need, spec: EngineSpec) -> str:
    weights = f"weights of {size(int(need.weight_bytes))}"
    if need.cache_bytes == 0:
        return weights
    return f"{weights} and the K/V of one request of {spec.max_model_len:,} tokens"


def _share(options: Mapping[str, Any]) -> float:
    given = options.get("gpu-memory-utilization", _DEFAULT_SHARE)
    try:
        return float(given)
    except (TypeError, ValueError):
        raise InputError(f"--gpu-memory-utilization is {given!r}; give a share from 0 to 1") from None


def _own_cache_size(options: Mapping[str, Any]) -> bool:
    return any(name in options for name in ("kv-cache-memory-bytes", "num-gpu-blocks-override"))


def _dtype(config: Mapping[str, Any], options: Mapping[str, Any]) -> str:
    """Type of the weights; a checkpoint of another type than 16-bit floats is loaded as one unless told otherwise."""
    given = str(options.get("dtype") or "auto")
    if given != "auto":
        return given
    own = str(config.get("dtype") or config.get("torch_dtype") or "bfloat16").removeprefix("torch.")
    return own if own in _HALF_TYPES else "bfloat16"
