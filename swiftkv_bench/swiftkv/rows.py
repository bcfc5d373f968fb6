"""Which rows of a batch run the second half. Pure: numpy arrays in, numpy arrays out.

A batch is a list of requests; request r brings ``query_start[r + 1] - query_start[r]`` consecutive tokens
(rows of the hidden state). Causal attention masks are aligned to the end of a request's tokens, so the only
subsets that a later layer can attend with are the last token, all tokens, or none.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

__all__ = ["Selection", "select_rows"]


@dataclass(frozen=True)
class Selection:
    """The rows that run the second half, in batch order.

    Attributes:
        indices: positions in the batch's token axis, int64, shape (n,); strictly increasing; empty when no
            request needs logits.
        query_start: the same batch after selection: request r owns rows query_start[r] .. query_start[r + 1],
            int32, shape (requests + 1,).
        max_query_len: longest request after selection, in tokens.
    """

    indices: npt.NDArray[np.int64]
    query_start: npt.NDArray[np.int32]
    max_query_len: int


def select_rows(
    query_start: npt.NDArray[np.integer],
    seq_lens: npt.NDArray[np.integer],
    prompt_lens: npt.NDArray[np.integer],
    needs_all: npt.NDArray[np.bool_],
    drafts: npt.NDArray[np.bool_] | None = None,
) -> Selection | None:
    """Choose the rows whose logits somebody will read.

    * all tokens of a request that needs prompt logprobs (``needs_all``) or whose tokens are drafts to verify;
    * the last token of any other request that has tokens, and
    * no token at all when every request with tokens is in the middle of its prompt
      (``seq_lens`` < ``prompt_lens``). With company a middle chunk's last token runs along: vLLM samples from
      it and throws the sample away, one row costs nothing beside the others, and its hidden state stays
      a true one.

    Args:
        query_start: shape (requests + 1,); a request without tokens is padding.
        seq_lens: tokens of each request that are in the cache after this step, shape (requests,).
        prompt_lens: prompt length of each request; 0 where unknown, which counts as "logits needed".
        needs_all: shape (requests,).
        drafts: requests whose tokens all need logits because they verify drafts; None without drafts.

    Returns:
        None when every row runs, so that nothing needs to be gathered.
    """
    tokens = np.diff(query_start)
    every = needs_all if drafts is None else needs_all | drafts
    present = tokens > 0
    unfinished = seq_lens < prompt_lens
    if not np.any(present & (every | ~unfinished)):
        kept = np.zeros_like(tokens)
    else:
        kept = np.where(every, tokens, np.minimum(tokens, 1))
    total = int(kept.sum())
    if total == int(query_start[-1]):
        return None
    selected_start = np.zeros(len(query_start), dtype=np.int32)
    np.cumsum(kept, out=selected_start[1:])
    # Request r keeps its last kept[r] tokens: they start at query_start[r + 1] - kept[r].
    shift = query_start[1:] - kept - selected_start[:-1]
    indices = np.repeat(shift, kept).astype(np.int64) + np.arange(total, dtype=np.int64)
    return Selection(indices, selected_start, int(kept.max(initial=0)))
