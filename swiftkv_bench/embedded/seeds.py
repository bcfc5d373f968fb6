"""Varied beginnings of dialogues and texts for ``model sample``: questions, exercises, quizzes, openings of prose.

All of them are put together from lists of this project by a seeded generator; none is taken from a data set.
"""

import random
from collections.abc import Callable, Iterator
from typing import Any

from swiftkv_bench.embedded import seed_words as words

#: One line of a seeds file: ``messages`` to answer, or ``text`` to go on with.
Entry = dict[str, Any]


def seeds(count: int, seed: int) -> list[Entry]:
    """``count`` different entries; one in forty has the model ask the first question itself."""
    found: dict[str, Entry] = {}
    for number, entry in enumerate(_stream(random.Random(seed))):
        if len(found) == count or number > 100 * count:
            break
        found.setdefault(repr(entry), entry)
    own = max(1, count // 40)
    return [*list(found.values())[: count - own], *({"messages": []} for _ in range(own))]


def _stream(rng: random.Random) -> Iterator[Entry]:
    kinds, weights = zip(*_KINDS, strict=True)
    while True:
        yield rng.choices(kinds, weights)[0](rng)


def _asked(text: str) -> Entry:
    return {"messages": [{"role": "user", "content": text}]}


def _topic(rng: random.Random) -> str:
    return rng.choice(words.TOPICS[rng.choice(list(words.TOPICS))])


def _question(rng: random.Random) -> Entry:
    return _asked(rng.choice(words.ASKS).format(a=_topic(rng), b=_topic(rng)))


def _second_question(rng: random.Random) -> Entry:
    """A question after an exchange about something else: a context that is no beginning."""
    quiz, letter = _quiz(rng)
    turns = [
        {"role": "user", "content": quiz},
        {"role": "assistant", "content": rng.choice(words.ANSWERS).format(letter)},
        {"role": "user", "content": rng.choice(words.ASKS).format(a=_topic(rng), b=_topic(rng))},
    ]
    return {"messages": turns}


def _quiz(rng: random.Random) -> tuple[str, str]:
    """A question with lettered options, and the letter of the right one."""
    table = rng.choice(list(words.FACTS))
    facts = words.FACTS[table]
    subject, right = rng.choice(facts)
    wrong = rng.sample(sorted({answer for _, answer in facts} - {right}), 3)
    options, mark = rng.sample([right, *wrong], 4), rng.choice(words.MARKS)
    lines = [f"{letter}{mark} {option}" for letter, option in zip("ABCD", options, strict=True)]
    return "\n".join([table.format(subject), *lines]), "ABCD"[options.index(right)]


def _quiz_dialogue(rng: random.Random) -> Entry:
    """Some answered quizzes as turns, one more to answer; each is put in the same words."""
    frame, answer = rng.choice(words.QUIZ_FRAMES), rng.choice(words.ANSWERS)
    turns = []
    for _ in range(rng.randrange(0, 4)):
        quiz, letter = _quiz(rng)
        turns += [
            {"role": "user", "content": frame.format(quiz)},
            {"role": "assistant", "content": answer.format(letter)},
        ]
    return {"messages": [*turns, {"role": "user", "content": frame.format(_quiz(rng)[0])}]}


def _quiz_text(rng: random.Random) -> Entry:
    """Quizzes of an exam paper, with answers, to go on with."""
    parts = [rng.choice(words.PAPERS).format(_topic(rng))]
    for _ in range(rng.randrange(1, 4)):
        quiz, letter = _quiz(rng)
        parts.append(f"{quiz}\nAnswer: {letter}")
    return {"text": "\n\n".join(parts) + "\n\n"}


def _questions_text(rng: random.Random) -> Entry:
    """Short questions with short answers, to go on with."""
    lines = []
    for _ in range(rng.randrange(2, 6)):
        table = rng.choice(list(words.FACTS))
        subject, right = rng.choice(words.FACTS[table])
        lines.append(f"Q: {table.format(subject)}\nA: {right}")
    return {"text": "\n\n".join(lines) + "\n\nQ:"}


def _exercise(rng: random.Random) -> Entry:
    """A sum in words."""
    low, high = sorted(rng.sample(range(2, 60), 2))
    values = {
        "name": rng.choice(words.NAMES), "other": rng.choice(words.NAMES), "thing": rng.choice(words.THINGS),
        "low": low, "high": high, "few": rng.randrange(2, 9), "price": rng.randrange(2, 20),
    }  # fmt: skip
    return _asked(rng.choice(words.STEPS).format(rng.choice(words.EXERCISES).format(**values)))


def _opening(rng: random.Random) -> Entry:
    return {"text": rng.choice(words.OPENINGS).format(a=_topic(rng), name=rng.choice(words.NAMES))}


def _scene(rng: random.Random) -> Entry:
    """Everyday events, as a caption tells them or a story begins."""
    who, name, other = rng.choice(words.PEOPLE), *rng.sample(words.NAMES, 2)
    values = {"who": who, "place": rng.choice(words.PLACES), "doing": rng.choice(words.DOINGS)}
    text = rng.choice(words.SCENES).format(**values, name=name, other=other, thing=rng.choice(words.THINGS))
    return {"text": text}


_KINDS: tuple[tuple[Callable[[random.Random], Entry], float], ...] = (
    (_question, 0.36), (_second_question, 0.06), (_quiz_dialogue, 0.12), (_quiz_text, 0.06), (_questions_text, 0.06),
    (_exercise, 0.12), (_opening, 0.12), (_scene, 0.10),
)  # fmt: skip
