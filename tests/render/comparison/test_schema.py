"""The JSON Schema in docs is that of the types, and holds what is written to it."""

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from swiftkv_bench.accepted.history import SCHEMA_ID as HISTORY_ID
from swiftkv_bench.accepted.history import History
from swiftkv_bench.judge.comparison import SCHEMA_ID, RunComparison
from swiftkv_bench.schema.base import Record
from tests.render.comparison.hostile import hostile
from tests.render.golden import check

FOLDER = Path(__file__).parents[3] / "docs" / "schema"
SCHEMAS: dict[str, tuple[str, type[Record]]] = {
    "comparison-2.schema.json": (SCHEMA_ID, RunComparison),
    "history-1.schema.json": (HISTORY_ID, History),
}


def _schema(identity: str, of: type[Record]) -> dict[str, Any]:
    made = of.model_json_schema(mode="serialization")
    head = {"$schema": "https://json-schema.org/draft/2020-12/schema", "$id": f"urn:{identity.replace('/', ':')}"}
    return head | made


@pytest.mark.parametrize("name", SCHEMAS)
def test_the_schema_in_docs_is_that_of_the_types(name: str) -> None:
    schema = _schema(*SCHEMAS[name])
    jsonschema.Draft202012Validator.check_schema(schema)
    check(name, json.dumps(schema, indent=1, ensure_ascii=False) + "\n", FOLDER)


def test_what_is_written_holds_to_the_schema(comparison: RunComparison) -> None:
    validator = jsonschema.Draft202012Validator(json.loads((FOLDER / "comparison-2.schema.json").read_text()))
    for found in (comparison, hostile(comparison)):
        assert list(validator.iter_errors(json.loads(found.model_dump_json()))) == []


@pytest.mark.parametrize(
    ("key", "value"), [("verdicts", {"overall": "MAYBE"}), ("schema_id", "swiftkv-bench/comparison/1"), ("lines", [{}])]
)
def test_the_schema_refuses_what_is_no_comparison(comparison: RunComparison, key: str, value: object) -> None:
    validator = jsonschema.Draft202012Validator(json.loads((FOLDER / "comparison-2.schema.json").read_text()))
    document = json.loads(comparison.model_dump_json()) | {key: value}
    assert list(validator.iter_errors(document)) != []


def test_a_written_comparison_reads_back_equal(comparison: RunComparison) -> None:
    assert RunComparison.model_validate_json(comparison.model_dump_json()) == comparison
