"""JUnit XML: the common structure, a case a line, red for what got worse and for nothing else."""

from pathlib import Path
from xml.etree import ElementTree as Tree

import pytest

from swiftkv_bench.judge.comparison import RunComparison
from swiftkv_bench.judge.lines import Verdict
from swiftkv_bench.render.comparison.junit import junit
from tests.render.comparison.hostile import hostile
from tests.render.golden import check

XSD = Path(__file__).parent / "junit.xsd"


def _outcome(case: Tree.Element) -> str:
    return next((child.tag for child in case if child.tag != "system-out"), "passed")


def test_junit(comparison: RunComparison) -> None:
    check("junit.xml", junit(comparison))


@pytest.mark.parametrize("make", [lambda found: found, hostile])
def test_the_document_has_the_common_structure(comparison: RunComparison, make: object) -> None:
    etree = pytest.importorskip("lxml.etree", reason="lxml validates the document; `pip install lxml` runs this test")
    schema = etree.XMLSchema(etree.parse(str(XSD)))
    text = junit(make(comparison))  # type: ignore[operator]
    assert schema.validate(etree.fromstring(text.encode())), schema.error_log
    broken = text.replace('classname="', 'class="', 1)
    assert not schema.validate(etree.fromstring(broken.encode()))


def test_every_line_is_a_case_and_only_what_counts_is_red(comparison: RunComparison) -> None:
    cases = {case.get("name"): _outcome(case) for case in Tree.fromstring(junit(comparison)).iter("testcase")}
    expected = {}
    for line in comparison.lines:
        outcome = {Verdict.PASS: "passed", Verdict.FAIL: "failure", Verdict.INCONCLUSIVE: "skipped"}[line.verdict]
        expected[line.line_id] = "skipped" if line.role == "shown" else outcome
    assert cases == expected
    assert set(cases.values()) == {"passed", "failure", "skipped"}


def test_counts_are_those_of_the_cases(comparison: RunComparison) -> None:
    root = Tree.fromstring(junit(comparison))
    for suite in root:
        found = [_outcome(case) for case in suite.iter("testcase")]
        counts = [suite.get(name) for name in ("tests", "failures", "errors", "skipped")]
        assert counts == [str(len(found)), str(found.count("failure")), "0", str(found.count("skipped"))]
    assert root.get("failures") == str(len(comparison.failed))


def test_a_failure_says_what_by_how_much_and_what_was_allowed(comparison: RunComparison) -> None:
    failures = [str(x.get("message")) for x in Tree.fromstring(junit(comparison)).iter("failure")]
    ttft = next(text for text in failures if text.startswith("TTFT mean, 2 points"))
    assert "SwiftKV against the reference run: " in ttft
    assert "allowed +5.0 %" in ttft
