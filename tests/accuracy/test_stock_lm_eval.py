"""Task files of every kind beside stock lm-eval on one known model: same requests, same scores, same figures."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from swiftkv_bench.stats.aggregates import figure
from tests.accuracy.made import CHOICE, QUESTION, made, prepared
from tests.accuracy.stock import compared, stock_results

WORDS = ("red", "green", "blue", "cold", "warm", "old", "new", "odd", "even", "round", "flat", "deep")
ASKED = [
    {"question": f"Is it {word}?", "answer": ("yes", "no", "42")[i % 3], "more": ["yes", "the cat sat"], "label": i % 2}
    for i, word in enumerate(WORDS)
]
CHOSEN = [
    {"question": f"Which is {word}?", "choices": ["a stone", "the sea at night", "wool"], "label": i % 3,
     "labels": [i % 3, (i + 1) % 3]}
    for i, word in enumerate(WORDS)
]  # fmt: skip
OWN = """
def of_yes(name):
    def marks(doc, results):
        return {name: (doc["label"], int(results[0].strip() in ("yes", "1", "42")))}
    return marks

f1, mcc = of_yes("f1"), of_yes("mcc")

def shown(doc):
    return [f"{doc['question']} {choice}" for choice in doc["choices"]]
"""

KINDS: dict[str, tuple[str, list[dict[str, Any]], str, dict[str, Any]]] = {
    "acc_norm": ("fewshot_split: test\nmetric_list: [{metric: acc_norm, aggregation: mean, higher_is_better: true}]",
                 CHOSEN, CHOICE, {"metric": "acc_norm", "num_fewshot": 2}),
    "multiple targets": ("doc_to_target: labels", CHOSEN, CHOICE, {"metric": "acc"}),
    "several contexts": ("doc_to_text: label\ndoc_to_choice: !function own.shown\ndoc_to_target: \"and that is all\"",
                         CHOSEN, CHOICE, {"metric": "acc"}),
    "brier": ("metric_list: [{metric: brier_score, aggregation: brier_score, higher_is_better: false}]", CHOSEN, CHOICE,
              {"metric": "brier_score", "margin": 0.1}),
    "exact match, shots": ("fewshot_split: test\ndescription: \"Answer.\\n\"", ASKED, QUESTION, {"num_fewshot": 3}),
    "gen_prefix": ("gen_prefix: \"It is\"", ASKED, QUESTION, {}),
    "several right answers": ("doc_to_target: more", ASKED, QUESTION, {}),
    "filters": ("filter_list: [{name: number, filter: [{function: regex, regex_pattern: \"([0-9]+)\"}, "
                "{function: take_first}]}]", ASKED, QUESTION, {"filter": "number"}),
    "maj@4": ("repeats: 4\ngeneration_kwargs: {until: [\"\\n\"], do_sample: true, temperature: 0.7}\nfilter_list: "
              "[{name: maj, filter: [{function: take_first_k, k: 4}, {function: majority_vote}, "
              "{function: take_first}]}]", ASKED, QUESTION, {"filter": "maj"}),
    "f1": ("process_results: !function own.f1\nmetric_list: [{metric: f1, aggregation: f1, higher_is_better: true}]",
           ASKED, QUESTION, {"metric": "f1", "margin": 0.1}),
    "mcc": ("process_results: !function own.mcc\nmetric_list: "
            "[{metric: mcc, aggregation: matthews_corrcoef, higher_is_better: true}]", ASKED,
            QUESTION, {"metric": "mcc", "margin": 0.1}),
    "word perplexity": ("output_type: loglikelihood_rolling\ndoc_to_text: \"\"\ndoc_to_target: \"{{question}}\"\n"
                        "metric_list: [{metric: word_perplexity}]", ASKED, QUESTION,
                        {"metric": "word_perplexity", "margin": 1.0}),
    "bits per byte": ("output_type: loglikelihood_rolling\ndoc_to_text: \"\"\ndoc_to_target: \"{{question}}\"\n"
                      "metric_list: [{metric: bits_per_byte}]", ASKED, QUESTION,
                      {"metric": "bits_per_byte", "margin": 0.1}),
    "perplexity": ("output_type: loglikelihood\ndoc_to_target: \" {{answer}}\"\nmetric_list: [{metric: perplexity}, "
                   "{metric: acc}]", ASKED, QUESTION, {"metric": "perplexity", "margin": 1.0}),
    "bleu": ("metric_list: [{metric: bleu}]", ASKED, QUESTION, {"metric": "bleu", "margin": 2.0}),
    "chrf": ("metric_list: [{metric: chrf}]", ASKED, QUESTION, {"metric": "chrf", "margin": 2.0}),
    "ter": ("metric_list: [{metric: ter}]", ASKED, QUESTION, {"metric": "ter", "margin": 2.0}),
}  # fmt: skip


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", KINDS)
def test_requests_scores_and_figures_are_stock_lm_evals(letters: Path, tmp_path: Path, kind: str) -> None:
    task, rows, base, column = KINDS[kind]
    task += f"\ntask: one\nnum_fewshot: {column.get('num_fewshot', 0)}"
    suite = made(tmp_path, f"dataset_kwargs: {{data_files: {{test: {tmp_path}/rows.jsonl}}}}\n{task}", rows, base=base,
                 **column)  # fmt: skip
    (tmp_path / "own.py").write_text(OWN)
    # lm-eval takes every YAML file below a folder for a task.
    (tmp_path / "tasks").mkdir()
    for name in ("one.yaml", "own.py"):
        (tmp_path / "tasks" / name).write_text((tmp_path / name).read_text())
    stock = stock_results(tmp_path / "tasks", "one", letters)
    [ours] = prepared(suite).columns
    pairs = compared(ours, letters, stock)
    assert len(pairs) == len(rows)
    for pair in pairs:
        assert [list(i.args[:2]) for i in pair.item.instances] == [list(a)[:2] for a in pair.stock["arguments"]]
        assert pair.item.doc_hash == pair.stock["doc_hash"]
        assert _flat(pair.scored.filtered) == pytest.approx(_flat(pair.stock["filtered_resps"]), abs=1e-9)
    metric, measure = ours.column.metric, ours.column.measure
    found = (
        float(np.mean([pair.scored.value for pair in pairs])) if measure.is_mean
        else figure(measure.aggregation, np.array([pair.scored.parts for pair in pairs]))
    )  # fmt: skip
    assert found == pytest.approx(stock["results"]["one"][f"{metric},{ours.column.filter}"], rel=1e-9, abs=1e-9)
    if measure.aggregation == "mean":
        assert [pair.scored.value for pair in pairs] == [float(pair.stock[metric]) for pair in pairs]


def _flat(value: Any) -> list[Any]:
    return [part for one in value for part in _flat(one)] if isinstance(value, list | tuple) else [value]
