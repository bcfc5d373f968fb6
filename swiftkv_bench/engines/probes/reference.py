"""Probe of the answers themselves: log-probabilities of a running engine beside a forward pass of its checkpoint.

The one probe that sees a fault which all requests share, such as K/V in the wrong layer: then skipping and full depth
agree with each other and with nothing else. When the engine is wrong, the faults known to ``forward`` are tried, and
the one that explains the answers is named.
"""

import json
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from swiftkv_bench.engines.probes.asking import Answer, Asking, Limit, rounding
from swiftkv_bench.engines.probes.forward import Forward, Wrong
from swiftkv_bench.engines.probes.weights import Float, Weights
from swiftkv_bench.errors import InputError
from swiftkv_bench.schema.manifest import Probe

PROMPT_TOKENS = (12, 24, 40)
SIZE_BYTES = 2 << 30
"""Largest checkpoint that is computed at the start of every run; a few seconds. `doctor` computes larger ones."""

LARGEST_BYTES = 40 << 30
"""Largest checkpoint that `doctor` computes."""

_QUANTISED = Limit(mean=0.5, worst=4.0)
"""Engines also round activations to 8 bits; faults move log-probabilities by more."""


def right_answers(asking: Asking, *, thorough: bool) -> Probe:
    """Whether greedy tokens have the log-probabilities that the checkpoint gives them."""
    probe: dict[str, Any] = {"name": "right answers", "arm": asking.arm, "stops": ("accuracy", "load")}
    try:
        forward = _forward(asking, thorough)
        if isinstance(forward, str):
            return Probe(**probe, status="not run", detail=forward)
        prompts = [asking.draw(length) for length in PROMPT_TOKENS]
        # Alone and in company: a fault of batches shows in the second series only.
        answers = [*asking.greedy(prompts, salt="right"), *asking.together(prompts, salt="right together")]
        if not all(a.logprobs and a.tokens[0].startswith("token_id:") for a in answers):
            detail = "the server does not name its tokens by id with log-probabilities"
            return Probe(**probe, status="not run", detail=detail)
        mean, worst = _distance(forward.logprobs, [*prompts, *prompts], answers)
    except InputError as e:
        return Probe(**probe, status="not run", detail=f"the checkpoint cannot be computed here: {e}")
    limit = _limit(asking)
    tokens = sum(len(a.tokens) for a in answers)
    numbers = f"{tokens} log-probabilities by {mean:.2g} nat on average and {worst:.2g} at most"
    probe["data"] = {"mean_nat": mean, "worst_nat": worst, "limit_mean_nat": limit.mean, "limit_worst_nat": limit.worst}
    if mean <= limit.mean and worst <= limit.worst:
        return Probe(**probe, status="pass", detail=f"the engine and a forward pass in numpy differ in {numbers}")
    known = _explained(forward, [*prompts, *prompts], answers, mean)
    cause = "" if known is None else f"; the engine answers like a model {known.value}"
    detail = f"the engine and a forward pass of its checkpoint in numpy differ in {numbers}{cause}"
    probe["data"]["fault"] = None if known is None else known.name.lower()
    return Probe(**probe, status="fail", detail=detail)


def _forward(asking: Asking, thorough: bool) -> Forward | str:
    """The checkpoint's forward pass, or why it is not computed."""
    spec = asking.spec
    folder = Path(spec.model)
    if spec.kind == "fake" or not (folder / "config.json").is_file():
        return "the engine's checkpoint is not a local folder"
    if spec.args.get("load-format") == "dummy":
        return "the engine's weights are random (load format dummy)"
    weights = Weights(folder)
    size = f"a checkpoint of {weights.size_bytes / 1e9:.0f} GB"
    if weights.size_bytes > LARGEST_BYTES:
        return f"{size} takes too long to compute on processors"
    if weights.size_bytes > SIZE_BYTES and not thorough:
        return f"{size} takes minutes to compute; `swiftkv-bench doctor` does"
    return Forward(spec.architecture or json.loads((folder / "config.json").read_text()), weights)


def _limit(asking: Asking) -> Limit:
    if (asking.spec.architecture or {}).get("quantization_config"):
        return _QUANTISED
    limit = rounding(asking.spec)
    # The engine rounds every activation to its type where numpy keeps float32.
    return Limit(3 * limit.mean, 3 * limit.worst)


def _distance(
    logprobs: Callable[[list[list[int]]], list[Float]], prompts: Sequence[list[int]], answers: Sequence[Answer]
) -> tuple[float, float]:
    """Mean and largest difference in nat of the engine's tokens' log-probabilities from a model's."""
    generated = [[int(token.removeprefix("token_id:")) for token in answer.tokens] for answer in answers]
    truth = logprobs([[*prompt, *tokens] for prompt, tokens in zip(prompts, generated, strict=True)])
    gaps = []
    for prompt, tokens, answer, rows in zip(prompts, generated, answers, truth, strict=True):
        at = np.arange(len(prompt) - 1, len(prompt) - 1 + len(tokens))
        gaps.append(np.abs(rows[at, tokens] - np.array(answer.logprobs)))
    together = np.nan_to_num(np.concatenate(gaps), nan=1e9, posinf=1e9)
    return float(together.mean()), float(together.max())


def _explained(forward: Forward, prompts: Sequence[list[int]], answers: Sequence[Answer], mean: float) -> Wrong | None:
    """The known fault under which the answers come out right; None when none is ten times nearer than the truth."""
    if forward.first == forward.layers:
        return None
    distances: dict[Wrong, float] = {}
    for wrong in Wrong:
        # A checkpoint without the base model's projections cannot have been served by them.
        with suppress(InputError):
            distances[wrong] = _distance(partial(forward.logprobs, wrong=wrong), prompts, answers)[0]
    best = min(distances, key=lambda wrong: distances[wrong])
    return best if distances[best] < mean / 10 else None
