"""GitHub Actions: commands that nothing can break out of, ten of a kind, a summary that is appended to."""

from pathlib import Path

import pytest

from swiftkv_bench.errors import InputError
from swiftkv_bench.judge.comparison import RunComparison
from swiftkv_bench.render.comparison import lines
from swiftkv_bench.render.comparison.comment import comment
from swiftkv_bench.render.comparison.github import MOST, annotations, on_github, write_summary
from tests.render.comparison.hostile import hostile
from tests.render.golden import check


def test_annotations(comparison: RunComparison) -> None:
    check("annotations.txt", "".join(f"{one}\n" for one in annotations(comparison)))


def test_every_claim_that_fails_is_an_error_and_every_open_one_a_warning(comparison: RunComparison) -> None:
    few = tuple(line for line in comparison.lines if not line.metric.endswith("_mean_s"))
    fewer = comparison.model_copy(update={"lines": few})
    found = list(annotations(fewer))
    assert 0 < len(fewer.failed) < MOST
    assert sum(one.startswith("::error ") for one in found) == len(fewer.failed)
    assert sum(one.startswith("::warning ") for one in found) == len(lines.undecided(fewer.lines))


def test_a_text_cannot_start_a_command_of_its_own(comparison: RunComparison) -> None:
    for one in annotations(hostile(comparison)):
        assert "\n" not in one
        assert "\r" not in one
        title = one.split("::")[1].split(" title=", 1)[1]
        assert ":" not in title
        assert "," not in title


def test_more_than_ten_are_counted_in_the_tenth(comparison: RunComparison) -> None:
    [first, *_] = comparison.failed
    many = tuple(first.model_copy(update={"line_id": f"line {i}"}) for i in range(25))
    found = list(annotations(comparison.model_copy(update={"lines": many})))
    assert len(found) == MOST
    assert "::16 more claims" in found[-1]


def test_the_summary_is_appended_to(comparison: RunComparison, tmp_path: Path) -> None:
    target = tmp_path / "summary.md"
    target.write_text("before\n")
    assert write_summary(comparison, {"GITHUB_STEP_SUMMARY": str(target)}) == target
    assert target.read_text() == "before\n" + comment(comparison) + "\n"
    assert write_summary(comparison, {}) is None


def test_a_summary_that_cannot_be_written_is_named(comparison: RunComparison, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="GITHUB_STEP_SUMMARY"):
        write_summary(comparison, {"GITHUB_STEP_SUMMARY": str(tmp_path)})


@pytest.mark.parametrize(("environment", "expected"), [({"GITHUB_ACTIONS": "true"}, True), ({}, False)])
def test_only_on_a_runner(environment: dict[str, str], expected: bool) -> None:
    assert on_github(environment) is expected
