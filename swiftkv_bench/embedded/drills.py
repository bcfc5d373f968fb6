"""Dense practice for training only: documents in which nearly every line has an answer to learn.

A question of a mini column has one or two tokens that show whether it was understood. That is too little for a
model to find out how to look something up in its prompt; these documents ask a dozen things about the same facts.
They hold no test item: stories are of the train split, and the rest is no column's format.
"""

import random
from collections.abc import Callable, Mapping
from types import MappingProxyType

from swiftkv_bench.embedded.columns import SHOT_DELIMITER, Segment, chat_turns
from swiftkv_bench.embedded.generators import next_amount
from swiftkv_bench.embedded.items import split_of
from swiftkv_bench.embedded.stories import (
    LETTERS,
    Question,
    Story,
    best_answer,
    lettered,
    story,
    story_key,
    story_question,
)
from swiftkv_bench.embedded.world import CITIES, FACTS, FOODS, PEOPLE, PETS, RELATIONS, SITUATIONS, THINGS

#: Rounds and questions of a document: one fills a row, so that no other facts get in the way of its own.
_LOOKUP_ROUNDS = 12
_STORY_QUESTIONS = 36
_QUIZ_QUESTIONS = 14

Drill = Callable[[random.Random], list[Segment]]


def _train_story(rng: random.Random) -> Story:
    while True:
        told = story(rng)
        if split_of(story_key(told)) == "train":
            return told


def _lookup(rng: random.Random) -> list[Segment]:
    """Pairs, then each of them asked for again: the plainest lookup there is."""
    people, values = rng.sample(PEOPLE, 8), rng.sample(rng.choice((CITIES, PETS, THINGS, FOODS)), 8)
    pairs = list(zip(people, values, strict=True))
    if rng.random() < 0.5:
        pairs = [(value, who) for who, value in pairs]
    segments = [Segment("Story:" + "".join(f" {left} {right}." for left, right in pairs) + "\n")]
    for _ in range(_LOOKUP_ROUNDS):
        for left, right in rng.sample(pairs, 8):
            segments += [Segment(f" {left}"), Segment(f" {right}", answer=True), Segment(".")]
    return [*segments, Segment(SHOT_DELIMITER)]


def _story(rng: random.Random) -> list[Segment]:
    """A story and direct questions about it."""
    told = _train_story(rng)
    segments = [Segment(told.text)]
    for asked in _rounds(rng, told, _STORY_QUESTIONS):
        segments += [Segment(f"\nQ: {asked.text}\nA:"), Segment(f" {asked.answer}.", answer=True)]
    return [*segments, Segment(SHOT_DELIMITER)]


def _quiz(rng: random.Random) -> list[Segment]:
    """A story and lettered questions about it, turn after turn."""
    told = _train_story(rng)
    segments = []
    for index, asked in enumerate(_rounds(rng, told, _QUIZ_QUESTIONS)):
        text, place = story_question(rng, asked)
        segments += chat_turns(f"{told.text}\n{text}" if index == 0 else text, best_answer(place))
    return segments


def _bridge(rng: random.Random) -> list[Segment]:
    """The same, in plain text, half of the answers with the option before its letter."""
    told = _train_story(rng)
    segments = [Segment(told.text)]
    for asked in _rounds(rng, told, _QUIZ_QUESTIONS):
        text, place = story_question(rng, asked)
        segments.append(Segment(f"\n{text}\n"))
        if rng.random() < 0.5:
            segments.append(Segment(f" {asked.answer}.", answer=True))
        segments.append(Segment(f" {best_answer(place)}", answer=True))
    return [*segments, Segment(SHOT_DELIMITER)]


def _rounds(rng: random.Random, told: Story, count: int) -> list[Question]:
    """All questions of a story again and again, each time in another order."""
    rounds = -(-count // len(told.questions))
    return [asked for _ in range(rounds) for asked in rng.sample(told.questions, len(told.questions))][:count]


def _letters(rng: random.Random) -> list[Segment]:
    """Lettered options, and the letter of each."""
    options = rng.sample(rng.choice((CITIES, PETS, FOODS, PEOPLE)), 4)
    listed, _ = lettered("Question:", options[0], options)
    segments = [Segment(listed + "\n")]
    for place in rng.sample(range(4), 4):
        segments += [Segment(f" {options[place]}. The best answer is"), Segment(f" {LETTERS[place]}.", answer=True)]
    return [*segments, Segment(SHOT_DELIMITER)]


def _deeds(rng: random.Random) -> list[Segment]:
    """What some people did, and how each of them is now."""
    people, situations = rng.sample(PEOPLE, 6), rng.sample(SITUATIONS, 6)
    sides = [rng.randrange(2) for _ in people]
    done = [(who, s.deeds[side], s.states[side]) for who, s, side in zip(people, situations, sides, strict=True)]
    segments = [Segment("Today" + "".join(f" {who} {deed}." for who, deed, _ in done) + " Now")]
    for _ in range(_LOOKUP_ROUNDS):
        for who, deed, state in rng.sample(done, len(done)):
            if rng.random() < 0.5:
                segments += [Segment(f" {who}"), Segment(f" {deed}.", answer=True)]
            segments += [Segment(f" {who} is"), Segment(f" {state}.", answer=True)]
    return [*segments, Segment(SHOT_DELIMITER)]


def _world(rng: random.Random) -> list[Segment]:
    """What the world says about some people, both ways round."""
    segments = []
    for _ in range(6):
        relation, who = rng.choice(RELATIONS), rng.choice(PEOPLE)
        value = FACTS[relation.name][who]
        asked = rng.choice((f" {relation.question.format(who=who)}", f" {who} {relation.verb}"))
        segments += [Segment(asked), Segment(f" {value}.", answer=True)]
    return [*segments, Segment("\n")]


def _sums(rng: random.Random) -> list[Segment]:
    """The sums of the amounts that occur."""
    segments = []
    for _ in range(6):
        amount, _, sum_ = next_amount(rng, rng.randint(2, 60))
        segments += [Segment(f" {sum_}="), Segment(f"{amount}.", answer=True)]
    return [*segments, Segment("\n")]


#: Every drill by name.
DRILLS: Mapping[str, Drill] = MappingProxyType(
    {
        "lookup": _lookup,
        "story": _story,
        "quiz": _quiz,
        "bridge": _bridge,
        "letters": _letters,
        "deeds": _deeds,
        "world": _world,
        "sums": _sums,
    }
)
