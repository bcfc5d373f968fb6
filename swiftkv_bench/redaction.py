"""Keeps secrets out of logs, manifests and reports.

A secret is the value of an option or environment variable whose name says so, or `user:password` of a URL. Engines
receive it; what is written down holds `***` in its place.
"""

import os
import re
from collections.abc import Iterable, Mapping, Sequence

from swiftkv_bench import credentials

MASK = "***"
_SECRET_NAME = re.compile(r"(token|api[-_]?key|secret|passw|credential|auth(?!or)|private[-_]?key)", re.IGNORECASE)
_NOT_SECRET = re.compile(r"(tokens$|tokeniz|max[-_]?token|token[-_]?(ids?|len|limit)|num[-_])", re.IGNORECASE)
_SHORTEST = 6


def is_secret(name: str) -> bool:
    """Whether an option or environment variable of this name holds a secret."""
    return bool(_SECRET_NAME.search(name)) and not _NOT_SECRET.search(name)


def redact_mapping(values: Mapping[str, str]) -> dict[str, str]:
    """The same names, secret values replaced."""
    return {k: MASK if is_secret(k) else v for k, v in values.items()}


def redact_command(command: Sequence[str]) -> tuple[str, ...]:
    """A command line without secrets: `--api-key V`, `--api-key=V`, `HF_TOKEN=V`, `--engine-env=HF_TOKEN=V`, URLs."""
    out: list[str] = []
    hide_next = False
    for word in command:
        names = word.split("=")[:-1]
        secret = next((i for i, name in enumerate(names, 1) if is_secret(name)), None)
        if hide_next and not word.startswith("-"):
            out.append(MASK)
            hide_next = False
        elif secret is not None:
            out.append("=".join([*names[:secret], MASK]))
            hide_next = False
        else:
            hide_next = word.startswith("-") and not names and is_secret(word)
            out.append(credentials.hidden(word))
    return tuple(out)


def secret_values(*sources: Mapping[str, str]) -> frozenset[str]:
    """Values of secret names in this process's environment and in the given mappings, as they are and as they are
    sent: without white space around them."""
    named = [v for source in (os.environ, *sources) for k, v in source.items() if is_secret(k)]
    return frozenset(v for value in named for v in (value, value.strip()) if len(v) >= _SHORTEST)


def redact_text(text: str, secrets: Iterable[str]) -> str:
    """`text` with every occurrence of a secret replaced."""
    for secret in sorted(secrets, key=len, reverse=True):
        text = text.replace(secret, MASK)
    return text
