"""Secrets are recognised by name and replaced everywhere."""

import pytest

from swiftkv_bench import redaction


@pytest.mark.parametrize("name", ["HF_TOKEN", "api-key", "OPENAI_API_KEY", "AWS_SECRET_ACCESS_KEY", "password"])
def test_secret_names_are_recognised(name: str) -> None:
    assert redaction.is_secret(name)


@pytest.mark.parametrize(
    "name", ["max-num-batched-tokens", "tokenizer", "TOKENIZERS_PARALLELISM", "max_tokens", "dtype"]
)
def test_ordinary_engine_options_are_not_secret(name: str) -> None:
    assert not redaction.is_secret(name)


def test_command_lines_lose_secrets_in_every_form() -> None:
    command = ["vllm", "--api-key", "s3cret99", "--api-key=s3cret99", "HF_TOKEN=hf_abc", "--port", "1"]
    assert redaction.redact_command(command) == (
        "vllm", "--api-key", "***", "--api-key=***", "HF_TOKEN=***", "--port", "1",
    )  # fmt: skip


def test_text_loses_every_occurrence_and_longer_secrets_first() -> None:
    assert redaction.redact_text("a=abcdef-ghi b=abcdef", {"abcdef", "abcdef-ghi"}) == "a=*** b=***"
