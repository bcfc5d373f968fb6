"""Where requests go and what every one of them says besides its prompt."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal
from urllib.parse import urlsplit

from swiftkv_bench.errors import InputError

Api = Literal["completions", "chat"]


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
    api_key: str | None = field(default=None, repr=False)
    """Bearer token; never recorded."""
    ca_file: str | None = None
    """Certificate authority for https; None uses the system's."""
    verify_tls: bool = True
    """False accepts any certificate."""
    usage_per_chunk: bool = True
    """Ask for running token counts in every chunk (`continuous_usage_stats`), so that tokens per chunk are known."""
    extra_body: Mapping[str, Any] = field(default_factory=dict)
    """Further fields of every request body; they win over the tool's own."""

    @property
    def address(self) -> tuple[str, int]:
        """Host and port to connect to."""
        parts = urlsplit(self.base_url)
        if parts.scheme not in ("http", "https") or parts.hostname is None:
            raise InputError(f"--url {self.base_url} is no address of a server; give http://host:port")
        return parts.hostname, parts.port or (443 if parts.scheme == "https" else 80)

    @property
    def tls(self) -> bool:
        """Whether the connection is encrypted."""
        return urlsplit(self.base_url).scheme == "https"

    @property
    def path(self) -> str:
        """Path requests are posted to."""
        endpoint = "/v1/completions" if self.api == "completions" else "/v1/chat/completions"
        return urlsplit(self.base_url).path.rstrip("/") + endpoint
