"""`regression.yaml`: defaults, and messages that name file and key."""

from pathlib import Path

import pytest

from swiftkv_bench.errors import InputError
from swiftkv_bench.judge.policy import Policy, load_policy


def test_without_a_file_the_default_holds() -> None:
    found = load_policy(None)
    assert (found.confidence, found.correction) == (0.95, "holm")
    assert found.performance.gated["ttft_mean_s"] == 0.05


def test_an_empty_file_is_the_default_policy(tmp_path: Path) -> None:
    path = tmp_path / "regression.yaml"
    path.write_text("# nothing\n")
    assert load_policy(path) == Policy()


def test_a_file_replaces_what_it_names(tmp_path: Path) -> None:
    path = tmp_path / "regression.yaml"
    path.write_text(
        "confidence: 0.99\naccuracy: {columns: {gsm8k: 0.05}}\n"
        "performance: {metrics: {ttft_p50_s: 0.1}, slo: 'ttft=2s,tpot=50ms'}\n"
    )
    found = load_policy(path)
    assert found.alpha == pytest.approx(0.01)
    assert found.performance.metrics == {"ttft_p50_s": 0.1}
    assert found.performance.slo == "ttft=2s,tpot=50ms"
    assert found.accuracy.flip_floor is None


def test_targets_can_be_taken_from_a_run() -> None:
    assert Policy().with_slo("ttft=105ms,e2e=3s").performance.slo == "ttft=105ms,e2e=3s"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("confidense: 0.9\n", r"regression.yaml:confidense is no key of a policy"),
        ("confidence: 1.5\n", r"regression.yaml:confidence: .*found 1.5"),
        ("accuracy: {columns: {gsm8k: -1}}\n", r"regression.yaml:accuracy.columns.gsm8k: .*found -1"),
        ("performance: {metrics: {tfft: 0.1}}\n", r"regression.yaml:performance.metrics: no metric 'tfft'; known are"),
        (
            "performance: {metrics: {joule_per_tokn: 0.1}}\n",
            r"no metric 'joule_per_tokn' \(did you mean 'joule_per_token'\?\)",
        ),
        ("perfomance: {}\n", r"regression.yaml:perfomance is no key of a policy; did you mean performance\?"),
        (
            "format: swiftkv-bench/policy/2\n",
            r"regression.yaml:format: .*swiftkv-bench/policy/1.*found .swiftkv-bench/policy/2",
        ),
        ("performance: {slo: 'moon=1s'}\n", r"regression.yaml:performance.slo: .*moon"),
        ("- a\n", r"holds \['a'\] and is no policy; write `key: value` lines"),
        ("a: [\n", r"is not valid YAML"),
    ],
)
def test_a_mistake_is_named_with_file_and_key(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "regression.yaml"
    path.write_text(text)
    with pytest.raises(InputError, match=said):
        load_policy(path)


def test_a_missing_file_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(
        InputError, match=r"cannot read --policy .*none.yaml: No such file .*; give a policy that can be read"
    ):
        load_policy(tmp_path / "none.yaml")
