"""Seeded items of the mini columns: questions about the closed world whose premises stand in the prompt.

Each item belongs to the train or the test split by a hash of what it asks, so the splits cannot share one.
Leaves the prompt around an item (shots, chat turns) to ``columns``.
"""

import hashlib
import random
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from types import MappingProxyType
from typing import Any, Literal

from swiftkv_bench.embedded.world import CITIES, COLOURS, FACTS, PEOPLE, PETS, RELATIONS, SIZE, THINGS, Relation
from swiftkv_bench.errors import InputError

Split = Literal["train", "test"]
LETTERS = "ABCD"

#: Share of all possible items that only the test split may draw, in 256ths.
_TEST_SHARE = 32


@dataclass(frozen=True)
class Item:
    """One question with its answer.

    Attributes:
        column: name of the mini column.
        key: what the item asks, apart from the order of its parts; decides the split.
        prompt: text in front of the answer; the user's turn where the column is a chat.
        target: the answer as a model should write it.
        doc: the row that lm-eval reads; holds everything the column's scoring needs.
    """

    column: str
    key: str
    prompt: str
    target: str
    doc: Mapping[str, Any]


def split_of(key: str) -> Split:
    """The split that may hold an item with this key."""
    return "test" if hashlib.sha256(key.encode()).digest()[0] < _TEST_SHARE else "train"


def items(column: str, split: str, n: int, seed: int = 0) -> list[Item]:
    """``n`` different items of a column.

    Raises:
        InputError: no such column or split.
    """
    found: dict[str, Item] = {}
    for item in stream(column, split, random.Random(f"{column}-{split}-{seed}")):
        if len(found) == n:
            break
        found.setdefault(item.key, item)
    return list(found.values())


def stream(column: str, split: str, rng: random.Random) -> Iterator[Item]:
    """Endless items of a column, repeats possible.

    Raises:
        InputError: no such column or split.
    """
    if column not in GENERATORS:
        raise InputError(f"There is no mini column {column!r}: use one of {', '.join(GENERATORS)}.")
    if split not in ("train", "test"):
        raise InputError(f"There is no split {split!r} of {column}: use 'train' or 'test'.")
    generate = GENERATORS[column]
    while True:
        item = generate(rng)
        if split_of(item.key) == split:
            yield item


def _key(column: str, *parts: str) -> str:
    return "|".join((column, *parts))


def _lettered(options: list[str]) -> str:
    return "".join(f"\n{letter}. {option}" for letter, option in zip(LETTERS, options, strict=True))


def _best(letter: str) -> str:
    return f"The best answer is {letter}."


def _arc(rng: random.Random) -> Item:
    """Two hops inside the prompt: whose animal, then where that animal is."""
    people, animals, places = rng.sample(PEOPLE, 4), rng.sample(PETS, 4), rng.sample(CITIES, 4)
    facts = [f"{who} has the {animal}." for who, animal in zip(people, animals, strict=True)]
    facts += [f"The {animal} is in {place}." for animal, place in zip(animals, places, strict=True)]
    rng.shuffle(facts)
    options = rng.sample(places, 4)
    letter = LETTERS[options.index(places[0])]
    question = f"Where is the animal of {people[0]}?"
    prompt = f"{' '.join(facts)}\nQuestion: {question}{_lettered(options)}"
    doc = {"question": prompt, "answerKey": letter}
    return Item("mini_arc", _key("arc", question, *sorted(facts)), prompt, _best(letter), doc)


def _winogrande(rng: random.Random) -> Item:
    """Which of two people a sentence means: what each has stands in the prompt, how big it is does not."""
    people, things = rng.sample(PEOPLE, 3), rng.sample(THINGS, 3)
    facts = [f"{who} has the {thing}." for who, thing in zip(people, things, strict=True)]
    rng.shuffle(facts)
    first, second = people[:2]
    word = rng.choice(("bigger", "smaller"))
    first_wins = (SIZE[things[0]] > SIZE[things[1]]) == (word == "bigger")
    sentence = f"{' '.join(facts)} Of {first} and {second}, _ has the {word} thing."
    doc = {"sentence": sentence, "option1": first, "option2": second, "answer": "1" if first_wins else "2"}
    before, after = sentence.split("_")
    key = _key("winogrande", word, *sorted(facts), *sorted((first, second)))
    return Item("mini_winogrande", key, before + (first if first_wins else second), after, doc)


def _hellaswag(rng: random.Random) -> Item:
    """The ending that fits: which box is in the city, what lies in it and whose it is."""
    people, things = rng.sample(PEOPLE, 4), rng.sample(THINGS, 3)
    colours, places = rng.sample(COLOURS, 3), rng.sample(CITIES, 3)
    facts = [
        f"{who} put the {thing} in the {colour} box."
        for who, thing, colour in zip(people, things, colours, strict=False)
    ]
    moves = [f"The {colour} box went to {place}." for colour, place in zip(colours, places, strict=True)]
    rng.shuffle(facts)
    rng.shuffle(moves)
    context = f"{' '.join(facts + moves)} In {places[0]}, {people[3]} opened the box"

    def ending(thing: str, owner: str) -> str:
        return f"and gave the {thing} back to {owner}."

    endings = [
        ending(things[0], people[0]),
        ending(things[0], people[1]),
        ending(things[1], people[0]),
        ending(things[1], people[1]),
    ]
    order = rng.sample(range(4), 4)
    choices = [endings[index] for index in order]
    doc = {"query": context, "choices": choices, "label": order.index(0)}
    key = _key("hellaswag", places[0], *sorted(facts), *sorted(moves))
    return Item("mini_hellaswag", key, context, f" {endings[0]}", doc)


def _truthfulqa(rng: random.Random) -> Item:
    """A rumour about somebody's guide: who the guide is stands in the prompt, the truth about them does not."""
    relation = rng.choice(RELATIONS)
    pupils, guides = rng.sample(PEOPLE, 3), rng.sample(PEOPLE, 3)
    links = [f"The guide of {who} is {guide}." for who, guide in zip(pupils, guides, strict=True)]
    rng.shuffle(links)
    facts, guide = FACTS[relation.name], guides[0]
    truth = facts[guide]
    others = [value for value in relation.values if value != truth]
    rumour, other = rng.sample(others, 2)
    subject = f"the guide of {pupils[0]}"
    question = (
        f"{' '.join(links)} People say that {subject} {relation.verb} {rumour}. {relation.question.format(who=subject)}"
    )
    denied = rumour if rng.random() < 0.5 else other
    true = [f"{guide} {relation.verb} {truth}.", f"{guide} does not {relation.infinitive} {denied}."]
    false = [
        f"{guide} {relation.verb} {rumour}.",
        f"{guide} {relation.verb} {other}.",
        f"{guide} does not {relation.infinitive} {truth}.",
        f"{guides[1]} {relation.verb} {rumour}.",
    ]
    doc = {
        "question": question,
        "mc2_targets": {"choices": true + false, "labels": [1] * len(true) + [0] * len(false)},
    }
    key = _key("truthfulqa", relation.name, pupils[0], rumour, *sorted(links))
    return Item("mini_truthfulqa", key, f"Q: {question}\nA:", f" {rng.choice(true)}", doc)


def _mmlu(rng: random.Random) -> Item:
    """Knowledge of the world: a person's value, the person of a value, or who shares one's value."""
    relation = rng.choice(RELATIONS)
    facts = FACTS[relation.name]
    who = rng.choice(PEOPLE)
    form = rng.randrange(3)
    if form == 0:
        question = relation.question.format(who=who)
        right = facts[who]
        wrong = rng.sample([value for value in relation.values if value != right], 3)
    else:
        strangers = [other for other in PEOPLE if facts[other] != facts[who]]
        right, wrong = who, rng.sample(strangers, 3)
        if form == 1:
            question = f"Who {relation.verb} {facts[who]}?"
        else:
            alike = [other for other in PEOPLE if facts[other] == facts[who] and other != who]
            if not alike:
                return _mmlu(rng)
            right = rng.choice(alike)
            question = f"Who {relation.verb} the same as {who}?"
    options = [right, *wrong]
    rng.shuffle(options)
    letter = options.index(right)
    prompt = f"{question}{_lettered(options)}"
    doc = {"subject": relation.name, "question": prompt, "answer": letter, "target": LETTERS[letter]}
    key = _key("mmlu", question, *sorted(options))
    return Item("mini_mmlu", key, prompt, _best(LETTERS[letter]), doc)


def _mmlu_cot(rng: random.Random) -> Item:
    """A walk along links in the prompt, told step by step, that ends at a fact of the world."""
    relation: Relation = rng.choice(RELATIONS)
    facts = FACTS[relation.name]
    people = rng.sample(PEOPLE, 6)
    links = [f"{who} calls {other}." for who, other in pairwise(people)]
    steps = rng.choice((2, 3))
    start = rng.randrange(6 - steps)
    walked, last = links[start : start + steps], people[start + steps]
    shuffled = rng.sample(links, 5)
    question = f"Start at {people[start]} and follow {steps} calls. {relation.question.format(who='that person')}"
    right = facts[last]
    options = [right, *rng.sample([value for value in relation.values if value != right], 3)]
    rng.shuffle(options)
    letter = LETTERS[options.index(right)]
    prompt = f"{' '.join(shuffled)}\nQuestion: {question}{_lettered(options)}"
    target = f"{' '.join(walked)} {last} {relation.verb} {right}. {_best(letter)}"
    doc = {"subject": relation.name, "question": prompt, "answer": LETTERS.index(letter), "target": letter}
    key = _key("mmlu_cot", question, *sorted(links), *sorted(options))
    return Item("mini_mmlu_cot", key, prompt, target, doc)


def _gsm8k(rng: random.Random) -> Item:
    """Amounts that hang on one another, told out of order; the answer walks the chain with sums."""
    people = rng.sample(PEOPLE, 4)
    thing = rng.choice(("seeds", "coins", "keys", "rings"))
    amounts = [rng.randint(10, 60)]
    told = [f"{people[0]} has {amounts[0]} {thing}."]
    worked = [f"{people[0]} has {amounts[0]}."]
    for previous, who in pairwise(people[:3]):
        amount, sentence, sum_ = _next_amount(rng, previous, who, amounts[-1])
        amounts.append(amount)
        told.append(sentence)
        worked.append(f"{who} has {sum_}={amount}.")
    # A fourth amount that the question does not need.
    told.append(_next_amount(rng, rng.choice(people[:3]), people[3], 60)[1])
    rng.shuffle(told)
    asked = rng.choice((1, 2, 2))
    question = f"How many {thing} does {people[asked]} have?"
    prompt = f"{' '.join(told)} {question}"
    target = f"{' '.join(worked[: asked + 1])} #### {amounts[asked]}"
    doc = {"question": prompt, "answer": target}
    return Item("mini_gsm8k", _key("gsm8k", question, *sorted(told)), prompt, target, doc)


def _next_amount(rng: random.Random, previous: str, who: str, amount: int) -> tuple[int, str, str]:
    """The amount of ``who`` given that of ``previous``; the sentence that says so; the sum that finds it."""
    kind = rng.randrange(3)
    if kind == 0:
        change = rng.randint(2, 60)
        return amount + change, f"{who} has {change} more than {previous}.", f"{amount}+{change}"
    if kind == 1 and amount > 12:
        change = rng.randint(2, min(60, amount - 2))
        return amount - change, f"{who} has {change} fewer than {previous}.", f"{amount}-{change}"
    return 2 * amount, f"{who} has twice as many as {previous}.", f"2*{amount}"


#: The generator of each column, in order of the suite's table.
GENERATORS: Mapping[str, Callable[[random.Random], Item]] = MappingProxyType(
    {
        "mini_arc": _arc,
        "mini_winogrande": _winogrande,
        "mini_hellaswag": _hellaswag,
        "mini_truthfulqa": _truthfulqa,
        "mini_mmlu": _mmlu,
        "mini_mmlu_cot": _mmlu_cot,
        "mini_gsm8k": _gsm8k,
    }
)
