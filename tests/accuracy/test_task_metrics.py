"""Task files and the metrics they name: direction, scale, aggregation and what items share."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from swiftkv_bench.errors import InputError
from swiftkv_bench.schema.accuracy import Measure
from swiftkv_bench.stats.aggregates import figure
from tests.accuracy.made import CHOICE, answers, ids, made, prepared, run, with_columns
from tests.accuracy.toy_engine import ToyEngine, loglikelihood

ROWS = [{"question": f"Say {word}:", "answer": word} for word in ("red", "green", "blue")]
FUNCTION = "process_results: !function own.marks\nmetric_list: [{{metric: {metric}, {more}}}]"


def _own(
    folder: Path, metric: str, value: str, more: str = "aggregation: mean, higher_is_better: true", **c: Any
) -> Path:
    """A suite whose metric is an expression over the answer `a` and the document `doc`."""
    suite = made(folder, FUNCTION.format(metric=metric, more=more), c.pop("rows", ROWS), metric=metric, **c)
    body = f"    a = results[0]\n    return {{'{metric}': {value}}}\n"
    (folder / "own.py").write_text(f"import numpy as np\n\ndef marks(doc, results):\n{body}")
    return suite


def test_lower_is_better_where_the_task_says_so(tmp_path: Path) -> None:
    suite = _own(
        tmp_path, "err", "float(a != doc['answer'])", "aggregation: mean, higher_is_better: false", range=[0, 1]
    )
    [column] = prepared(suite).plan.columns
    assert column.measure == Measure(higher_is_better=False)


@pytest.mark.parametrize("value", ["np.bool_(a == doc['answer'])", "np.float32(a == doc['answer'])",
                                   "np.array(a == doc['answer'])", "a == doc['answer']"])  # fmt: skip
def test_numbers_of_any_type_are_numbers(letters: Path, tmp_path: Path, value: str) -> None:
    suite = _own(tmp_path, "acc", value)
    with ToyEngine(reply=answers(letters, {"red:": "red"})) as engine:
        items, [state] = run(suite, tmp_path / "run", engine, letters)
    assert (state.status, [item.score for item in items]) == ("complete", [1.0, 0.0, 0.0])


def test_points_of_a_hundred_are_points(letters: Path, tmp_path: Path) -> None:
    suite = _own(tmp_path, "marks", "90.0 if a == doc['answer'] else 10.0", range=[0, 100], margin=2.0)
    with ToyEngine(reply=answers(letters, {"red:": "red"})) as engine:
        items, _ = run(suite, tmp_path / "run", engine, letters)
    [column] = prepared(suite).plan.columns
    assert ((column.measure.low, column.measure.high), column.measure.is_share) == ((0.0, 100.0), False)
    assert [item.score for item in items] == [90.0, 10.0, 10.0]


def test_a_score_outside_its_range_ends_its_column(letters: Path, tmp_path: Path) -> None:
    # The first document, which is tried beforehand, is within.
    suite = _own(tmp_path, "acc", "90.0 if a == 'green' else 0.5")
    with ToyEngine(reply=answers(letters, {"red:": "red", "green:": "green"})) as engine:
        _, [state] = run(suite, tmp_path / "run", engine, letters)
    assert state.status == "incomplete"
    assert str(state.reason).startswith("document 1 of task one: acc is 90, outside 0 to 1; state its range in the ")


@pytest.mark.parametrize(
    ("metric", "value", "more", "column", "message"),
    [
        ("marks", "1.0", "aggregation: mean, higher_is_better: true", {}, "range: not given, and lm-eval does not say"),
        ("marks", "1.0", "aggregation: mean, higher_is_better: true", {"range": [0, 100]},
         "margin: marks has values from 0 to 100, so no default fits"),
        ("acc", "'none'", "aggregation: mean, higher_is_better: true", {}, "one.yaml: .*acc is 'none', which is no"),
        ("acc", "float('nan')", "aggregation: mean, higher_is_better: true", {}, "acc is nan, which is no figure"),
        ("acc", "1.0", "aggregation: median, higher_is_better: true", {},
         "one.yaml: metric_list: acc: aggregation: median has no interval and no test here; known are mean, brier_sc"),
        ("acc", "1.0", "aggregation: mean, higher_is_better: maybe", {},
         "one.yaml: metric_list: acc: higher_is_better: 'maybe'; say true or false"),
        ("acc", "1.0", "aggregation: mean, higher_is_better: true", {"metric": "accuracy"},
         "metric: 'accuracy' is none of acc"),
        ("acc", "1.0", "aggregation: mean, higher_is_better: true", {"filter": "strict"}, "filter: 'strict' is none"),
        ("acc", "1.0", "aggregation: mean, higher_is_better: true", {"group_by": "page"},
         "group_by: 'page' is no field of a document: question, answer"),
    ],
)  # fmt: skip
def test_a_metric_that_cannot_be_judged_is_refused_before_an_engine_starts(
    tmp_path: Path, metric: str, value: str, more: str, column: dict[str, Any], message: str
) -> None:
    suite = _own(tmp_path, metric, value, more)
    content = suite.read_text()
    for key, changed in column.items():
        content = "\n".join(line for line in content.splitlines() if not line.startswith(f"  {key}:")) + "\n"
        suite.write_text(content.replace("  name: one\n", f"  name: one\n  {key}: {json.dumps(changed)}\n"))
        content = suite.read_text()
    with pytest.raises(InputError, match=f"mine.yaml: column one: .*{message}"):
        prepared(suite)


PAIRED = "aggregation: f1, higher_is_better: true"
QUESTIONS = [{"question": f"Q{i}?", "answer": label} for i, label in enumerate((1, 1, 1, 0))]


def _figure(items: list[Any], name: Any) -> float:
    return figure(name, np.array([item.parts for item in items]))


@pytest.mark.parametrize(("metric", "expected"), [("f1", 2 * 2 / (2 * 2 + 1 + 1)), ("mcc", -1 / 3)])
def test_f1_and_matthews_are_figures_of_all_items(letters: Path, tmp_path: Path, metric: str, expected: float) -> None:
    # Labels 1 1 1 0, answers 1 0 1 1: two hits, one missed, one too many, and no 0 that was said to be 0.
    aggregation = {"f1": "f1", "mcc": "matthews_corrcoef"}[metric]
    suite = _own(
        tmp_path, metric, "(doc['answer'], int(a))", f"aggregation: {aggregation}, higher_is_better: true",
        rows=QUESTIONS, margin=0.05,
    )  # fmt: skip
    said = answers(letters, {"Q0?": "1", "Q1?": "0", "Q2?": "1", "Q3?": "1"})
    with ToyEngine(reply=said) as engine:
        items, [state] = run(suite, tmp_path / "run", engine, letters)
    assert state.status == "complete"
    assert [item.score for item in items] == [1.0, 0.0, 1.0, 0.0]
    assert _figure(items, aggregation) == pytest.approx(expected)
    [native] = (tmp_path / "run" / "lm_eval" / "baseline" / "one").glob("results_*.json")
    assert json.loads(native.read_text())["results"]["one"][f"{metric},none"] == pytest.approx(expected)


def test_bleu_of_one_text_is_that_of_its_words(letters: Path, tmp_path: Path) -> None:
    # Six words, all of the first reference and in order: precision 1 throughout, no brevity penalty.
    rows = [{"question": "Say:", "answer": "the cat sat on the mat"}]
    suite = _own(
        tmp_path, "bleu", "(doc['answer'], a)", "aggregation: bleu, higher_is_better: true", rows=rows, margin=2.0
    )
    with ToyEngine(reply=lambda _: "the cat sat on the mat") as engine:
        items, _ = run(suite, tmp_path / "run", engine, letters)
    assert _figure(items, "bleu") == pytest.approx(100.0)


PERPLEXITY = """
output_type: loglikelihood_rolling
doc_to_text: ""
doc_to_target: "{{answer}}"
metric_list: [{metric: word_perplexity}, {metric: bits_per_byte}]
"""


def test_perplexity_is_of_all_words_and_lower_is_better(letters: Path, tmp_path: Path) -> None:
    rows = [{"question": "", "answer": text} for text in ("a b", "c d e f")]
    suite = made(tmp_path, PERPLEXITY, rows, metric="word_perplexity", margin=1.0)
    with ToyEngine() as engine:
        items, [state] = run(suite, tmp_path / "run", engine, letters)
    assert state.status == "complete", state.reason
    start = ids(letters, "<|begin_of_text|>")
    likelihoods = [loglikelihood(start, ids(letters, row["answer"])) for row in rows]
    assert [item.parts for item in items] == [pytest.approx((ll, w)) for ll, w in zip(likelihoods, (2, 4), strict=True)]
    assert _figure(items, "weighted_perplexity") == pytest.approx(math.exp(-sum(likelihoods) / 6))
    [column] = prepared(suite).plan.columns
    assert column.measure == Measure(higher_is_better=False, aggregation="weighted_perplexity", low=1.0, high=None)


def test_brier_is_a_mean_of_items(letters: Path, tmp_path: Path) -> None:
    rows = [{"question": "Q:", "choices": [" a", " b"], "label": 1}]
    task = "metric_list: [{metric: brier_score, aggregation: brier_score, higher_is_better: false}]"
    suite = made(tmp_path, task, rows, base=CHOICE, metric="brier_score", margin=0.1)
    with ToyEngine() as engine:
        [item], _ = run(suite, tmp_path / "run", engine, letters)
    likelihoods = [loglikelihood(ids(letters, "Q:"), ids(letters, choice)) for choice in ("  a", "  b")]
    share = math.exp(likelihoods[1]) / sum(map(math.exp, likelihoods))
    assert item.score == pytest.approx(2 * (1 - share) ** 2)


def test_columns_of_the_same_documents_share_their_clusters(letters: Path, tmp_path: Path) -> None:
    suite = with_columns(made(tmp_path, "", ROWS), {"name": "again", "title": "Again"})
    with ToyEngine(reply=answers(letters, {})) as engine:
        items, _ = run(suite, tmp_path / "run", engine, letters)
    clusters = {name: [item.cluster for item in items if item.column == name] for name in ("one", "again")}
    assert clusters["one"] == clusters["again"]
    assert len(set(clusters["one"])) == 3


def test_documents_that_a_task_changes_are_known_by_what_the_data_set_holds(letters: Path, tmp_path: Path) -> None:
    suite = made(tmp_path, "", ROWS)
    (tmp_path / "changing.py").write_text(
        "def loud(docs):\n    return docs.map(lambda d: {'answer': d['answer'].upper()})\n"
    )
    (tmp_path / "two.yaml").write_text((tmp_path / "one.yaml").read_text() + "process_docs: !function changing.loud\n")
    with_columns(suite, {"name": "two", "title": "Two", "task": "two", "file": "two.yaml"})
    with ToyEngine(reply=answers(letters, {"red:": "RED"})) as engine:
        items, _ = run(suite, tmp_path / "run", engine, letters)
    assert [item.score for item in items] == [0, 0, 0, 1, 0, 0]
    assert [item.cluster for item in items[:3]] == [item.cluster for item in items[3:]]


def test_items_of_one_passage_are_one_cluster(letters: Path, tmp_path: Path) -> None:
    rows = [row | {"page": page} for row, page in zip(ROWS, (7, 7, 8), strict=True)]
    suite = made(tmp_path, "", rows, group_by="page")
    with ToyEngine(reply=answers(letters, {})) as engine:
        items, _ = run(suite, tmp_path / "run", engine, letters)
    first, second, third = (item.cluster for item in items)
    assert first == second != third
