"""What a server says of a failure: its own words, as one line that may be printed."""

import json
from collections.abc import Iterable

_CHARACTERS = 300


def said_of(body: bytes) -> str:
    """The message of an error body as OpenAI, FastAPI (`detail`) or a bare object write it, else its beginning."""
    text = body.decode("utf-8-sig", "replace")
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return _plain(text)
    error = value.get("error") or value.get("detail") or value if isinstance(value, dict) else value
    message = error.get("message", text) if isinstance(error, dict) else str(error)
    return _plain(str(message))


def likely_cause(errors: Iterable[str]) -> str | None:
    """What the user most likely has to mend where servers refuse with these sentences; None where nobody knows."""
    if any("vocab" in text.lower() for text in errors):
        return "The tokenizer is probably not that of the served model: name the model's own with --tokenizer."
    return None


def _plain(text: str) -> str:
    """One line that a terminal may show."""
    return "".join(c for c in " ".join(text.split()) if c.isprintable())[:_CHARACTERS] or "no message"
