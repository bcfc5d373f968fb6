"""The tokenizer of a model: conversations to text, texts to token ids.

Every prompt leaves the harness as token ids, so the server tokenises nothing.
"""

from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path
from typing import Any

from swiftkv_bench.accuracy.notices import notice
from swiftkv_bench.errors import InputError


class Prompter:
    """The tokenizer of one model, loaded without torch.

    Attributes:
        bos_id: id of the begin-of-text token; None where the tokenizer has none.
        start_id: token that stands for an empty context: begin of text, or end of text where there is none.
        eos_text: end-of-text token as text; None where the tokenizer has none.
        vocabulary: number of token ids.
    """

    def __init__(self, tokenizer: str, revision: str | None = None) -> None:
        self._tokenizer = _load(tokenizer, revision)
        self.bos_id: int | None = self._tokenizer.bos_token_id
        self.start_id: int | None = self.bos_id if self.bos_id is not None else self._tokenizer.eos_token_id
        self.eos_text: str | None = self._tokenizer.eos_token
        self.vocabulary: int = len(self._tokenizer)

    def chat(self, history: list[dict[str, str]], add_generation_prompt: bool = True) -> str:
        """A conversation as text; without a generation prompt the last turn is left open to be continued.

        A template that refuses a conversation gets it without its system turns, as from lm-eval.

        Raises:
            InputError: the tokenizer has no chat template.
        """
        if self._tokenizer.chat_template is None:
            raise InputError(
                f"tokenizer {self._tokenizer.name_or_path} has no chat template, which this column needs; "
                f"choose columns without one or another tokenizer"
            )
        from jinja2 import TemplateError

        options = {
            "tokenize": False,
            "add_generation_prompt": add_generation_prompt,
            "continue_final_message": not add_generation_prompt,
        }
        try:
            text: str = self._tokenizer.apply_chat_template(history, **options)
        except TemplateError:
            notice("system-turn", "the chat template takes no system turn, so the task's description was left out")
            users = [turn for turn in history if turn["role"] != "system"]
            text = self._tokenizer.apply_chat_template(users, **options)
        return text

    def without_special(self, text: str) -> str:
        """A text without the names of special tokens, as other tools decode it."""
        for token in self._tokenizer.added_tokens_decoder.values():
            if token.special:
                text = text.replace(token.content, "")
        return text

    def encode(self, texts: Iterable[str]) -> dict[str, list[int]]:
        """Token ids of each distinct text, no special tokens added; all processors share the work."""
        distinct = list(dict.fromkeys(texts))
        ids = self._tokenizer(distinct, add_special_tokens=False).input_ids if distinct else []
        return dict(zip(distinct, ids, strict=True))


@lru_cache(maxsize=4)
def _load(tokenizer: str, revision: str | None) -> Any:
    # The module of AutoTokenizer imports torch, 5 s; every tokenizer of the SwiftKV models is a fast one.
    from transformers import PreTrainedTokenizerFast

    try:
        return PreTrainedTokenizerFast.from_pretrained(tokenizer, revision=revision or "main")
    except (OSError, ValueError) as e:
        where = "the folder holds no tokenizer.json" if Path(tokenizer).is_dir() else str(e).splitlines()[0]
        raise InputError(f"cannot load the tokenizer {tokenizer}: {where}; name another with --tokenizer") from e
