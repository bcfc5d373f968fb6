"""Text to token ids: chat template, begin-of-text token, and the cut between context and continuation.

Every prompt leaves the harness as token ids, so the server tokenises nothing.
"""

from functools import lru_cache
from pathlib import Path
from typing import Any

from swiftkv_bench.errors import InputError


class Prompter:
    """The tokenizer of one model, loaded without torch.

    Attributes:
        bos_id: id of the begin-of-text token; None where the tokenizer has none.
        eos_text: end-of-text token as text; None where the tokenizer has none.
        vocabulary: number of token ids.
    """

    def __init__(self, tokenizer: str, revision: str | None = None) -> None:
        self._tokenizer = _load(tokenizer, revision)
        self.bos_id: int | None = self._tokenizer.bos_token_id
        self.eos_text: str | None = self._tokenizer.eos_token
        self.vocabulary: int = len(self._tokenizer)

    def chat(self, history: list[dict[str, str]], add_generation_prompt: bool = True) -> str:
        """A conversation as text; without a generation prompt the last turn is left open to be continued.

        Raises:
            InputError: the tokenizer has no chat template.
        """
        if self._tokenizer.chat_template is None:
            raise InputError(
                f"tokenizer {self._tokenizer.name_or_path} has no chat template, which this column needs; "
                f"choose columns without one or another tokenizer"
            )
        text: str = self._tokenizer.apply_chat_template(
            history,
            tokenize=False,
            add_generation_prompt=add_generation_prompt,
            continue_final_message=not add_generation_prompt,
        )
        return text

    def encode(self, text: str, *, add_bos: bool) -> list[int]:
        """Token ids of a text. With `add_bos` they begin with exactly one begin-of-text token, where there is one."""
        ids: list[int] = self._tokenizer(text, add_special_tokens=False).input_ids
        if add_bos and self.bos_id is not None and ids[:1] != [self.bos_id]:
            ids = [self.bos_id, *ids]
        return ids

    def encode_pair(self, context: str, continuation: str, *, add_bos: bool) -> tuple[list[int], list[int]]:
        """Token ids of a context and of its continuation.

        As lm-eval's `TemplateLM._encode_pair`: white space at the context's end moves to the continuation, and
        the continuation is what follows the context's own tokens in the encoding of both together. An empty
        context becomes the begin-of-text token, or the end-of-text token where there is none.
        """
        if not context:
            start = self.bos_id if self.bos_id is not None else self._tokenizer.eos_token_id
            return [start], self.encode(continuation, add_bos=False)
        stripped = context.rstrip()
        continuation = context[len(stripped) :] + continuation
        whole = self.encode(stripped + continuation, add_bos=add_bos)
        head = self.encode(stripped, add_bos=add_bos)
        return head, whole[len(head) :]


@lru_cache(maxsize=4)
def _load(tokenizer: str, revision: str | None) -> Any:
    # The module of AutoTokenizer imports torch, 5 s; every tokenizer of the SwiftKV models is a fast one.
    from transformers import PreTrainedTokenizerFast

    try:
        return PreTrainedTokenizerFast.from_pretrained(tokenizer, revision=revision or "main")
    except (OSError, ValueError) as e:
        where = "the folder holds no tokenizer.json" if Path(tokenizer).is_dir() else str(e).splitlines()[0]
        raise InputError(f"cannot load the tokenizer {tokenizer}: {where}; name another with --tokenizer") from e
