"""A small data set in HellaSwag's format, written for these tests."""

from typing import Any

_ACTIVITIES = ("Baking bread", "Rowing a boat", "Mending a fence", "Playing chess")
_OPENINGS = (
    "a baker flours the table and turns out the dough.",
    "two people push a long boat into the lake [title] and climb in.",
    "a man carries new planks across the field.",
    "a girl sets up the pieces while her brother watches.",
)
_ENDINGS = (
    "folds it three times and covers it with a cloth.",
    "takes the oars and pulls away from the shore.",
    "nails the first plank [substeps] to the post.",
    "moves a pawn and presses the clock.",
)


def rows(count: int, offset: int) -> list[dict[str, Any]]:
    """`count` documents that differ in a number; `offset` keeps splits apart."""
    return [
        {
            "ind": offset + i,
            "activity_label": _ACTIVITIES[i % 4],
            "ctx_a": f"On day {offset + i} {_OPENINGS[i % 4]}",
            "ctx_b": f"person {i}",
            "endings": [f"{_ENDINGS[(i + j) % 4][:-1]}  for the {offset + i}. time." for j in range(4)],
            "label": str((4 - i) % 4 if i % 2 else 0),
        }
        for i in range(count)
    ]
