"""Keeps secrets out of logs, manifests and reports.

A secret is the value of an option or environment variable whose name says so. Engines receive it; what is
written down holds `***` in its place.
"""

import os
import re
from collections.abc import Iterable, Mapping, Sequence

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
    """A command line without secrets, in `--api-key V`, `--api-key=V` and `HF_TOKEN=V` form alike."""
    out: list[str] = []
    hide_next = False
    for word in command:
        name, equals, _ = word.partition("=")
        if hide_next and not word.startswith("-"):
            out.append(MASK)
            hide_next = False
        elif equals and is_secret(name):
            out.append(f"{name}={MASK}")
        else:
            hide_next = word.startswith("-") and is_secret(word)
            out.append(word)
    return tuple(out)


def secret_values(*sources: Mapping[str, str]) -> frozenset[str]:
    """Values of secret names in this process's environment and in the given mappings."""
    return frozenset(
        v for source in (os.environ, *sources) for k, v in source.items() if is_secret(k) and len(v) >= _SHORTEST
    )


def redact_text(text: str, secrets: Iterable[str]) -> str:
    """`text` with every occurrence of a secret replaced."""
    for secret in sorted(secrets, key=len, reverse=True):
        text = text.replace(secret, MASK)
    return text
