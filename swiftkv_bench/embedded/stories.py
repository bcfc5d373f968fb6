"""Stories of a few facts, questions about them, and options behind letters: what items and drills are made of."""

import random
from dataclasses import dataclass

from swiftkv_bench.embedded.world import CITIES, PEOPLE, PETS

LETTERS = "ABCD"


def item_key(column: str, *parts: str) -> str:
    """What a column's item asks as one text."""
    return "|".join((column, *parts))


@dataclass(frozen=True)
class Question:
    """A question about someone or something in a story, its answer, and all values of that kind in the story."""

    subject: str
    text: str
    answer: str
    options: tuple[str, ...]


@dataclass(frozen=True)
class Story:
    """Who has which animal, or where it is, or both; then some ``questions`` take two steps through it."""

    facts: tuple[str, ...]
    questions: tuple[Question, ...]

    @property
    def text(self) -> str:
        """The facts as told."""
        return f"Story: {' '.join(self.facts)}"


def story(rng: random.Random, told: tuple[str, ...] | None = None) -> Story:
    """Four people and their animals (``owners``), or four animals and where they are (``sites``), or both."""
    people, animals, places = rng.sample(PEOPLE, 4), rng.sample(PETS, 4), rng.sample(CITIES, 4)
    if told is None:
        told = rng.choice((("owners",), ("owners",), ("sites",), ("sites",), ("owners", "sites")))
    facts: list[str] = []
    questions: list[Question] = []
    if "owners" in told:
        facts += rng.sample([f"{who} has the {animal}." for who, animal in zip(people, animals, strict=True)], 4)
        questions += [
            Question(who, f"What does {who} have?", animal, tuple(animals))
            for who, animal in zip(people, animals, strict=True)
        ]
    if "sites" in told:
        facts += rng.sample([f"The {animal} is in {place}." for animal, place in zip(animals, places, strict=True)], 4)
        questions += [
            Question(animal, f"Where is the {animal}?", place, tuple(places))
            for animal, place in zip(animals, places, strict=True)
        ]
    if len(told) == 2:
        questions += [
            Question(who, f"Where is the animal of {who}?", place, tuple(places))
            for who, place in zip(people, places, strict=True)
        ]
    return Story(tuple(facts), tuple(questions))


def story_key(told: Story) -> str:
    """The key of every item about a story: a story belongs to one split with all its questions."""
    return item_key("arc", *sorted(told.facts))


def lettered(question: str, right: str, options: list[str]) -> tuple[str, int]:
    """A question with its options behind letters, in the given order; the place of the right one."""
    listed = "".join(f"\n{letter}. {option}" for letter, option in zip(LETTERS, options, strict=True))
    return f"{question}{listed}", options.index(right)


def best_answer(place: int) -> str:
    """The answer to a lettered question, as in the published protocol."""
    return f"The best answer is {LETTERS[place]}."


def story_question(rng: random.Random, asked: Question) -> tuple[str, int]:
    """A question about a story with letters, options in random order."""
    return lettered(f"Question: {asked.text}", asked.answer, rng.sample(asked.options, 4))
