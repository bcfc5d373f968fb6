"""The fake engine's `/metrics` page: vLLM's names for what it counts, and its own lateness under `fake:`."""

from dataclasses import dataclass, field

from swiftkv_bench.engines.fake.lateness import BOUNDS_S, Lateness


@dataclass
class Histogram:
    """Sum and count; the page's only bucket is the last."""

    total: float = 0.0
    n: int = 0

    def add(self, value: float) -> None:
        """Counts one value."""
        self.total += value
        self.n += 1


@dataclass
class Counters:
    """What the engine has done since it started."""

    prompt_tokens: int = 0
    generation_tokens: int = 0
    prefix_queries: int = 0
    prefix_hits: int = 0
    finished: dict[str | None, int] = field(default_factory=dict)
    """Finish reason -> requests."""
    ttft_s: Histogram = field(default_factory=Histogram)
    e2e_s: Histogram = field(default_factory=Histogram)
    queue_s: Histogram = field(default_factory=Histogram)
    prefill_s: Histogram = field(default_factory=Histogram)
    decode_s: Histogram = field(default_factory=Histogram)


def page(counters: Counters, lateness: Lateness, running: int, waiting: int, model: str) -> str:
    """Prometheus text."""
    label = f'engine="0",model_name="{model}"'
    lines = [
        f"vllm:num_requests_running{{{label}}} {running}",
        f"vllm:num_requests_waiting{{{label}}} {waiting}",
        f"vllm:prefix_cache_queries_total{{{label}}} {counters.prefix_queries}",
        f"vllm:prefix_cache_hits_total{{{label}}} {counters.prefix_hits}",
        f"vllm:num_preemptions_total{{{label}}} 0",
        f"vllm:prompt_tokens_total{{{label}}} {counters.prompt_tokens}",
        f"vllm:generation_tokens_total{{{label}}} {counters.generation_tokens}",
    ]
    for reason, n in sorted((str(reason), n) for reason, n in counters.finished.items()):
        lines.append(f'vllm:request_success_total{{{label},finished_reason="{reason}"}} {n}')
    named = {
        "time_to_first_token_seconds": counters.ttft_s,
        "e2e_request_latency_seconds": counters.e2e_s,
        "request_queue_time_seconds": counters.queue_s,
        "request_prefill_time_seconds": counters.prefill_s,
        "request_decode_time_seconds": counters.decode_s,
    }
    for name, histogram in named.items():
        lines.append(f'vllm:{name}_bucket{{{label},le="+Inf"}} {histogram.n}')
        lines.append(f"vllm:{name}_count{{{label}}} {histogram.n}")
        lines.append(f"vllm:{name}_sum{{{label}}} {histogram.total}")
    seen = 0
    for bound, n in zip((*BOUNDS_S, "+Inf"), lateness.buckets, strict=True):
        seen += n
        lines.append(f'fake:lateness_seconds_bucket{{le="{bound}"}} {seen}')
    lines.append(f"fake:lateness_seconds_count {seen}")
    lines.append(f"fake:lateness_seconds_sum {lateness.total_s}")
    lines.append(f"fake:lateness_seconds_worst {lateness.worst_s}")
    return "\n".join(lines) + "\n"


class PrefixCache:
    """Prompts seen, in full blocks of `BLOCK` tokens; unlimited."""

    BLOCK = 16

    def __init__(self) -> None:
        self._blocks: set[int] = set()

    def hits(self, prompt: tuple[int, ...], salt: str = "") -> int:
        """Leading tokens of a prompt that are cached under a salt, at most all but the last; remembers it."""
        cached, key, matching = 0, hash(salt), True
        for end in range(self.BLOCK, len(prompt) + 1, self.BLOCK):
            key = hash((key, prompt[end - self.BLOCK : end]))
            matching = matching and key in self._blocks
            if matching and end < len(prompt):
                cached = end
            self._blocks.add(key)
        return cached

    def clear(self) -> None:
        """Forgets everything."""
        self._blocks.clear()
