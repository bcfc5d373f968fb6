"""What the fake engine can be told."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from swiftkv_bench.engines.fake.faults import Fault

Writer = Literal["auto", "python"]
PromptLogprobs = Literal["exact", "wrong", "refused", "out-of-memory"]


@dataclass(frozen=True)
class Options:
    """Latencies, limits, answers and faults of a fake engine."""

    model: str = "fake"
    """Name it serves."""
    max_model_len: int = 131_072
    """Longest prompt and output together, tokens."""
    vocabulary: int = 512
    """Token ids are 0 ... vocabulary - 1."""
    ttft_s: float = 0.0
    """From the start of a request to its first token, when the prompt is empty."""
    ttft_per_token_s: float = 0.0
    """The same, for each prompt token that is not in the prefix cache."""
    itl_s: float = 0.0
    """From one token to the next."""
    max_num_seqs: int | None = None
    """Requests served at once; others wait in order of arrival. None: no limit."""
    prefix_cache: bool = False
    """Remember prompts in blocks of 16 tokens."""
    prompt_logprobs: PromptLogprobs = "exact"
    """`wrong`: finite and plausible, but not the distribution's. `refused`: HTTP 400.
    `out-of-memory`: the process ends as vLLM's does."""
    answers: Mapping[str, str] = field(default_factory=dict)
    """Text that a prompt ends with -> text it is answered with, before the greedy continuation."""
    fault: Fault | None = None
    """What goes wrong with every request that does not say otherwise itself."""
    api_key: str | None = None
    """Required of every request to /v1."""
    log: Path | None = None
    """JSONL file of what was written when: see `WriteLog`."""
    writer: Writer = "auto"
    """What writes streams that have no fault: `auto` is a thread in C where it can be built, else Python."""
