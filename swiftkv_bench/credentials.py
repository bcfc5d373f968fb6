"""What a server is shown so that it answers: API keys, and names and passwords in URLs. Never written down."""

import base64
import re
from urllib.parse import SplitResult, unquote, urlsplit, urlunsplit

from swiftkv_bench.errors import InputError

_SHORTEST = 4
"""Letters of a secret that is looked for in texts: shorter ones stand in words."""
_USERINFO = re.compile(r"(?<=://)[^/?#\s@]*@")
"""`user:password@` of a URL in any text; a password that holds an @ of its own must be written %40."""


def clean_key(text: str | None, where: str) -> str | None:
    """A key without the white space around it, as a file or a shell leaves it there; None where nothing is left.

    Raises:
        InputError: it holds what no header may hold; the message does not show it.
    """
    key = (text or "").strip()
    if not all(c.isprintable() and c.isascii() for c in key):
        raise InputError(
            f"{where} holds a control character or a letter beyond ASCII, which no header may hold; set it again "
            "(the value is not shown)"
        )
    return key or None


def authorization(key: str) -> str:
    """The `Authorization` header: a key is a bearer token; one with a scheme of its own (`Basic ...`) is sent whole."""
    return key if " " in key else f"Bearer {key}"


def split_url(url: str) -> tuple[str, str | None]:
    """A URL without `user:password@`, and the key that says the same in a header; None where it has none."""
    parts = urlsplit(url)
    key = basic(parts)
    return url if key is None else urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2])), key


def basic(parts: SplitResult) -> str | None:
    """What an authorization header says of a URL's `user:password@`; None where it has none."""
    if parts.username is None:
        return None
    said = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
    return f"Basic {base64.b64encode(said.encode()).decode()}"


def secrets_of(key: str | None) -> frozenset[str]:
    """What no text may show of a key: itself, and of a basic one the name and password in it."""
    scheme, _, said = (key or "").rpartition(" ")
    found = {said}
    if scheme.lower() == "basic":
        plain = base64.b64decode(said).decode("utf-8", "replace")
        found |= {plain, plain.partition(":")[2]}
    return frozenset(one for one in found if len(one) >= _SHORTEST)


def hidden(text: str, mask: str = "***@") -> str:
    """A text in which no URL shows a name or a password."""
    return _USERINFO.sub(mask, text)
