"""How a server is reached: with which key and certificates, directly or through a proxy.

One rule for every HTTP client of the product. A loopback address, and so every engine that it starts itself, is never
reached through a proxy. Any other goes through `--proxy`, else through what the environment names (`HTTP_PROXY`,
`HTTPS_PROXY`, `ALL_PROXY`, in either case) unless `NO_PROXY` lists the host. Key and proxy are never recorded.
"""

import ipaddress
import ssl
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import SplitResult, urlsplit

from swiftkv_bench import credentials, redaction
from swiftkv_bench.errors import InputError

_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True)
class Proxy:
    """An HTTP proxy."""

    host: str
    port: int
    source: str
    """Flag or kind of variable that named it."""
    authorization: str | None = field(default=None, repr=False)
    """Value of Proxy-Authorization."""

    @property
    def headers(self) -> Mapping[str, str]:
        """Headers for the proxy alone."""
        return {} if self.authorization is None else {"Proxy-Authorization": self.authorization}


@dataclass(frozen=True)
class Route:
    """The way to one server."""

    host: str
    port: int
    tls: bool
    proxy: Proxy | None

    @property
    def address(self) -> tuple[str, int]:
        """Where to connect to: the proxy, or the server itself."""
        return (self.host, self.port) if self.proxy is None else (self.proxy.host, self.proxy.port)

    @property
    def authority(self) -> str:
        """Host and port as a request names them."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"

    @property
    def forwards(self) -> bool:
        """Whether a proxy reads the requests, which then name the whole address; through TLS it cannot."""
        return self.proxy is not None and not self.tls

    @property
    def headers(self) -> Mapping[str, str]:
        """Headers that requests carry for the way: those of a proxy that reads them."""
        return self.proxy.headers if self.proxy is not None and self.forwards else {}

    def target(self, path: str) -> str:
        """What a request asks for: the path, or the whole address where a proxy forwards it."""
        return f"http://{self.authority}{path}" if self.forwards else path

    @property
    def via(self) -> str:
        """What a message of this way adds; empty without a proxy."""
        if self.proxy is None:
            return ""
        return f" through the proxy {self.proxy.host}:{self.proxy.port} ({self.proxy.source})"


@dataclass(frozen=True)
class Access:
    """What it takes to reach a server beside its address. Never recorded."""

    api_key: str | None = field(default=None, repr=False)
    """Shown as `credentials.authorization` says."""
    proxy: str | None = field(default=None, repr=False)
    """What `--proxy` says; None: the environment decides."""
    ca_file: str | None = None
    """Certificate authority for https; None uses the system's."""
    verify_tls: bool = True
    """False accepts any certificate."""

    @property
    def headers(self) -> Mapping[str, str]:
        """Headers of every request."""
        return {} if self.api_key is None else {"Authorization": credentials.authorization(self.api_key)}

    def hide(self, text: str) -> str:
        """A text of the server's without what it was shown: servers repeat keys in their refusals."""
        return redaction.redact_text(text, credentials.secrets_of(self.api_key))

    def context(self) -> ssl.SSLContext:
        """Certificates that are accepted of a server."""
        context = ssl.create_default_context(cafile=self.ca_file)
        if not self.verify_tls:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        return context

    def route(self, url: str) -> Route:
        """The way to the server of a URL.

        Raises:
            InputError: it is no address of a server, or the proxy is none.
        """
        parts = _split(url)
        if parts is None or parts.scheme not in _PORTS or parts.hostname is None:
            raise InputError(f"--url {url} is no address of a server; give http://host:port")
        port = parts.port or _PORTS[parts.scheme]
        return Route(parts.hostname, port, parts.scheme == "https", self._proxy(parts.scheme, parts.hostname))

    def _proxy(self, scheme: str, host: str) -> Proxy | None:
        if is_loopback(host):
            return None
        if self.proxy is not None:
            return parse_proxy(self.proxy, "--proxy")
        found = urllib.request.getproxies_environment()
        if urllib.request.proxy_bypass(host):
            return None
        for kind in (scheme, "all"):
            if kind in found:
                return parse_proxy(found[kind], f"{kind.upper()}_PROXY")
        return None


OPEN = Access()
"""A server that wants no key and has a certificate of the system's authorities."""


def parse_proxy(text: str, source: str) -> Proxy:
    """A proxy as a flag or a variable names it: `http://[user:password@]host:port`.

    Raises:
        InputError: it is none; the message does not hold its password.
    """
    parts = _split(text if "://" in text else f"http://{text}")
    if parts is None or parts.scheme != "http" or parts.hostname is None:
        raise InputError(f"{source} is no proxy of this program; give http://host:port, or take it out")
    return Proxy(parts.hostname, parts.port or _PORTS["http"], source, credentials.basic(parts))


def is_loopback(host: str) -> bool:
    """Whether a host is this machine by name or address."""
    if host.rstrip(".").lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _split(url: str) -> SplitResult | None:
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        return None
    return parts
