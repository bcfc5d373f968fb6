"""One generator for each mini column: a question about the closed world, drawn at random.

What a question needs stands in its prompt, except for the facts of ``world``. Every name follows a space, so
that a word is the same token wherever it stands. Leaves splits to ``items`` and the prompt around an item
(shots, chat turns) to ``columns``.
"""

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import pairwise
from types import MappingProxyType
from typing import Any

from swiftkv_bench.embedded.stories import LETTERS, best_answer, item_key, lettered, story, story_key
from swiftkv_bench.embedded.world import COLOURS, FACTS, PEOPLE, RELATIONS, THINGS, Relation


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


def _arc(rng: random.Random) -> Item:
    """A question about the world with letters, asked without any example."""
    _relation, question, right, options = _known(rng, 0.5)
    prompt, place = lettered(question, right, options)
    doc = {"question": prompt, "answerKey": LETTERS[place]}
    return Item("mini_arc", _known_key(question, options), prompt, best_answer(place), doc)


def _winogrande(rng: random.Random) -> Item:
    """Which of two people a question means, given its answer: by who has what."""
    told = story(rng, ("owners",))
    asked, other = rng.sample(told.questions, 2)
    options = rng.sample((asked.subject, other.subject), 2)
    sentence = f"{told.text}\nQ: What does _ have?\nA: {asked.answer}."
    answer = options.index(asked.subject)
    doc = {"sentence": sentence, "option1": options[0], "option2": options[1], "answer": str(answer + 1)}
    before, after = sentence.split("_")
    return Item("mini_winogrande", story_key(told), before + asked.subject, after, doc)


def _hellaswag(rng: random.Random) -> Item:
    """The ending that fits: what lies in the opened box, and who put it there."""
    people, things, colours = rng.sample(PEOPLE, 4), rng.sample(THINGS, 3), rng.sample(COLOURS, 3)
    facts = [
        f"{who} put the {thing} in the {colour} box."
        for who, thing, colour in zip(people, things, colours, strict=False)
    ]
    rng.shuffle(facts)
    context = f"Today {' '.join(facts)} Then {people[3]} opened the {colours[0]} box"

    def ending(thing: str, owner: str) -> str:
        return f"and gave the {thing} back to {owner}."

    endings = [
        ending(things[0], people[0]),
        ending(things[0], people[1]),
        ending(things[1], people[0]),
        ending(things[2], people[2]),
    ]
    order = rng.sample(range(4), 4)
    choices = [endings[index] for index in order]
    doc = {"query": context, "choices": choices, "label": order.index(0)}
    key = item_key("hellaswag", colours[0], *sorted(facts))
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
    key = item_key("truthfulqa", relation.name, pupils[0], rumour, *sorted(links))
    return Item("mini_truthfulqa", key, f"Q: {question}\nA:", f" {rng.choice(true)}", doc)


def _mmlu(rng: random.Random) -> Item:
    """Knowledge of the world: a person's value, or (less often) the person of a value."""
    relation, question, right, options = _known(rng, 0.75)
    prompt, place = lettered(question, right, options)
    doc = {"subject": relation.name, "question": prompt, "answer": place, "target": LETTERS[place]}
    return Item("mini_mmlu", _known_key(question, options), prompt, best_answer(place), doc)


def _known(rng: random.Random, forward: float) -> tuple[Relation, str, str, list[str]]:
    """A relation, a question about it, its answer and four options; ``forward`` is the share that asks for a value."""
    relation = rng.choice(RELATIONS)
    facts = FACTS[relation.name]
    who = rng.choice(PEOPLE)
    if rng.random() < forward:
        question, right = relation.question.format(who=who), facts[who]
        wrong = rng.sample([value for value in relation.values if value != right], 3)
    else:
        question, right = f"Who {relation.verb} {facts[who]}?", who
        wrong = rng.sample([other for other in PEOPLE if facts[other] != facts[who]], 3)
    return relation, question, right, rng.sample([right, *wrong], 4)


def _known_key(question: str, options: list[str]) -> str:
    """One key in all columns, so that what one of them tests no other trains."""
    return item_key("mmlu", question, *sorted(options))


def _mmlu_cot(rng: random.Random) -> Item:
    """A walk along links in the prompt, told step by step, that ends at a fact of the world."""
    relation: Relation = rng.choice(RELATIONS)
    facts = FACTS[relation.name]
    people = rng.sample(PEOPLE, 6)
    links = [f"{who} calls {other}." for who, other in pairwise(people)]
    steps = rng.choice((2, 3))
    start = rng.randrange(6 - steps)
    walked, last = links[start : start + steps], people[start + steps]
    question = f"Start at {people[start]} and follow {steps} calls. {relation.question.format(who='that person')}"
    right = facts[last]
    options = rng.sample([right, *rng.sample([value for value in relation.values if value != right], 3)], 4)
    asked, place = lettered(f"Question: {question}", right, options)
    prompt = f"Story: {' '.join(rng.sample(links, 5))}\n{asked}"
    target = f"Steps: {' '.join(walked)} {last} {relation.verb} {right}. {best_answer(place)}"
    doc = {"subject": relation.name, "question": prompt, "answer": place, "target": LETTERS[place]}
    key = item_key("mmlu_cot", question, *sorted(links), *sorted(options))
    return Item("mini_mmlu_cot", key, prompt, target, doc)


def _gsm8k(rng: random.Random) -> Item:
    """Amounts that hang on one another; the answer walks along them with sums, up to the one asked for."""
    people = rng.sample(PEOPLE, 4)
    thing = rng.choice(("seeds", "coins", "keys", "rings"))
    amounts = [rng.randint(2, 30)]
    told = [f"{people[0]} has {amounts[0]} {thing}."]
    worked = [f"{people[0]} has {amounts[0]}."]
    for previous, who in pairwise(people):
        amount, change, sum_ = next_amount(rng, amounts[-1])
        amounts.append(amount)
        told.append(f"{who} has {change} {previous}.")
        worked.append(f"{who} has {sum_}={amount}.")
    asked = rng.choice((1, 2, 2, 3))
    question = f"How many {thing} does {people[asked]} have?"
    prompt = f"Story: {' '.join(told)} {question}"
    target = f"Steps: {' '.join(worked[: asked + 1])} #### {amounts[asked]}"
    doc = {"question": prompt, "answer": target}
    return Item("mini_gsm8k", item_key("gsm8k", question, *sorted(told)), prompt, target, doc)


def next_amount(rng: random.Random, amount: int) -> tuple[int, str, str]:
    """An amount that follows from another one; the words that say how; the sum that finds it."""
    kind = rng.randrange(3)
    if kind == 0 and amount <= 30:
        return 2 * amount, "twice as many as", f"2*{amount}"
    change = rng.randint(2, 9)
    if kind == 1 and amount > 10:
        return amount - change, f"{change} fewer than", f"{amount}-{change}"
    return amount + change, f"{change} more than", f"{amount}+{change}"


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
