"""Addresses and endpoints."""

import pytest

from swiftkv_bench.errors import InputError
from swiftkv_bench.load.target import Target


@pytest.mark.parametrize(
    ("url", "address", "tls", "path"),
    [
        ("http://h:8000", ("h", 8000), False, "/v1/completions"),
        ("http://h", ("h", 80), False, "/v1/completions"),
        ("https://h", ("h", 443), True, "/v1/completions"),
        ("https://h:8443/prefix/", ("h", 8443), True, "/prefix/v1/completions"),
        ("http://[::1]:8000", ("::1", 8000), False, "/v1/completions"),
    ],
)
def test_an_address_is_taken_apart(url: str, address: tuple[str, int], tls: bool, path: str) -> None:
    target = Target(url, "m")
    assert (target.route.address, target.route.tls, target.path) == (address, tls, path)


def test_chat_has_its_own_path() -> None:
    assert Target("http://h/x", "m", api="chat").path == "/x/v1/chat/completions"


@pytest.mark.parametrize("url", ["h:8000", "ftp://h", "http://", ""])
def test_what_is_no_address_is_an_error_with_the_repair(url: str) -> None:
    with pytest.raises(InputError, match=r"is no address of a server; give http://host:port"):
        _ = Target(url, "m").route
