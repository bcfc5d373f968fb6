"""The tokenizer of models without weights: a word for every id that the model can emit.

Servers turn answers into text token by token. Where a new token adds no text, because the tokenizer does not know
its id, vLLM's incremental decoder decodes the whole prompt again at every step: milliseconds a token and request at
8,000 prompt tokens, and the server, not the model, is what a benchmark measures.
"""

import json
from pathlib import Path


def write_word_tokenizer(folder: Path, vocab_size: int, model_max_length: int) -> None:
    """Writes tokenizer.json and tokenizer_config.json: id i is the word `ti`, words are apart by spaces.

    Args:
        vocab_size: ids 0 .. vocab_size - 1 have a word; none is special.
        model_max_length: context length that the tokenizer states, tokens.
    """
    tokenizer: dict[str, object] = {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [],
        "normalizer": None,
        "pre_tokenizer": {"type": "WhitespaceSplit"},
        "post_processor": None,
        "decoder": None,
        "model": {"type": "WordLevel", "vocab": {f"t{i}": i for i in range(vocab_size)}, "unk_token": "t0"},
    }
    settings = {"tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": model_max_length}
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer))
    (folder / "tokenizer_config.json").write_text(json.dumps(settings, indent=1))
