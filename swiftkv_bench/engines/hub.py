"""Files of the Hugging Face hub: from its cache where they are there, else over the network, if there is one."""

import socket
from pathlib import Path

from swiftkv_bench.access import OPEN
from swiftkv_bench.errors import InputError

_CONNECT_S = 5.0


def is_id(name: str) -> bool:
    """Whether a model's name is a hub id and no path."""
    return name.count("/") == 1 and not name.startswith((".", "/", "~"))


def cached(repository: str, name: str, revision: str | None = None) -> Path | None:
    """A file that was fetched before; None without one, or where the id is none."""
    from huggingface_hub import try_to_load_from_cache  # slow to import, needed for hub models only

    try:
        found = try_to_load_from_cache(repository, name, revision=revision)
    except ValueError:
        return None
    return Path(found) if isinstance(found, str) else None


def fetched(repository: str, name: str) -> Path:
    """A file of the hub's main branch, or what was fetched of it before.

    Raises:
        InputError: it is not there, or the hub cannot be reached and nothing was fetched before.
    """
    from huggingface_hub import constants, hf_hub_download  # slow to import, needed for hub models only

    known = cached(repository, name)
    if (why := _unreachable(constants.ENDPOINT)) is not None:
        if known is not None:
            return known
        raise InputError(
            f"cannot get {name} of {repository}: {constants.ENDPOINT} cannot be reached ({why}), and it was not "
            "fetched before; name a folder with --tokenizer"
        )
    try:
        return Path(hf_hub_download(repository, name))
    except (OSError, ValueError) as e:
        text = " ".join(str(e).split())
        raise InputError(f"cannot get {name} of {repository} ({text}); name a folder with --tokenizer") from e


def _unreachable(endpoint: str) -> str | None:
    """Why no connection can be made, asked once: the library itself tries for half a minute. None: one can."""
    try:
        socket.create_connection(OPEN.route(endpoint).address, timeout=_CONNECT_S).close()
    except OSError as e:
        return e.strerror or str(e)
    return None
