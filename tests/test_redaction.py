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


def test_command_lines_lose_secrets_within_a_value_and_credentials_of_urls() -> None:
    command = ["perf", "--engine-env=HF_TOKEN=hf_abc=", "--baseline-url=http://me:pw99@host:1/v1", "--swiftkv-url",
               "https://me:p%40w@host", "--seed", "3"]  # fmt: skip
    assert redaction.redact_command(command) == (
        "perf", "--engine-env=HF_TOKEN=***", "--baseline-url=http://***@host:1/v1", "--swiftkv-url",
        "https://***@host", "--seed", "3",
    )  # fmt: skip


def test_a_secret_is_found_without_the_line_end_it_was_stored_with(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-12345678\n")
    assert redaction.redact_text("key sk-12345678 is wrong", redaction.secret_values()) == "key *** is wrong"
