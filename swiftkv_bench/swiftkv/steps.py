"""What a forward pass of real requests needs; the runner-specific sides that find it out are ``tracker`` and
``model_state``, and the metadata builder of ``backend`` acts on it."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from swiftkv_bench.swiftkv.admission import FULL_DEPTH
from swiftkv_bench.swiftkv.rows import Selection, select_rows

__all__ = ["Step", "needs_all_rows", "take_step"]


@dataclass(frozen=True)
class Step:
    """One forward pass.

    Attributes:
        tokens: tokens of its requests, without padding.
        prompt_tokens: of these, tokens of requests still computing their prompt.
        selection: the rows that run the second half; None when all do.
    """

    tokens: int
    prompt_tokens: int
    selection: Selection | None

    @property
    def second_half_tokens(self) -> int:
        """Tokens that run the second half."""
        return self.tokens if self.selection is None else len(self.selection.indices)


def needs_all_rows(params: Any) -> bool:
    """Whether a request wants logprobs of its prompt (``prompt_logprobs=0`` wants the chosen token's) or full depth."""
    if params is None:
        return False
    if params.prompt_logprobs is not None or getattr(params, "prompt_logprob_token_ids", None) is not None:
        return True
    extra = params.extra_args
    return bool(extra and extra.get(FULL_DEPTH))


def take_step(
    query_start: npt.NDArray[np.integer],
    prefilling: npt.NDArray[np.bool_],
    seq_lens: npt.NDArray[np.integer],
    prompt_lens: npt.NDArray[np.integer],
    needs_all: npt.NDArray[np.bool_],
    drafts: npt.NDArray[np.bool_] | None = None,
    *,
    skips: bool,
) -> Step:
    """Decide a step from its batch.

    Args:
        query_start: shape (requests + 1,); a full CUDA graph pads it with requests that bring no tokens.
        prefilling, seq_lens, prompt_lens, needs_all, drafts: one value a request, as ``select_rows`` takes them;
            padding may be missing from any of them.
        skips: whether rows may be left out.
    """
    requests = len(query_start) - 1
    lengths = np.diff(query_start)
    selection = None
    if skips and lengths.max(initial=0) > 1:
        selection = select_rows(
            query_start,
            _padded(seq_lens, requests),
            _padded(prompt_lens, requests),
            _padded(needs_all, requests),
            None if drafts is None else _padded(drafts, requests),
        )
    return Step(int(query_start[-1]), int(lengths[_padded(prefilling, requests)].sum()), selection)


def _padded(values: npt.NDArray[Any], requests: int) -> npt.NDArray[Any]:
    """``values`` of the first ``requests`` rows; missing ones are 0 or false."""
    missing = requests - len(values)
    return np.pad(values, (0, missing)) if missing > 0 else values[:requests]
