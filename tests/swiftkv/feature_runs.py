"""What engines answer when other features of vLLM are on; runs in the process of ``engine_runs``.

Requests are stepped by hand through ``LLMEngine``, the one way to an engine whose configuration is changed after
vLLM has made it: vLLM turns asynchronous scheduling off on a CPU, though its CPU runner follows such a scheduler.
"""

import gc
import json
import random
import traceback
from dataclasses import asdict
from pathlib import Path
from typing import Any

from swiftkv_bench.errors import EngineError
from tests.swiftkv.answers import read_answer

__all__ = ["GRAMMARS", "LENGTHS", "REFUSED", "UPDATED", "run_features"]

LENGTHS = (3, 40, 130, 257, 400)
"""Prompt lengths; a step holds 128 tokens."""

GRAMMARS: dict[str, dict[str, Any]] = {
    "regex": {"regex": "[0-9]{3}-[a-f]{4}"},
    "choice": {"choice": ["red", "green"]},
    "json": {
        "json": {
            "type": "object",
            "properties": {"a": {"type": "boolean"}, "b": {"enum": ["x", "yy"]}},
            "required": ["a", "b"],
            "additionalProperties": False,
        }
    },
}
REFUSED: dict[str, dict[str, Any]] = {
    "lora": {"enable_lora": True},
    "offload": {"cpu_offload_gb": 1},
    "cache_dtype": {"kv_cache_dtype": "int8_per_token_head"},
    "quantization": {"quantization": "int8_per_channel_weight_only", "dtype": "bfloat16"},
}
UPDATED = "updated"
"""Checkpoint whose weights a running engine is given in parts."""


def run_features(paths: dict[str, Path]) -> dict[str, Any]:
    """Run every feature; values are plain data: ``Answer``s with their text, embeddings, a refusal."""
    results: dict[str, Any] = {}
    results["vocabulary"] = json.loads((paths["swiftkv"] / "tokenizer.json").read_text())["model"]["vocab"]
    for part in (_scheduling, _updates, _prompt_embeddings, _pooling, _draft_model):
        results |= part(paths)
    return results | {f"refused_{name}": _refusal(paths["swiftkv"], given) for name, given in REFUSED.items()}


def prompts() -> list[list[int]]:
    """Random bytes of ``LENGTHS``."""
    draw = random.Random(5)
    return [[draw.randrange(256) for _ in range(length)] for length in LENGTHS]


def _engine(path: Path, *, asynchronous: bool = False, **given: Any) -> Any:
    from vllm.engine.arg_utils import EngineArgs
    from vllm.v1.engine.llm_engine import LLMEngine

    gc.collect()  # an engine that is collected later would take this one's process groups with it
    gc.freeze()  # vLLM collects several times while it starts
    arguments: dict[str, Any] = {
        "dtype": "float32",
        "enforce_eager": True,
        "max_model_len": 1024,
        "max_num_batched_tokens": 128,
        "max_num_seqs": 32,
        "kv_cache_memory_bytes": 64 << 20,
        "enable_prefix_caching": False,
    }
    config = EngineArgs(model=str(path), seed=0, **arguments | given).create_engine_config()
    config.scheduler_config.async_scheduling = asynchronous
    return LLMEngine.from_vllm_config(config)


def _answer(engine: Any, asked: list[tuple[Any, Any]]) -> list[Any]:
    """Step ``engine`` until every (prompt, parameters) has its answer; answers in the order asked."""
    for index, (prompt, parameters) in enumerate(asked):
        engine.add_request(str(index), prompt, parameters)
    finished: dict[int, Any] = {}
    while engine.has_unfinished_requests():
        finished |= {int(output.request_id): output for output in engine.step() if output.finished}
    return [finished[index] for index in range(len(asked))]


def _uses(engine: Any, asked: list[tuple[Any, Any]], ids: list[list[int]]) -> list[dict[str, Any]]:
    tokenizer = engine.get_tokenizer()
    uses = []
    for output, prompt in zip(_answer(engine, asked), ids, strict=True):
        answer = read_answer(output, prompt)
        # Not the output's text, which also holds what the prompt's last bytes left undecoded.
        text = tokenizer.decode(answer.tokens, skip_special_tokens=True)
        uses.append(asdict(answer) | {"text": text})
    return uses


def _parameters(**more: Any) -> Any:
    from vllm import SamplingParams

    return SamplingParams(temperature=0.0, logprobs=1, **{"max_tokens": 6, "ignore_eos": True} | more)


def _plain(engine: Any) -> list[dict[str, Any]]:
    """Every prompt once; the second also scored."""
    asked = [
        ({"prompt_token_ids": ids}, _parameters(prompt_logprobs=0 if index == 1 else None))
        for index, ids in enumerate(prompts())
    ]
    return _uses(engine, asked, prompts())


def _mixed(engine: Any) -> dict[str, Any]:
    """In one batch: every prompt plain, then under each grammar skipping and at full depth."""
    from vllm.sampling_params import StructuredOutputsParams

    asked, ids = [], []
    for prompt in prompts():
        asked.append(({"prompt_token_ids": prompt}, _parameters()))
        ids.append(prompt)
        for grammar in GRAMMARS.values():
            for full in (0, 1):
                structured = StructuredOutputsParams(**grammar)
                more = {"max_tokens": 60, "ignore_eos": False, "structured_outputs": structured}
                parameters = _parameters(**more, extra_args={"swiftkv_full": full})
                asked.append(({"prompt_token_ids": prompt}, parameters))
                ids.append(prompt)
    uses = iter(_uses(engine, asked, ids))
    mixed: dict[str, Any] = {"plain": [], **{f"{name}_{depth}": [] for name in GRAMMARS for depth in ("skip", "full")}}
    for _ in LENGTHS:
        for name in mixed:
            mixed[name].append(next(uses))
    return mixed


def _scheduling(paths: dict[str, Path]) -> dict[str, Any]:
    return {name: _scheduled(paths["swiftkv"], name == "asynchronous") for name in ("synchronous", "asynchronous")}


def _scheduled(path: Path, asynchronous: bool) -> dict[str, Any]:
    compact = {"backend": "xgrammar", "disable_any_whitespace": True}
    engine = _engine(path, asynchronous=asynchronous, structured_outputs_config=compact)
    core = engine.engine_core.engine_core
    seen = {"scheduler": type(core.scheduler).__name__, "batches_in_flight": core.batch_queue_size}
    return {**seen, "scored": _plain(engine), **_mixed(engine)}


def _updates(paths: dict[str, Path]) -> dict[str, Any]:
    """Answers before and after all weights were replaced in shuffled parts, as vLLM's weight transfer engines do it."""
    from safetensors.torch import load_file
    from vllm.config import set_current_vllm_config
    from vllm.model_executor.model_loader.reload import finalize_layerwise_reload, initialize_layerwise_reload

    engine = _engine(paths["swiftkv"])
    before = _plain(engine)
    weights = list(load_file(paths[UPDATED] / "model.safetensors").items())
    random.Random(3).shuffle(weights)
    with set_current_vllm_config(engine.vllm_config):
        engine.apply_model(initialize_layerwise_reload)
        for start in range(0, len(weights), 7):
            part = weights[start : start + 7]
            engine.apply_model(lambda model, part=part: model.load_weights(part))
        engine.apply_model(lambda model: finalize_layerwise_reload(model, engine.vllm_config.model_config))
    return {"before_update": before, "after_update": _plain(engine)}


def _prompt_embeddings(paths: dict[str, Path]) -> dict[str, Any]:
    from safetensors.torch import load_file

    table = load_file(paths["swiftkv"] / "model.safetensors")["model.embed_tokens.weight"]
    engine = _engine(paths["swiftkv"], enable_prompt_embeds=True)
    asked = [({"prompt_embeds": table[ids]}, _parameters()) for ids in prompts()]
    return {"prompt_embeddings": _uses(engine, asked, prompts())}


def _pooling(paths: dict[str, Path]) -> dict[str, Any]:
    from vllm import PoolingParams

    full = {"swiftkv_mode": "full"}
    engine = _engine(paths["swiftkv"], runner="pooling", additional_config=full)
    asked = [({"prompt_token_ids": ids}, PoolingParams(task="embed")) for ids in prompts()]
    return {"embeddings": [output.outputs.data.tolist() for output in _answer(engine, asked)]}


def _draft_model(paths: dict[str, Path]) -> dict[str, Any]:
    """The model as its own draft: proposals are right, so that several tokens a step are kept."""
    draft = {"method": "draft_model", "model": str(paths["swiftkv"]), "num_speculative_tokens": 3}
    engine = _engine(paths["swiftkv"], additional_config={"swiftkv_mode": "full"}, speculative_config=draft)
    accepted = "vllm:spec_decode_num_accepted_tokens"
    uses = _plain(engine)
    return {
        "draft_model": uses,
        "draft_tokens_accepted": sum(int(metric.value) for metric in engine.get_metrics() if metric.name == accepted),
    }


def _refusal(path: Path, given: dict[str, Any]) -> str:
    try:
        _engine(path, **given)
    except EngineError as error:
        traceback.clear_frames(error.__traceback__)
        return str(error)
    return ""
