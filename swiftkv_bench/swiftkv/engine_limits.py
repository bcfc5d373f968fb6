"""What vLLM needs of any model, SwiftKV or not, as far as plain values tell; imports neither vLLM nor torch."""

import math
from collections.abc import Mapping
from typing import Any

from swiftkv_bench.swiftkv.facts import Facts

__all__ = ["Rows", "context_limit", "engine_rows"]

Rows = list[tuple[bool, str]]
"""Whether an engine is refused for a reason, and the reason as a sentence."""

_SCALED_ALREADY = ("default", "su", "longrope", "llama3", "yarn", "deepseek_yarn", "deepseek_llama_scaling")
"""RoPE scalings of which ``max_position_embeddings`` is the scaled length."""
_DEPRECATED = ("fbgemm_fp8", "fp_quant")
"""Quantisations that vLLM 0.26 to 0.33 start with ``--allow-deprecated-quantization`` alone."""


def engine_rows(facts: Facts) -> Rows:
    """What stops any model."""
    return _ranks(facts) + _quantisation(facts)


def context_limit(config: Mapping[str, Any]) -> int | None:
    """Tokens that a model can take by its ``config.json``; None when it does not say."""
    longest = config.get("max_position_embeddings")
    if not isinstance(longest, int) or isinstance(longest, bool):
        return None
    rope = config.get("rope_parameters") or config.get("rope_scaling")
    if not isinstance(rope, Mapping) or rope.get("rope_type", rope.get("type", "default")) in _SCALED_ALREADY:
        return longest
    factor = rope.get("factor")
    return int(longest * factor) if isinstance(factor, int | float) else longest


def _ranks(facts: Facts) -> Rows:
    """What is cut into equal parts, one a rank."""
    ranks, config = facts.tensor_parallel_size, facts.config
    heads = config.get("num_attention_heads") or 0
    key_value = config.get("num_key_value_heads") or heads
    wide = config.get("intermediate_size") or 0
    option, rows = f"--tensor-parallel-size is {ranks}", facts.form.block_rows
    fitting = [n for n in range(1, 65) if _divides(n, heads) and _divides(n, wide) and _spread(n, key_value)]
    repair = f"give {', '.join(map(str, fitting))}"
    return [
        (not _divides(ranks, heads), f"{option}, which does not divide {heads} attention heads; {repair}"),
        (
            not _spread(ranks, key_value),
            f"{option}, over which {key_value} K/V heads cannot be spread evenly; {repair}",
        ),
        (
            not _divides(ranks, wide),
            f"{option}, which does not divide the intermediate size of {wide}; {repair}",
        ),
        (
            rows is not None and _divides(ranks, wide) and (wide // ranks) % rows != 0,
            f"{option}, which cuts the intermediate size of {wide} within blocks of {rows} that share a scale; give"
            f" {', '.join(str(n) for n in fitting if rows and wide // n % rows == 0) or 'weights of another form'}",
        ),
    ]


def _divides(ranks: int, size: int) -> bool:
    return ranks > 0 and size % ranks == 0


def _spread(ranks: int, heads: int) -> bool:
    """Whether K/V heads are shared out evenly, or each is copied to equally many ranks."""
    return heads == 0 or math.gcd(ranks, heads) == min(ranks, heads)


def _quantisation(facts: Facts) -> Rows:
    return [
        (facts.form.clash is not None, str(facts.form.clash)),
        (
            facts.form.method in _DEPRECATED and not facts.allow_deprecated_quantization,
            f"quantization is {facts.form.method!r}, which vLLM starts with --allow-deprecated-quantization alone; add"
            " that option",
        ),
    ]
