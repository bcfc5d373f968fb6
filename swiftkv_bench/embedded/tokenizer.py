"""The tokenizer folder files of the embedded pair: Llama 3's special tokens and chat format over a BPE.

Leaves the choice of the words to ``vocabulary``.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from swiftkv_bench.embedded.architecture import (
    BEGIN_OF_TEXT,
    END_HEADER,
    END_OF_TEXT,
    END_OF_TURN,
    SPECIAL_TOKEN_IDS,
    SPECIAL_TOKENS,
    START_HEADER,
)

#: Llama 3's format; the text of each turn is stripped as there.
CHAT_TEMPLATE = (
    "{{- bos_token }}"
    "{%- for message in messages %}"
    "{{- '" + START_HEADER + "' + message['role'] + '" + END_HEADER + "\\n\\n'"
    " + message['content'] | trim + '" + END_OF_TURN + "' }}"
    "{%- endfor %}"
    "{%- if add_generation_prompt %}"
    "{{- '" + START_HEADER + "assistant" + END_HEADER + "\\n\\n' }}"
    "{%- endif %}"
)


def byte_alphabet() -> list[str]:
    """The character that stands for each byte 0..255 in a byte-level BPE (GPT-2's table)."""
    printable = [*range(ord("!"), ord("~") + 1), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    characters = {byte: chr(byte) for byte in printable}
    unprintable = (byte for byte in range(256) if byte not in characters)
    characters |= {byte: chr(0x100 + index) for index, byte in enumerate(unprintable)}
    return [characters[byte] for byte in range(256)]


def tokenizer_json(words: Sequence[str]) -> dict[str, Any]:
    """Content of ``tokenizer.json``: byte-level BPE in which each given word is one token, as is each digit.

    Words are written in the byte alphabet (a leading space is ``Ġ``). Like Llama 3's tokenizer it looks a
    word up before it merges; there are no merges, so any other word becomes bytes and every text has an
    encoding. Ids: special tokens, the 256 bytes, the words. Encoding with special tokens puts
    ``<|begin_of_text|>`` in front.
    """
    vocabulary = [*SPECIAL_TOKENS, *byte_alphabet(), *words]
    begin = SPECIAL_TOKEN_IDS[BEGIN_OF_TEXT]
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [
            {
                "id": index,
                "content": token,
                "single_word": False,
                "lstrip": False,
                "rstrip": False,
                "normalized": False,
                "special": True,
            }
            for token, index in SPECIAL_TOKEN_IDS.items()
        ],
        "normalizer": None,
        "pre_tokenizer": {
            "type": "Sequence",
            "pretokenizers": [
                {"type": "Digits", "individual_digits": True},
                {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True},
            ],
        },
        "post_processor": {
            "type": "TemplateProcessing",
            "single": [
                {"SpecialToken": {"id": BEGIN_OF_TEXT, "type_id": 0}},
                {"Sequence": {"id": "A", "type_id": 0}},
            ],
            "pair": [
                {"SpecialToken": {"id": BEGIN_OF_TEXT, "type_id": 0}},
                {"Sequence": {"id": "A", "type_id": 0}},
                {"Sequence": {"id": "B", "type_id": 0}},
            ],
            "special_tokens": {BEGIN_OF_TEXT: {"id": BEGIN_OF_TEXT, "ids": [begin], "tokens": [BEGIN_OF_TEXT]}},
        },
        "decoder": {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True},
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": None,
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": False,
            "byte_fallback": False,
            "ignore_merges": True,
            "vocab": {token: index for index, token in enumerate(vocabulary)},
            "merges": [],
        },
    }


def write_tokenizer(folder: Path, tokenizer: dict[str, Any], model_max_length: int) -> None:
    """Write the tokenizer files that transformers and vLLM look for in a checkpoint folder."""
    settings = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": BEGIN_OF_TEXT,
        "eos_token": END_OF_TURN,
        "pad_token": END_OF_TEXT,
        "clean_up_tokenization_spaces": False,
        "model_max_length": model_max_length,
        "chat_template": CHAT_TEMPLATE,
    }
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer, ensure_ascii=False), encoding="utf-8")
    (folder / "tokenizer_config.json").write_text(json.dumps(settings, indent=1), encoding="utf-8")
