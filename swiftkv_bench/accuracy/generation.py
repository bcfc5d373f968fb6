"""How a task wants text generated: lengths, stop strings and sampling, read as lm-eval's vLLM class reads them."""

from dataclasses import dataclass
from typing import Any

from swiftkv_bench.errors import ScoringError


@dataclass(frozen=True)
class Wish:
    """What a task's `generation_kwargs` come to.

    Attributes:
        max_tokens: most tokens to generate.
        until: texts at which an answer ends, the end-of-text token among them.
        stop: those of them that the engine is told: all, or end-of-text alone where an answer begins after thinking.
        sampling: what else the engine is told, sorted; empty for a greedy answer without more.
        is_sampled: whether another seed may give another answer.
    """

    max_tokens: int
    until: tuple[str, ...]
    stop: tuple[str, ...]
    sampling: tuple[tuple[str, Any], ...]
    is_sampled: bool


def wish(options: dict[str, Any], *, max_gen_tokens: int, eos_text: str | None, thinks: bool) -> Wish:
    """Reads `generation_kwargs` with lm-eval's own code.

    Args:
        max_gen_tokens: generation limit where the task names none.
        thinks: an answer begins after a think-end token, so the task's stop strings are applied afterwards.
    """
    from lm_eval.models.utils import handle_stop_sequences, normalize_gen_kwargs

    read: dict[str, Any] = dict(normalize_gen_kwargs(options, default_max_gen_toks=max_gen_tokens))
    until = tuple(handle_stop_sequences([text for text in read.pop("until") if text], eos=eos_text))
    max_tokens = int(read.pop("max_gen_toks"))
    read.pop("do_sample", None)
    temperature = float(read.pop("temperature", 0.0))
    sampled = temperature > 0.0
    if sampled:
        read["temperature"] = temperature
    for key in ("num_beams", "n", "best_of"):
        read.pop(key, None)
    stop = tuple(text for text in until if text == eos_text) if thinks else until
    return Wish(max_tokens, until, stop, tuple(sorted(read.items())), sampled)


def answer_text(text: str, until: tuple[str, ...], think_end_token: str | None) -> str:
    """The answer in a generated text: after its thinking, before the first stop string; lm-eval's own code."""
    from lm_eval.models.utils import postprocess_generated_text

    return str(postprocess_generated_text(text, list(until), think_end_token))


def valid_text(text: Any) -> str:
    """A text that can be written: halves of characters joined, lone halves replaced.

    Raises:
        ScoringError: it is no text.
    """
    if not isinstance(text, str):
        raise ScoringError(f"the engine's answer has {text!r:.40} where text is wanted")
    return text if text.isascii() else text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
