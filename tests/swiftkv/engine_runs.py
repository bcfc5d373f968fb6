"""Runs many vLLM configurations in one process and writes what they answered.

A process of its own keeps vLLM's environment variables, warnings and global state out of the test process.
Many engines share it because a further engine costs seconds where a process costs tens.

    python -m tests.swiftkv.engine_runs FOLDER      # writes FOLDER/runs.json and FOLDER/features.json
"""

import gc
import json
import os
import random
import sys
import time
import traceback
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from swiftkv_bench.embedded.checkpoint import ensure_pair
from swiftkv_bench.embedded.llama_folder import LlamaFolder
from swiftkv_bench.embedded.twin import TwinSettings, make_twins
from swiftkv_bench.engines.profiles import load_profile
from swiftkv_bench.observer import Silent
from tests.swiftkv.answers import Answer, read_answer
from tests.swiftkv.checkpoints import FORMS, CheckpointSpec, make_checkpoint, write_tokenizer
from tests.swiftkv.feature_runs import UPDATED, run_features

__all__ = ["PROMPT_LENGTHS", "RUNS", "Run", "RunResult"]

PROMPT_LENGTHS = (1, 2, 3, 16, 31, 32, 33, 100, 127, 128, 129, 255, 256, 257, 300, 400, 500, 700, 1200, 3000)

_SWIFTKV = CheckpointSpec()
# Blocks of 128 rows must not cross heads of different layers; no K/V linear is square, so that its rows are known.
_FLOAT8: dict[str, Any] = {
    "layers": 4,
    "key_value_layers": 2,
    "hidden": 384,
    "heads": 6,
    "kv_heads": 2,
    "dtype": "bfloat16",
}
_CHECKPOINTS = {
    "swiftkv": _SWIFTKV,
    "across_tied": CheckpointSpec(layers=7, key_value_layers=3, group_size=2, tied=True, llama3_rope=False),
    "all_ordinary": CheckpointSpec(key_value_layers=6),
    "fp8_channel": CheckpointSpec(fp8="channel", dtype="bfloat16"),
    "fp8_partly": CheckpointSpec(
        fp8="channel",
        fp8_ignored=tuple(f"model.layers.4.self_attn.{kind}_proj_swiftkv" for kind in "kv"),
        dtype="bfloat16",
    ),
    "fp8_cache": CheckpointSpec(
        layers=7, key_value_layers=3, group_size=2, fp8="channel", cache_scales=(0.04, 0.02), dtype="bfloat16"
    ),
    **{f"float8_{form}": CheckpointSpec(fp8=form, **_FLOAT8) for form in FORMS},
    "float8_partly": CheckpointSpec(
        fp8="fp8",
        fp8_ignored=(
            *(f"model.layers.1.self_attn.{kind}_proj" for kind in "qkv"),
            *(f"model.layers.3.self_attn.{kind}_proj_swiftkv" for kind in "kv"),
        ),
        **_FLOAT8,
    ),
    "bfloat16": CheckpointSpec(**_FLOAT8),
    "one_kv_head": CheckpointSpec("qwen2", layers=4, key_value_layers=2, kv_heads=1, group_size=2),
    "qwen2": CheckpointSpec("qwen2", layers=4, key_value_layers=2, tied=True, llama3_rope=False),
    "qwen3": CheckpointSpec("qwen3", key_value_layers=2, group_size=2, llama3_rope=False, head_size=48),
    "mistral": CheckpointSpec("mistral", layers=4, key_value_layers=2, llama3_rope=False, head_size=48),
    UPDATED: CheckpointSpec(seed=1),
}


FAMILIES = ("mistral", "qwen2", "qwen3")
"""Beside Llama."""


@dataclass(frozen=True)
class Run:
    """One engine and what it is asked.

    Attributes:
        scored: indices into ``PROMPT_LENGTHS`` of the requests that also want prompt logprobs.
        asked: how many of the prompts are sent, the shortest first.
        passes: how often the same prompts are sent; from the second on the prefix cache is warm.
        reloads: whether the weights are loaded again between passes.
        fault: class in ``tests.swiftkv.faults.models`` to serve instead of the right model.
    """

    checkpoint: str = "swiftkv"
    engine: dict[str, Any] = field(default_factory=dict)
    max_tokens: int = 8
    scored: tuple[int, ...] = (0, 4, 9, 12)
    asked: int = len(PROMPT_LENGTHS)
    passes: int = 1
    reloads: bool = False
    fault: str | None = None


@dataclass
class RunResult:
    """What happened: answers and counters, or ``error`` with the last line of the exception.

    Attributes:
        weight_error: of float8 K/V projections, see ``cpu_float8.key_value_error``; None for other runs.
    """

    answers: list[Answer] = field(default_factory=list)
    totals: dict[str, int] = field(default_factory=dict)
    preemptions: int = 0
    weight_error: float | None = None
    seconds: float = 0.0
    error: str | None = None


def _mode(mode: str = "skip", **engine: Any) -> dict[str, Any]:
    return {"additional_config": {"swiftkv_mode": mode}, **engine}


_EAGER: dict[str, Any] = {"enforce_eager": True}
_LARGE: dict[str, Any] = {"max_num_batched_tokens": 4096, "enable_prefix_caching": False}
_SMALL: dict[str, Any] = {"max_num_batched_tokens": 128, "enable_prefix_caching": True}
_BFLOAT16 = {"dtype": "bfloat16"}
_EIGHT_BITS: dict[str, Any] = {**_EAGER, **_SMALL, **_BFLOAT16}
_FEW: dict[str, Any] = {"asked": 12, "scored": (4, 9), "max_tokens": 4}

SHRUNKEN = {"skip_shrunken_70b": "llama-3.3-70b-dummy", "skip_shrunken_405b": "llama-3.1-405b-fp8-dummy"}
"""Runs of shipped profiles too large for this machine, with few, narrow layers."""
_SHRUNKEN: dict[str, Any] = {
    "hidden_size": 384, "intermediate_size": 256, "num_hidden_layers": 4, "num_key_value_layers": 2, "vocab_size": 512,
    "num_attention_heads": 6, "num_key_value_heads": 2, "head_dim": 64,
}  # fmt: skip


def _options_of(profile: str) -> dict[str, Any]:
    """Engine options of a shipped profile, on one rank."""
    given = load_profile(profile).engine_args
    return {name.replace("-", "_"): value for name, value in given.items() if name != "tensor-parallel-size"}


RUNS: dict[str, Run] = {
    "skip_large": Run(engine=_mode(**_EAGER, **_LARGE)),
    "skip_small_cached": Run(engine=_mode(**_EAGER, **_SMALL), passes=2),
    "full_small_cached": Run(engine=_mode("full", **_EAGER, **_SMALL), passes=2),
    # 46 blocks of 128 tokens hold the longest prompt and not all requests at once.
    "skip_preempted": Run(
        engine=_mode(**_EAGER, max_num_batched_tokens=512, num_gpu_blocks_override=46, max_num_seqs=20),
        max_tokens=140,
        scored=(5, 11),
    ),
    "skip_across_tied": Run("across_tied", _mode(**_EAGER, **_SMALL), passes=2, reloads=True),
    "skip_all_ordinary": Run("all_ordinary", _mode(**_EAGER, **_SMALL)),
    # The family with most of its own between the linears.
    "skip_compiled": Run("qwen3", _mode(**_SMALL)),
    **{
        f"{mode}_{family}": Run(family, _mode(mode, **_EAGER, **_SMALL))
        for family in FAMILIES
        for mode in ("skip", "full")
    },
    **{f"skip_distilled_{family}": Run(f"distilled_{family}", _mode(**_EAGER, **_SMALL)) for family in FAMILIES},
    # One K/V head on two ranks: both hold a copy, of its biases too.
    "skip_tensor_parallel": Run("one_kv_head", _mode(**_EAGER, **_SMALL, tensor_parallel_size=2)),
    "skip_fp8_channel": Run("fp8_channel", _mode(**_EAGER, **_SMALL, **_BFLOAT16)),
    "full_fp8_channel": Run("fp8_channel", _mode("full", **_EAGER, **_SMALL, **_BFLOAT16)),
    # One later layer's K/V unquantised: no joint projection.
    "skip_fp8_partly": Run("fp8_partly", _mode(**_EAGER, **_SMALL, **_BFLOAT16)),
    **{
        f"skip_float8_{form}": Run(f"float8_{form}", _mode(**_EIGHT_BITS), **_FEW) for form in FORMS if form != "fbgemm"
    },
    "skip_float8_fbgemm": Run("float8_fbgemm", _mode(**_EIGHT_BITS, allow_deprecated_quantization=True), **_FEW),
    "skip_float8_partly": Run("float8_partly", _mode(**_EIGHT_BITS), **_FEW),
    **{
        f"skip_online_{method}": Run("bfloat16", _mode(**_EIGHT_BITS, quantization=method), **_FEW)
        for method in ("fp8", "fp8_per_tensor", "fp8_per_channel", "fp8_per_block")
    },
    **{name: Run(profile, _mode(**_EAGER, **_options_of(profile)), **_FEW) for name, profile in SHRUNKEN.items()},
    # Layers that read another layer's K/V have no scales of their own in the checkpoint.
    "skip_fp8_cache": Run("fp8_cache", _mode(**_EAGER, **_SMALL, **_BFLOAT16, kv_cache_dtype="fp8")),
    "skip_embedded": Run("embedded", _mode(**_EAGER, **_SMALL)),
    "unknown_option": Run(engine={**_EAGER, "additional_config": {"swiftkv_mod": "skip"}}),
    "missing_weight": Run("missing_weight", _EAGER),
    "unexpected_weight": Run("unexpected_weight", _EAGER),
    "fault_skips_prompt_rows": Run(engine=_mode(**_EAGER, **_LARGE), fault="SkipsPromptRows"),
    "fault_skips_decode_rows": Run(engine=_mode(**_EAGER, **_SMALL), fault="SkipsDecodeRows"),
    "fault_wrong_layer": Run(engine=_mode(**_EAGER, **_LARGE), fault="WrongLayer"),
    "fault_silent_baseline": Run(engine=_mode(**_EAGER, **_LARGE), fault="SilentBaseline"),
    # The last one: after numba was imported for it, vLLM's CPU engine cannot start again in the process.
    "full_speculative": Run(
        engine=_mode("full", **_EAGER, speculative_config={"method": "ngram", "num_speculative_tokens": 3}),
        scored=(),
    ),
}


def prompts() -> list[list[int]]:
    """Random token ids of ``PROMPT_LENGTHS``; those from 100 on share their first 64 tokens."""
    draw = random.Random(11)
    shared = [draw.randrange(258) for _ in range(64)]
    fresh = [[draw.randrange(258) for _ in range(length)] for length in PROMPT_LENGTHS]
    return [shared + ids[64:] if len(ids) >= 100 else ids for ids in fresh]


def write_checkpoints(folder: Path) -> dict[str, Path]:
    """Write every checkpoint of ``RUNS``; two of them are damaged on purpose."""
    from safetensors.torch import load_file, save_file

    paths = {name: make_checkpoint(folder / name, spec) for name, spec in _CHECKPOINTS.items()}
    # The embedded twin as `distill` writes it: the baseline's files, one more, an index.
    pair = ensure_pair(folder)
    added = {name: t for name, t in load_file(pair.swiftkv / "model.safetensors").items() if "swiftkv" in name}
    paths["embedded"] = folder / "embedded"
    LlamaFolder(pair.baseline).write_twin(paths["embedded"], pair.num_key_value_layers, added)
    paths |= {profile: _write_shrunken(folder / profile, profile) for profile in SHRUNKEN.values()}
    paths |= {f"distilled_{family}": _distil(folder / "bases", folder, family) for family in FAMILIES}
    for name in ("missing_weight", "unexpected_weight"):
        paths[name] = make_checkpoint(folder / name, _SWIFTKV)
        weights = load_file(paths[name] / "model.safetensors")
        if name == "missing_weight":
            del weights["model.layers.4.self_attn.k_proj_swiftkv.weight"]
        else:
            weights["model.layers.2.self_attn.k_proj_swiftkv.weight"] = weights["model.norm.weight"].clone()
        save_file(weights, paths[name] / "model.safetensors", metadata={"format": "pt"})
    return paths


def _write_shrunken(folder: Path, profile: str) -> Path:
    """The config.json of a profile's SwiftKV model, made small, and a tokenizer; no weights."""
    config = (load_profile(profile).swiftkv.config or {}) | _SHRUNKEN
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(config))
    write_tokenizer(folder)
    return folder


def _distil(bases: Path, folder: Path, family: str) -> Path:
    """A twin of a random base with tied embeddings and wide heads, as `distill` writes it after three steps."""
    size = None if family == "qwen2" else 48  # Qwen2's heads share the hidden size out
    spec = CheckpointSpec(family, 4, None, tied=True, llama3_rope=False, head_size=size)  # type: ignore[arg-type]
    base = make_checkpoint(bases / family, spec)
    data = bases / f"{family}.jsonl"
    data.write_text(json.dumps({"text": "Two rows or more of any text. " * 40}) + "\n")
    settings = TwinSettings((2,), steps=3, batch_rows=2, row_tokens=64, learning_rate=0.01)
    make_twins(base, [data], folder / f"distilled_{family}", settings, Silent())
    return folder / f"distilled_{family}"


def _execute(run: Run, path: Path) -> RunResult:
    from vllm import LLM, SamplingParams

    from swiftkv_bench.swiftkv.counters import counters

    engine: dict[str, Any] = {"dtype": "float32", "max_num_seqs": 64, "kv_cache_memory_bytes": 128 << 20}
    engine |= run.engine
    if run.fault is not None:
        engine["hf_overrides"] = {"architectures": [run.fault]}
    before = asdict(counters().totals)
    llm = LLM(model=str(path), seed=0, max_model_len=4096, disable_log_stats=False, **engine)
    base: dict[str, Any] = {"temperature": 0.0, "max_tokens": run.max_tokens, "logprobs": 1, "ignore_eos": True}
    asked = [{"prompt_token_ids": ids} for ids in prompts()[: run.asked]]
    parameters = [
        SamplingParams(**base, prompt_logprobs=0 if index in run.scored else None) for index in range(len(asked))
    ]
    outputs = []
    for _ in range(run.passes):
        outputs += llm.generate(asked, parameters, use_tqdm=False)
        if run.reloads:
            llm.collective_rpc("reload_weights")
    preemptions = sum(int(metric.value) for metric in llm.get_metrics() if metric.name == "vllm:num_preemptions")
    after = asdict(counters().totals)
    return RunResult(
        answers=[read_answer(output, list(output.prompt_token_ids)) for output in outputs],
        totals={name: after[name] - before[name] for name in after},
        preemptions=preemptions,
        weight_error=_weight_error(llm, path) if "float8" in run.checkpoint or "quantization" in run.engine else None,
    )


def _weight_error(llm: Any, path: Path) -> float:
    from tests.swiftkv.cpu_float8 import key_value_error

    [found] = llm.apply_model(lambda model: key_value_error(model, path))
    return float(found)


def main(folder: Path, names: list[str]) -> None:
    """Execute the named runs, or all and the features, and write ``folder/runs.json`` and ``folder/features.json``."""
    os.environ.update(
        VLLM_ENABLE_V1_MULTIPROCESSING="0",
        VLLM_CPU_OMP_THREADS_BIND="nobind",
        VLLM_NO_USAGE_STATS="1",
        VLLM_LOGGING_LEVEL="ERROR",
        VLLM_CACHE_ROOT=str(folder / "cache"),
        HF_HUB_OFFLINE="1",
    )
    from vllm import ModelRegistry

    from swiftkv_bench.errors import SwiftKVBenchError
    from tests.swiftkv.cpu_float8 import complete_float8
    from tests.swiftkv.faults import models

    complete_float8()
    for run in RUNS.values():
        if run.fault is not None:
            ModelRegistry.register_model(run.fault, getattr(models, run.fault))
    paths = write_checkpoints(folder)
    if not names:
        (folder / "features.json").write_text(json.dumps(run_features(paths)))
    results = {}
    for name in names or RUNS:
        started = time.perf_counter()
        try:
            result = _execute(RUNS[name], paths[RUNS[name].checkpoint])
        except (SwiftKVBenchError, NotImplementedError) as error:  # refusals are outcomes; others end the process
            traceback.clear_frames(error.__traceback__)
            result = RunResult(error=str(error))
        result.seconds = time.perf_counter() - started
        results[name] = asdict(result)
        gc.collect()
        gc.freeze()  # vLLM collects several times while it starts an engine: seconds in a process with so many objects
    (folder / "runs.json").write_text(json.dumps(results))


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
