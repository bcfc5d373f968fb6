"""Forced decode: an engine emits the tokens a request names and reports the log-probability of each.

The exact way to score a given text on an engine that skips layers for prompt tokens: every scored token is a
decoded one, the context may come from the prefix cache, and vLLM takes raw log-probabilities before logits
processors run. A request asks for it with ``vllm_xargs={"swiftkv_forced_tokens": [...]}``; all other requests
are untouched. Loaded into every vLLM of the environment by its entry point, for any model.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from swiftkv_bench.swiftkv.admission import check_forced_tokens, forced_tokens, remember
from swiftkv_bench.swiftkv.compat import logits_processor_bases

if TYPE_CHECKING:
    import torch

__all__ = ["ForcedTokens"]


class ForcedTokens(*logits_processor_bases()):  # type: ignore[misc]
    """Leaves one token possible in the rows of requests that name their tokens."""

    def __init__(self, vllm_config: Any, *runner_specific: Any) -> None:
        remember(self, vllm_config)
        # V1: row -> (tokens to emit, the request's growing list of emitted tokens).
        self._rows: dict[int, tuple[Sequence[int], Sequence[int]]] = {}
        # V2: slot -> tokens to emit; the runner's own buffers tell how far each request is.
        self._slots: dict[int, Sequence[int]] = {}
        self._requests: Any = runner_specific[0] if runner_specific else None

    @classmethod
    def validate_params(cls, sampling_params: Any) -> None:
        """Refuse what cannot be emitted, when the request arrives; as ``check_forced_tokens``."""
        check_forced_tokens(sampling_params)

    def is_argmax_invariant(self) -> bool:
        """False: greedy sampling must see the changed logits."""
        return False

    def update_state(self, batch_update: Any) -> None:
        """V1 runner, once before every forward: follow requests through the persistent batch's rows."""
        from vllm.v1.sample.logits_processor.builtin import process_dict_updates

        def state(params: Any, _prompt: Any, output: Sequence[int]) -> tuple[Sequence[int], Sequence[int]] | None:
            tokens = forced_tokens(params)
            return None if tokens is None else (tokens, output)

        process_dict_updates(self._rows, batch_update, state)

    def add_request(self, req_idx: int, sampling_params: Any) -> bool:
        """V2 runner: a request enters slot ``req_idx``. Returns whether its logits are changed."""
        tokens = forced_tokens(sampling_params)
        if tokens is None:
            self._slots.pop(req_idx, None)
            return False
        self._slots[req_idx] = tokens
        return True

    def apply(self, logits: "torch.Tensor", context: Any = None) -> "torch.Tensor":
        """Change the rows of forced requests in place, shape (rows, vocabulary)."""
        if context is not None and len(context.expanded_idx_mapping) != len(context.idx_mapping_np):
            return self._apply_to_drafts(logits, context)
        wanted = self._wanted_v1() if context is None else self._wanted_v2(context)
        if wanted:
            import torch

            # Admission lets an id beyond the vocabulary pass where it does not know the model: it forces nothing.
            wanted = {row: token for row, token in wanted.items() if token < logits.shape[-1]}
            rows = torch.tensor(list(wanted), dtype=torch.int64, device=logits.device)
            tokens = torch.tensor(list(wanted.values()), dtype=torch.int64, device=logits.device)
            logits[rows] = float("-inf")
            logits[rows, tokens] = 0.0
        return logits

    def _apply_to_drafts(self, logits: "torch.Tensor", context: Any) -> "torch.Tensor":
        """V2 runner with speculative decoding: a request has a row a draft, and only the device knows their positions.

        A draft that is not the wanted token is rejected, since its row allows the wanted one alone.
        """
        import torch

        slots = context.expanded_idx_mapping
        steps = context.pos + 1 - self._requests.prompt_len.gpu[slots]
        for slot in context.idx_mapping_np.tolist():
            if slot not in self._slots:
                continue
            tokens = torch.tensor(self._slots[slot], dtype=torch.int64, device=logits.device)
            wanted = tokens[steps.long().clamp(0, len(tokens) - 1)]
            forced = (slots == slot) & (steps >= 0) & (steps < len(tokens)) & (wanted < logits.shape[-1])
            columns = wanted.clamp(max=logits.shape[-1] - 1)[:, None]
            logits.masked_fill_(forced[:, None], float("-inf"))
            logits.scatter_(1, columns, logits.gather(1, columns).masked_fill(forced[:, None], 0.0))
        return logits

    def _wanted_v1(self) -> dict[int, int]:
        """Row -> token to emit now. Under asynchronous scheduling placeholders stand for emitted tokens."""
        return {row: tokens[len(output)] for row, (tokens, output) in self._rows.items() if len(output) < len(tokens)}

    def _wanted_v2(self, context: Any) -> dict[int, int]:
        """The same from the runner's buffers; without speculative decoding there is one row a request."""
        if not self._slots:
            return {}
        wanted = {}
        for row, slot in enumerate(context.idx_mapping_np.tolist()):
            tokens = self._slots.get(slot)
            if tokens is None:
                continue
            emitted = int(context.seq_lens_upper_bound_np[row]) - int(self._requests.prompt_len.np[slot])
            if 0 <= emitted < len(tokens):
                wanted[row] = tokens[emitted]
        return wanted
