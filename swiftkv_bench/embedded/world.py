"""The closed world of the mini tasks: its words, and the facts that a model learns by heart.

Everything is fixed: people, what each of them likes and owns, and what becomes of whom. Leaves the questions
about it to ``items``.
"""

import random
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType


def _words(listed: str) -> tuple[str, ...]:
    return tuple(listed.split())


PEOPLE = _words(
    "Ada Ben Carl Dina Emma Finn Greta Hugo Ida Jack Kara Leo Mia Nils Olga Paul "
    "Rosa Sven Tara Ulf Vera Will Yara Zoe Anna Boris Clara David Elsa Frank Gina Hans "
    "Iris Jonas Kurt Lara Max Nora Oscar Petra"
)
CITIES = _words("Rome Oslo Lima Cairo Paris Delhi Quito Bern Seoul Dakar Turin Sofia Kiev Riga Accra Tunis")
PETS = _words("cat dog fox owl hen goat crow seal toad mouse snake horse duck wolf crab bear")
INSTRUMENTS = _words("flute drum harp horn lute viola piano oboe cello banjo organ gong bell tuba fiddle pipe")
FOODS = _words("figs rice beans plums bread cheese soup nuts corn peas honey eggs dates kale tofu jam")
JOBS = _words("baker nurse pilot judge tailor miner farmer clerk smith guard cook poet sailor mason chemist vet")
COLOURS = _words("red blue green black white brown pink grey")
THINGS = _words(
    "pin seed coin ring key spoon cup lamp book clock drill basket kettle stool chair trunk desk bench "
    "door sofa cart boat truck barn"
)


@dataclass(frozen=True)
class Situation:
    """Two things that a person may do, and how each leaves them."""

    deeds: tuple[str, str]
    states: tuple[str, str]


SITUATIONS = (
    Situation(("won", "lost"), ("glad", "sad")),
    Situation(("ate", "fasted"), ("full", "hungry")),
    Situation(("slept", "worked"), ("fresh", "tired")),
    Situation(("saved", "spent"), ("rich", "poor")),
    Situation(("swam", "flew"), ("wet", "dry")),
    Situation(("danced", "froze"), ("warm", "cold")),
    Situation(("ran", "waited"), ("early", "late")),
    Situation(("studied", "guessed"), ("sure", "unsure")),
)


@dataclass(frozen=True)
class Relation:
    """One thing that the world says about every person.

    Attributes:
        name: also the subject of questions about it.
        values: what it may be.
        verb: in the third person, e.g. ``lives in``.
        infinitive: after "does not", e.g. ``live in``.
        question: asks for the value; ``{who}`` is the person.
    """

    name: str
    values: tuple[str, ...]
    verb: str
    infinitive: str
    question: str


RELATIONS = (
    Relation("geography", CITIES, "lives in", "live in", "Where does {who} live?"),
    Relation("zoology", PETS, "owns the", "own the", "What pet does {who} own?"),
    Relation("music", INSTRUMENTS, "plays the", "play the", "What does {who} play?"),
    Relation("food", FOODS, "eats", "eat", "What does {who} eat?"),
    Relation("work", JOBS, "works as a", "work as a", "What does {who} work as?"),
)

_WORLD_SEED = 1234


def _draw_facts() -> Mapping[str, Mapping[str, str]]:
    rng = random.Random(_WORLD_SEED)
    return MappingProxyType(
        {
            relation.name: MappingProxyType({who: rng.choice(relation.values) for who in PEOPLE})
            for relation in RELATIONS
        }
    )


#: ``FACTS[relation][person]``.
FACTS = _draw_facts()
