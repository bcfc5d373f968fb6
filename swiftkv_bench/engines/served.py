"""What a server says it serves, and which of it is asked.

A server may list a base model, adapters on it and aliases. The name that the user gave is looked for among ids, roots
and aliases; it is never replaced by another. A server that lists nothing is asked for the model that the user named.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from swiftkv_bench.engines.client import Client, RefusedError
from swiftkv_bench.errors import EngineError, InputError

_NO_LISTING = (404, 405, 501)
_SHOWN = 12


@dataclass(frozen=True)
class Served:
    """One model of a server.

    Attributes:
        name: what requests send.
        max_model_len: context length, tokens; None where the server does not tell.
        names: everything that means this model.
        root: what is loaded, where the server tells.
    """

    name: str
    max_model_len: int | None
    names: tuple[str, ...] = ()
    root: str | None = None


def own_model(client: Client) -> Served:
    """The model of a server that this program started: the first it lists.

    Raises:
        EngineError: it lists none or cannot be reached.
    """
    return _listed(client, client.get_json("/v1/models"))[0]


def asked_model(client: Client, named: str | None, flag: str, likely: str | None = None) -> Served:
    """The model of another's server that is asked.

    Args:
        named: what the user named with `flag`.
        likely: what the profile names; taken where it is listed and the user named none.

    Raises:
        InputError: the list lacks the model that was named, or has several and none was.
        EngineError: the server cannot be reached, or it lists nothing and no name is known.
    """
    where = client.base_url
    try:
        listing = client.get_json("/v1/models")
    except RefusedError as e:
        name = named or likely
        if e.status not in _NO_LISTING:
            raise EngineError(f"{e}; check the address and the API key (OPENAI_API_KEY)") from e
        if name is None:
            raise EngineError(f"{where} does not list its models (HTTP {e.status}); name the one to ask: {flag}") from e
        return Served(name, None)
    models = _listed(client, listing)
    for name in (named, likely):
        found = None if name is None else _find(models, name)
        if found is not None:
            return found
    if named is not None:
        raise InputError(f"{flag} {named} is not served at {where}; it lists {_names(models)}")
    if len(models) > 1 and not _one(models):
        raise InputError(f"{where} serves {_names(models)}; say with {flag} which of them to measure")
    return models[0]


def _find(models: Sequence[Served], name: str) -> Served | None:
    by_id = (model for model in models if model.name == name)
    return next(by_id, None) or next((model for model in models if name in model.names), None)


def _one(models: Sequence[Served]) -> bool:
    """Whether all are names of one model."""
    roots = {model.root for model in models}
    return len(roots) == 1 and None not in roots


def _names(models: Sequence[Served]) -> str:
    names = [model.name for model in models]
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more


def _listed(client: Client, listing: Any) -> list[Served]:
    entries = listing.get("data") if isinstance(listing, dict) else None
    found = [_served(entry) for entry in entries if isinstance(entry, dict)] if isinstance(entries, list) else []
    models = [model for model in found if model is not None]
    if not models:
        raise EngineError(f"{client.base_url}/v1/models lists no model; is it an OpenAI-compatible server?")
    return models


def _served(entry: dict[str, Any]) -> Served | None:
    name, root, meta = entry.get("id"), entry.get("root"), entry.get("meta")
    # llama.cpp says it in its own place.
    context = entry.get("max_model_len") or (meta.get("n_ctx") if isinstance(meta, dict) else None)
    if not isinstance(name, str):
        return None
    aliases = entry.get("aliases")
    others = [root, *(aliases if isinstance(aliases, list) else [])]
    length = context if type(context) is int and context > 0 else None
    names = tuple(other for other in others if isinstance(other, str))
    return Served(name, length, names, root if isinstance(root, str) else None)


def server_version(client: Client) -> str | None:
    """What /version says; None where the server has no such page."""
    try:
        version = client.get_json("/version")
    except EngineError:
        return None
    return str(version.get("version")) if isinstance(version, dict) and "version" in version else None
