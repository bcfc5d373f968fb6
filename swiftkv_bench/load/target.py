"""Where requests go and what every one of them says besides its prompt."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal
from urllib.parse import urlsplit

from swiftkv_bench.access import OPEN, Access, Route

Api = Literal["completions", "chat"]
SALT_HEX = 24
"""Digits of a cache salt; the last eight are free for the rounds of load beyond the measured requests."""


@dataclass(frozen=True)
class Target:
    """An OpenAI-compatible server and how to speak to it."""

    base_url: str
    """Scheme, host and port, with a path prefix where there is one; without `/v1`."""
    model: str
    """Model name to send."""
    vocabulary: tuple[tuple[int, int], ...] = ()
    """Half-open ranges of token ids for random prompts; special tokens left out."""
    api: Api = "completions"
    """`completions` takes token ids; `chat` takes text only."""
    access: Access = OPEN
    """Key, certificates and proxy."""
    usage_per_chunk: bool = True
    """Ask for running token counts in every chunk (`continuous_usage_stats`), so that tokens per chunk are known."""
    extra_body: Mapping[str, Any] = field(default_factory=dict)
    """Further fields of every request body; they win over the tool's own, and None takes a field out."""
    ignore_eos: bool = True
    """Ask for the whole output length, end-of-text ignored."""
    cache_salt: str | None = None
    """What begins the salt of the server's prefix cache (`SALT_HEX` - 8 digits); None: prompts differ by themselves."""

    @property
    def salted(self) -> bool:
        """Requests carry a salt of ours."""
        return self.cache_salt is not None and "cache_salt" not in self.extra_body

    @cached_property
    def route(self) -> Route:
        """The way there.

        Raises:
            InputError: `base_url` is no address of a server, or the proxy is none.
        """
        return self.access.route(self.base_url)

    @property
    def path(self) -> str:
        """Path requests are posted to."""
        endpoint = "/v1/completions" if self.api == "completions" else "/v1/chat/completions"
        return urlsplit(self.base_url).path.rstrip("/") + endpoint
