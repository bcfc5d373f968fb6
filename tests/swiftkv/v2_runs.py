"""What small engines answer under vLLM's V2 model runner, on the CPU: Triton's kernels run in its interpreter.

A process of its own, because Triton on the path makes every engine of a process choose V2, as on a CUDA machine.
Seeded sampling and the kernel of top-k and top-p fail in the interpreter for every model and are not asked for.

    PYTHONPATH=.:.venv/triton:tests/triton_on_cpu TRITON_INTERPRET=1 TRITON_DEFAULT_BACKEND=cpu \\
        python -m tests.swiftkv.v2_runs FOLDER      # writes FOLDER/v2.json
"""

import gc
import json
import os
import random
import sys
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from tests.swiftkv.answers import read_answer
from tests.swiftkv.checkpoints import CheckpointSpec, make_checkpoint
from tests.swiftkv.engine_runs import prompts as prompts_of_v1
from tests.swiftkv.feature_runs import GRAMMARS

__all__ = ["BORDERS", "CHECKPOINTS", "CROWD", "FORCED", "PENALTIES", "SHORT"]

CHECKPOINTS = {
    "swiftkv": CheckpointSpec(),
    "groups": CheckpointSpec(layers=6, key_value_layers=2, group_size=2, tied=True),
}
SHORT = (*range(1, 18), 100)
"""Prompt lengths for steps of 16 tokens."""
BORDERS = (127, 128, 129, 255, 256, 257)
"""Prompt lengths around the cache's blocks of 128 tokens; they share a prefix."""
CROWD = 100
"""Requests at once."""
FORCED = [9, 300, 9, 511]
PENALTIES = {"frequency_penalty": 0.7, "presence_penalty": 0.4}


def prompts(lengths: tuple[int, ...], symbols: int = 256) -> list[list[int]]:
    """Random ids; each prompt continues the shorter ones."""
    draw = random.Random(23)
    ids = [draw.randrange(symbols) for _ in range(max(lengths))]
    return [ids[:length] for length in lengths]


def _engine(path: Path, **given: Any) -> Any:
    from vllm import LLM

    gc.collect()
    arguments: dict[str, Any] = {
        "dtype": "float32",
        "enforce_eager": True,
        "max_model_len": 512,
        "max_num_batched_tokens": 100,
        "max_num_seqs": 16,
        "kv_cache_memory_bytes": 64 << 20,
        "enable_prefix_caching": False,
        "disable_log_stats": False,
    }
    return LLM(model=str(path), seed=0, **arguments | given)


def _parameters(max_tokens: int = 4, **more: Any) -> Any:
    from vllm import SamplingParams

    return SamplingParams(max_tokens=max_tokens, **{"temperature": 0.0, "logprobs": 1, "ignore_eos": True} | more)


def _ask(llm: Any, asked: list[list[int]], parameters: Any) -> list[dict[str, Any]]:
    outputs = llm.generate([{"prompt_token_ids": ids} for ids in asked], parameters, use_tqdm=False)
    return [asdict(read_answer(output, ids)) for output, ids in zip(outputs, asked, strict=True)]


def _chunks(paths: dict[str, Path]) -> dict[str, Any]:
    """Steps of 16 tokens; every third request scored."""
    llm = _engine(paths["swiftkv"], max_num_batched_tokens=16)
    asked = prompts(SHORT)
    scored = [_parameters(prompt_logprobs=0 if index % 3 == 0 else None) for index in range(len(asked))]
    v2 = bool(llm.llm_engine.vllm_config.use_v2_model_runner)
    return {"v2_runner": v2, "chunks": _ask(llm, asked, scored)}


def _features(paths: dict[str, Path]) -> dict[str, Any]:
    """One engine with a prefix cache and steps of 100 tokens, asked for one thing after the other."""
    from vllm.sampling_params import BeamSearchParams

    compact = {"backend": "xgrammar", "disable_any_whitespace": True}
    settings: dict[str, Any] = {"structured_outputs_config": compact, "max_num_seqs": CROWD}
    llm = _engine(paths["swiftkv"], enable_prefix_caching=True, **settings)
    borders, short = prompts(BORDERS), prompts((3, 40, 130))
    results: dict[str, Any] = {"cold": _ask(llm, borders, _parameters()), "warm": _ask(llm, borders, _parameters())}
    results["full_depth"] = _ask(llm, borders, _parameters(extra_args={"swiftkv_full": 1}))
    results["as_v1"] = _ask(llm, prompts_of_v1()[:10], _parameters(8))
    results["penalties"] = _ask(llm, short, _parameters(6, **PENALTIES))
    results["forced"] = _ask(llm, short, _parameters(len(FORCED), extra_args={"swiftkv_forced_tokens": FORCED}))
    twice = llm.generate([{"prompt_token_ids": short[1]}], _parameters(n=2, temperature=1.0), use_tqdm=False)[0]
    results["samples"] = [asdict(read_answer(_Only(sample), short[1])) for sample in twice.outputs]
    width = BeamSearchParams(beam_width=2, max_tokens=3, ignore_eos=True)
    beams = llm.beam_search([{"prompt_token_ids": short[1]}], width)
    results["beams"] = [[one.tokens[len(short[1]) :], one.cum_logprob] for one in beams[0].sequences]
    results["structured"] = {name: _bound(llm, grammar, short[1]) for name, grammar in GRAMMARS.items()}
    crowd = [ids[index:] for index, ids in enumerate(prompts((CROWD + 5,) * CROWD))]
    results["crowd"] = _ask(llm, crowd, _parameters(2))
    return results | _aborts(llm)


def _bound(llm: Any, grammar: dict[str, Any], ids: list[int]) -> list[dict[str, Any]]:
    """Answers under a grammar, skipping and at full depth, with their text."""
    from vllm.sampling_params import StructuredOutputsParams

    bound: dict[str, Any] = {"structured_outputs": StructuredOutputsParams(**grammar), "ignore_eos": False}
    pair = [_parameters(60, extra_args={"swiftkv_full": full}, **bound) for full in (0, 1)]
    tokenizer = llm.get_tokenizer()
    answers = _ask(llm, [ids, ids], pair)
    return [one | {"text": tokenizer.decode(one["tokens"], skip_special_tokens=True)} for one in answers]


class _Only:
    """One of several samples as if it were the only one."""

    def __init__(self, sample: Any) -> None:
        self.outputs, self.prompt_logprobs = [sample], None


def _aborts(llm: Any) -> dict[str, Any]:
    """Half of the requests leave in the middle: some waiting, some between chunks, some decoding."""
    engine = llm.llm_engine
    asked = prompts(tuple(range(60, 300, 30)))
    names = [f"abort-{index}" for index in range(len(asked))]
    for name, ids in zip(names, asked, strict=True):
        engine.add_request(name, {"prompt_token_ids": ids}, _parameters(8))
    finished: dict[str, Any] = {}
    for step in range(10_000):
        if not engine.has_unfinished_requests():
            break
        if step in (1, 3, 5, 7):
            engine.abort_request([names[step]])
        finished |= {output.request_id: output for output in engine.step() if output.finished}
    kept = [names[index] for index in (0, 2, 4, 6)]
    return {"aborts": [asdict(read_answer(finished[name], asked[names.index(name)])) for name in kept]}


def _preempted(paths: dict[str, Path]) -> dict[str, Any]:
    """Five blocks of 128 tokens: each request fits, all together do not once they grow into a second block."""
    llm = _engine(paths["swiftkv"], num_gpu_blocks_override=5)
    answers = _ask(llm, prompts((120, 121, 122, 123)), [_parameters(12), _parameters(12, prompt_logprobs=0)] * 2)
    return {"preempted": answers, "preemptions": _metric(llm, "vllm:num_preemptions")}


def _groups(paths: dict[str, Path]) -> dict[str, Any]:
    return {"groups": _ask(_engine(paths["groups"], enable_prefix_caching=True), prompts((3, 40, 130)), _parameters())}


def _full(paths: dict[str, Path]) -> dict[str, Any]:
    """Mode full: every row runs all layers; the counters say so."""
    from swiftkv_bench.swiftkv.counters import counters

    llm = _engine(paths["swiftkv"], additional_config={"swiftkv_mode": "full"})
    before = asdict(counters().totals)
    answers = _ask(llm, prompts((3, 40, 130)), _parameters())
    after = asdict(counters().totals)
    return {"full": answers, "full_totals": {name: after[name] - before[name] for name in after}}


def _embeddings(paths: dict[str, Path]) -> dict[str, Any]:
    from safetensors.torch import load_file

    table = load_file(paths["swiftkv"] / "model.safetensors")["model.embed_tokens.weight"]
    llm, asked = _engine(paths["swiftkv"], enable_prompt_embeds=True), prompts((3, 40, 130))
    outputs = llm.generate([{"prompt_embeds": table[ids]} for ids in asked], _parameters(), use_tqdm=False)
    return {"embeddings": [asdict(read_answer(o, ids)) for o, ids in zip(outputs, asked, strict=True)]}


def _speculation(paths: dict[str, Path]) -> dict[str, Any]:
    """By n-gram and by a draft model in mode skip; methods that read hidden states are refused."""
    ngram = {"method": "ngram", "num_speculative_tokens": 3, "prompt_lookup_max": 3, "prompt_lookup_min": 1}
    draft = {"method": "draft_model", "model": str(paths["swiftkv"]), "num_speculative_tokens": 3}
    results: dict[str, Any] = {}
    asked = prompts((3, 17, 40, 130), symbols=4)
    for name, method in (("ngram", ngram), ("draft_model", draft)):
        llm = _engine(paths["swiftkv"], speculative_config=method)
        scored = [_parameters(8, prompt_logprobs=0 if index == 1 else None) for index in range(len(asked))]
        results[name] = _ask(llm, asked, scored)
        results[f"{name}_drafts"] = _metric(llm, "vllm:spec_decode_num_draft_tokens")
        forced = _parameters(len(FORCED), extra_args={"swiftkv_forced_tokens": FORCED})
        results[f"{name}_forced"] = _ask(llm, asked[:2], [forced, _parameters(len(FORCED))])
        del llm
    return results


def _metric(llm: Any, name: str) -> int:
    return sum(int(metric.value) for metric in llm.get_metrics() if metric.name == name)


PARTS: tuple[Callable[[dict[str, Path]], dict[str, Any]], ...] = (
    _chunks, _features, _preempted, _groups, _full, _embeddings, _speculation,
)  # fmt: skip


def main(folder: Path, names: list[str]) -> None:
    """Run the named parts, or all, and write ``folder/v2.json``."""
    os.environ.update(
        VLLM_ENABLE_V1_MULTIPROCESSING="0",
        VLLM_CPU_OMP_THREADS_BIND="nobind",
        VLLM_NO_USAGE_STATS="1",
        VLLM_LOGGING_LEVEL="ERROR",
        VLLM_CACHE_ROOT=str(folder / "cache"),
        HF_HUB_OFFLINE="1",
    )
    paths = {name: make_checkpoint(folder / name, spec) for name, spec in CHECKPOINTS.items()}
    results: dict[str, Any] = {"seconds": {}}
    for part in PARTS:
        if names and part.__name__.strip("_") not in names:
            continue
        started = time.perf_counter()
        results |= part(paths)
        results["seconds"][part.__name__] = time.perf_counter() - started
        gc.collect()
        gc.freeze()  # vLLM collects several times while it starts an engine
    (folder / "v2.json").write_text(json.dumps(results))


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
