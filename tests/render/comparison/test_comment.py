"""The pull-request comment: golden, short, verdict first, escaped, never too long."""

from swiftkv_bench.judge.comparison import RunComparison
from swiftkv_bench.render.comparison.comment import MARK, MOST_CHARACTERS, comment
from tests.render.comparison.hostile import hostile
from tests.render.golden import check


def test_comment(comparison: RunComparison) -> None:
    text = comment(comparison, "https://example.org/run")
    assert text.startswith(f"{MARK}\n\n### ❌ FAIL: ")
    check("comparison.md", text)


def test_what_is_seen_unfolded_is_short(comparison: RunComparison) -> None:
    seen = comment(comparison).split("<details>")[0]
    assert len(seen.splitlines()) < 25


def test_texts_of_others_stay_texts(comparison: RunComparison) -> None:
    text = comment(hostile(comparison))
    assert "<script" not in text
    assert "<img" not in text
    assert text.count("<details>") == text.count("</details>") == text.count("<summary>")


def test_a_large_comparison_leaves_tables_out_and_names_them(comparison: RunComparison) -> None:
    lines = tuple(
        line.model_copy(update={"where": f"{line.where}-{i}", "line_id": f"{line.line_id}-{i}"})
        for line in comparison.lines
        for i in range(200)
    )
    text = comment(comparison.model_copy(update={"lines": lines}))
    assert len(text) < MOST_CHARACTERS + 500
    assert "Too long for a comment, and in the report: " in text


def test_warnings_are_counted_as_they_are_listed(comparison: RunComparison) -> None:
    warning = next(note for note in comparison.notes if note.severity == "warning")
    places = tuple(warning.model_copy(update={"where": f"point-{i}"}) for i in range(6))
    text = comment(comparison.model_copy(update={"notes": places}))
    assert "**Can it be trusted?** 1 warning stands beside it." in text
    assert "<summary>1 finding</summary>" in text
