"""The running engine that one arm's items are put to."""

from dataclasses import dataclass

from swiftkv_bench.access import OPEN, Access


@dataclass(frozen=True)
class Target:
    """A running engine of one arm and what must be known to ask it.

    Attributes:
        base_url: scheme, host and port, without `/v1`.
        served_model: model name to send.
        tokenizer: Hugging Face id or folder of the tokenizer.
        engine_key: identity of model, revision and engine configuration; part of every journal key.
        max_model_len: context length, tokens.
        access: key, certificates and proxy.
    """

    base_url: str
    served_model: str
    tokenizer: str
    engine_key: str
    max_model_len: int
    tokenizer_revision: str | None = None
    access: Access = OPEN

    @property
    def tokenization(self) -> tuple[str, str | None, int]:
        """What a prompt's token ids depend on."""
        return self.tokenizer, self.tokenizer_revision, self.max_model_len
