"""The engines that ``gpu_correctness`` checks: checkpoints, options, prompts, and what each engine is asked."""

import importlib.util
import random
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

__all__ = ["CAPTURED", "Case", "cases", "checkpoints", "prompts"]

FAMILIES = ("qwen3", "qwen2", "mistral")
"""Beside Llama."""
FLOAT8: dict[Any, str] = {
    "tensor": "fp8 by tensor",
    "static": "fp8 static",
    "fp8": "fp8 checkpoint",
    "fp8_static": "fp8 checkpoint, static",
    "fp8_block": "fp8 checkpoint by block",
    "block": "fp8 by block",
    "modelopt": "ModelOpt",
}
"""Forms of float8 weights, as ``tests.swiftkv.checkpoints`` names them, which vLLM multiplies on a GPU alone."""
Questions = Literal["standard", "batch sizes", "grammars", "long answers", "repetitions"]

CAPTURED = (1, 2, 4, 8, 16, 32, 64)
"""Sizes of captured graphs; below the number of prompts, so that batches larger than every graph occur as well."""


@dataclass(frozen=True)
class Case:
    """One engine: which checkpoint, how it is started, and the baseline case it is judged against.

    Attributes:
        asks: what the engine is asked, a key of ``gpu_questions.QUESTIONS``.
        counter: metric of vLLM that must have counted something, or the case did not check what its name says.
    """

    name: str
    checkpoint: str
    engine: dict[str, Any]
    baseline: str | None = None
    asks: Questions = "standard"
    counter: str | None = None


def cases(gpu: bool, runner: str | None) -> list[Case]:
    """The engines to check, the more telling ones first; each baseline comes before the cases it judges.

    Baselines run eagerly: they are the yardstick, not what is checked, and graphs cost half a minute a start.

    Args:
        runner: ``v1`` leaves out what mode ``skip`` does under the V2 model runner alone.
    """
    dtype = "bfloat16" if gpu else "float32"
    plain: dict[str, Any] = {"enable_prefix_caching": False, "max_num_batched_tokens": 2048, "dtype": dtype}
    chunked: dict[str, Any] = {"enable_prefix_caching": True, "max_num_batched_tokens": 256, "dtype": dtype}
    eager = {"enforce_eager": True}

    def mode(**options: Any) -> dict[str, Any]:
        return {"additional_config": {f"swiftkv_{key}": value for key, value in options.items()}}

    skip = mode(mode="skip")
    strict = chunked | {"dtype": "float32"} | ({"attention_backend": "TRITON_ATTN"} if gpu else {})
    # vLLM's CPU kernels do float8 by channel with bfloat16 alone.
    fp8 = chunked | {"dtype": "bfloat16"}
    fp8_cache = chunked | {"kv_cache_dtype": "fp8"}
    # Room for the longest request and not for all: 4,800 tokens on a GPU (blocks of 16), 4,224 on a CPU (of 128).
    narrow = chunked | {"num_gpu_blocks_override": 300 if gpu else 33}
    compact = {"structured_outputs_config": {"backend": "xgrammar", "disable_any_whitespace": True}}
    lookup = {"method": "ngram", "num_speculative_tokens": 3, "prompt_lookup_max": 3, "prompt_lookup_min": 1}
    listed = [
        Case("baseline", "llama", plain | eager),
        Case("skip", "swiftkv", plain | skip, "baseline"),
        Case("skip, prefix cache, chunks of 256", "swiftkv", chunked | skip, "baseline"),
        Case("decode batches between captured sizes", "swiftkv", plain | skip, "baseline", "batch sizes"),
        Case("preemption", "swiftkv", narrow | skip, "baseline", "long answers", "vllm:num_preemptions"),
        Case("structured output", "swiftkv", chunked | skip | compact, "baseline", "grammars"),
        *[
            Case(
                "n-gram speculation",
                "swiftkv",
                chunked | skip | {"speculative_config": lookup},
                "baseline",
                "repetitions",
                "vllm:spec_decode_num_draft_tokens",
            )
        ]
        * (runner != "v1"),
        Case("float32 Triton: baseline", "llama32", strict | eager),
        Case("float32 Triton: skip", "swiftkv32", strict | skip, "float32 Triton: baseline"),
        Case("fp8 by channel: baseline", "llama_fp8_channel", fp8 | eager),
        Case("fp8 by channel: skip", "swiftkv_fp8_channel", fp8 | skip, "fp8 by channel: baseline"),
        Case("skip, groups of 2 share K/V", "across2", chunked | skip, "baseline"),
        Case("skip, groups of 4, no graphs", "across4", chunked | skip | eager, "baseline"),
        Case("fp8 cache: baseline", "llama", fp8_cache | eager),
        Case("fp8 cache: skip", "swiftkv", fp8_cache | skip, "fp8 cache: baseline"),
        Case("skip, no graphs", "swiftkv", chunked | skip | eager, "baseline"),
        Case("full, no graphs", "swiftkv", plain | mode(mode="full") | eager, "baseline"),
    ]
    listed += _families(plain, skip)
    if gpu:
        listed += _float8(fp8 | eager, skip)
        if importlib.util.find_spec("flashinfer") is not None:
            flashinfer = chunked | {"attention_backend": "FLASHINFER"}
            listed += [
                Case("FlashInfer: baseline", "llama", flashinfer | eager),
                Case("FlashInfer: skip", "swiftkv", flashinfer | skip, "FlashInfer: baseline"),
            ]
    eager_half = chunked | mode(mode="skip", graphs=False)
    return [*listed, Case("skip, graphs in the first half only", "swiftkv", eager_half, "baseline")]


def _families(engine: dict[str, Any], skip: dict[str, Any]) -> list[Case]:
    listed = []
    for family in FAMILIES:
        baseline = Case(f"{family}: baseline", family, engine | {"enforce_eager": True})
        listed += [baseline, Case(f"{family}: skip", f"{family}_swiftkv", engine | skip, baseline.name)]
    return listed


def _float8(engine: dict[str, Any], skip: dict[str, Any]) -> list[Case]:
    """Weights that vLLM multiplies on a GPU alone, stored and made while loading."""
    listed = []
    for form, words in FLOAT8.items():
        baseline = Case(f"{words}: baseline", f"llama_fp8_{form}", engine)
        listed += [baseline, Case(f"{words}: skip", f"swiftkv_fp8_{form}", engine | skip, baseline.name)]
    for method in ("fp8_per_tensor", "fp8_per_channel", "fp8_per_block"):
        online = engine | {"quantization": method}
        baseline = Case(f"online {method}: baseline", "llama", online)
        listed += [baseline, Case(f"online {method}: skip", "swiftkv", online | skip, baseline.name)]
    return listed


def checkpoints(directory: Path, gpu: bool, names: set[str]) -> dict[str, Path]:
    """Write the checkpoints ``names``: 8 layers, N = 4, head size 128 on a GPU."""
    from tests.swiftkv.checkpoints import CheckpointSpec, make_checkpoint

    size: dict[str, Any] = {"layers": 8, "hidden": 1024, "heads": 8, "kv_heads": 2, "intermediate": 2048}
    if not gpu:
        size = {"layers": 8, "hidden": 128, "heads": 4, "kv_heads": 2, "intermediate": 256}
    size["dtype"] = "bfloat16" if gpu else "float32"
    specs = {
        "llama": CheckpointSpec(key_value_layers=None, **size),
        "swiftkv": CheckpointSpec(key_value_layers=4, **size),
        "across2": CheckpointSpec(key_value_layers=4, group_size=2, **size),
        "across4": CheckpointSpec(key_value_layers=4, group_size=4, **size),
        "llama32": CheckpointSpec(key_value_layers=None, **size | {"dtype": "float32"}),
        "swiftkv32": CheckpointSpec(key_value_layers=4, **size | {"dtype": "float32"}),
    }
    for family in FAMILIES:
        # Heads of another size than hidden size by heads, which Qwen2 cannot have.
        head_size = None if family == "qwen2" else size["hidden"] // size["heads"] // 2
        traits: dict[str, Any] = size | {"family": family, "head_size": head_size, "tied": True, "llama3_rope": False}
        specs[family] = CheckpointSpec(key_value_layers=None, **traits)
        specs[f"{family}_swiftkv"] = CheckpointSpec(key_value_layers=4, group_size=2, **traits)
    size["dtype"] = "bfloat16"
    for form in ("channel", *FLOAT8):
        specs[f"llama_fp8_{form}"] = CheckpointSpec(key_value_layers=None, fp8=form, **size)
        specs[f"swiftkv_fp8_{form}"] = CheckpointSpec(key_value_layers=4, fp8=form, **size)
    return {name: make_checkpoint(directory / name, specs[name]) for name in names}


def prompts(gpu: bool) -> list[list[int]]:
    """Token ids: lengths around block and graph sizes, chunks, a shared prefix, and many short ones at once."""
    draw = random.Random(7)
    lengths = [1, 2, 15, 16, 17, 63, 64, 65, 255, 256, 257, 700, 1500] + [3000] * gpu
    listed = [[draw.randrange(258) for _ in range(length)] for length in lengths]
    shared = [draw.randrange(258) for _ in range(400)]
    listed += [shared + [draw.randrange(258) for _ in range(tail)] for tail in (1, 20, 130)]
    listed += [[draw.randrange(258) for _ in range(draw.randrange(3, 90))] for _ in range(72 if gpu else 12)]
    return listed
