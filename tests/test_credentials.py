"""Keys and credentials of URLs: what is sent, and what no message shows."""

import pytest

from swiftkv_bench.access import Access
from swiftkv_bench.credentials import authorization, clean_key, hidden, split_url
from swiftkv_bench.errors import InputError


@pytest.mark.parametrize(
    ("text", "key"), [("sk-1\n", "sk-1"), (" \tsk-1\r\n", "sk-1"), ("", None), ("\n", None), (None, None)]
)
def test_white_space_around_a_key_is_not_part_of_it(text: str | None, key: str | None) -> None:
    assert clean_key(text, "OPENAI_API_KEY") == key


@pytest.mark.parametrize("text", ["sk-secret\r\nX-Other: 1", "sk-se\x00cret", "sk-s\u00e9cret"])
def test_a_key_that_no_header_may_hold_is_refused_without_being_shown(text: str) -> None:
    with pytest.raises(InputError, match=r"^OPENAI_API_KEY holds a control character") as raised:
        clean_key(text, "OPENAI_API_KEY")
    assert "sk-" not in str(raised.value)


def test_credentials_of_a_url_become_a_basic_header() -> None:
    # The example of RFC 7617, section 2.
    url, key = split_url("http://Aladdin:open%20sesame@host:8000/v1")
    assert (url, key) == ("http://host:8000/v1", "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==")
    assert Access(api_key=key).headers == {"Authorization": "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ=="}
    assert split_url("http://[::1]:8000/v1") == ("http://[::1]:8000/v1", None)


def test_a_plain_key_is_a_bearer_token() -> None:
    assert authorization("sk-1") == "Bearer sk-1"


def test_no_text_shows_the_credentials_of_a_url() -> None:
    assert (
        hidden("see http://me:pw@h/v1 and https://tok@h2, not a@b") == "see http://***@h/v1 and https://***@h2, not a@b"
    )


def test_what_a_server_repeats_of_a_key_is_hidden() -> None:
    assert (
        Access(api_key="sk-12345").hide("Incorrect API key provided: sk-12345.") == "Incorrect API key provided: ***."
    )
    basic = split_url("http://me:pw-9876@host")[1]
    assert Access(api_key=basic).hide("no me:pw-9876, no pw-9876, no bWU6cHctOTg3Ng==") == "no ***, no ***, no ***"
    assert Access().hide("nothing") == "nothing"
