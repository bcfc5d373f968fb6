"""Documents of the mini columns, generated on this machine: test items, and the shots that stand before them."""

from typing import Any

from datasets import Dataset

from swiftkv_bench.embedded.columns import shots
from swiftkv_bench.embedded.items import Item, items


def load(column: str, documents: int, **_metadata: Any) -> dict[str, Dataset]:
    """Splits `test` (that many items) and `train` (exactly the column's shots, in order; one item without shots)."""
    train = list(shots(column)) or items(column, "train", 1)
    return {
        "train": Dataset.from_list([_row(item) for item in train]),
        "test": Dataset.from_list([_row(item) for item in items(column, "test", documents)]),
    }


def _row(item: Item) -> dict[str, Any]:
    return {**item.doc, "shot_answer": item.target.strip()}
