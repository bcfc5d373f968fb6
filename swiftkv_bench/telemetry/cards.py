"""Which of a machine's GPUs an engine runs on, by its environment and its options.

A card is named by its index as nvidia-smi counts, or by the beginning of its UUID: the words of CUDA_VISIBLE_DEVICES.
vLLM takes CUDA's order for nvidia-smi's too; where cards differ, CUDA_DEVICE_ORDER=PCI_BUS_ID makes them the same.
"""

from collections.abc import Mapping, Sequence

_PARALLEL = ("tensor-parallel-size", "pipeline-parallel-size", "data-parallel-size")


def visible_cards(env: Mapping[str, str]) -> tuple[str, ...] | None:
    """Cards that a process with this environment sees, in its order; None when it does not say, so that it sees all.

    As CUDA does, a list is read up to its first word that names no card.
    """
    given = env.get("CUDA_VISIBLE_DEVICES")
    if given is None:
        return None
    found = []
    for word in given.split(","):
        name = word.strip()
        if not name.isdigit() and not name.startswith(("GPU-", "MIG-")):
            break
        found.append(name)
    return tuple(found)


def engine_cards(env: Mapping[str, str], args: Mapping[str, object]) -> tuple[str, ...]:
    """Cards of a vLLM engine: as many of those it sees, from the first on, as its ranks.

    Args:
        args: its options, whose parallel sizes say how many ranks there are.
    """
    ranks = 1
    for name in _PARALLEL:
        size = str(args.get(name, 1))
        ranks *= int(size) if size.isdigit() else 1
    seen = visible_cards(env)
    return tuple(map(str, range(ranks))) if seen is None else seen[:ranks]


def share_a_card(engines: Sequence[tuple[str, ...]]) -> bool:
    """Whether a card is named for more than one of the engines."""
    named = [card for cards in engines for card in set(cards)]
    return len(set(named)) < len(named)


def is_one_of(cards: tuple[str, ...] | None, index: int, uuid: str | None) -> bool:
    """Whether a card is among those named; None names all.

    A slice of a card (MIG) is no card: its energy is not known, and the card's is not its own.
    """
    if cards is None:
        return True
    return any(card == str(index) or (uuid is not None and uuid.startswith(card)) for card in cards)
