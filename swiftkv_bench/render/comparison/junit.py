"""A comparison as JUnit XML: one test case a line, a suite a part.

A line that fails and counts is a `failure`. A line that is not decided is `skipped`: red is for what got worse, and
exit code 4 and the suite's property `verdict` tell that it was not decided. Lines that decide nothing are `skipped`
too, with their verdict in the message.
"""

import re
from xml.etree import ElementTree as Tree

from swiftkv_bench.judge.comparison import RunComparison
from swiftkv_bench.judge.lines import Line, Verdict
from swiftkv_bench.render.comparison import lines

_FORBIDDEN = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""Characters that XML 1.0 cannot hold."""


def junit(found: RunComparison) -> str:
    """The document, UTF-8."""
    suites = Tree.Element("testsuites", name="swiftkv-bench compare")
    totals = {"tests": 0, "failures": 0, "errors": 0, "skipped": 0}
    for part, verdict in (("accuracy", found.verdicts.accuracy), ("performance", found.verdicts.performance)):
        of_part = [line for line in found.lines if line.part == part]
        if verdict is None:
            continue
        suite = Tree.SubElement(suites, "testsuite", name=part, timestamp=found.created_utc[:19], time="0")
        properties = Tree.SubElement(suite, "properties")
        for name, value in (
            ("verdict", verdict.value),
            ("reference", found.reference.label),
            ("candidate", found.candidate.label),
            ("format", found.schema_id),
        ):
            Tree.SubElement(properties, "property", name=name, value=_clean(value))
        counts = {"tests": len(of_part), "failures": 0, "errors": 0, "skipped": 0}
        for line in of_part:
            kind = _case(suite, line)
            if kind is not None:
                counts[kind] += 1
        for name, n in counts.items():
            suite.set(name, str(n))
            totals[name] += n
    for name, n in totals.items():
        if name != "skipped":
            suites.set(name, str(n))
    Tree.indent(suites, " ")
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + Tree.tostring(suites, encoding="unicode") + "\n"


def _case(suite: Tree.Element, line: Line) -> str | None:
    classname = f"{line.part}.{line.candidate_arm}.{line.reference}.{line.family}"
    case = Tree.SubElement(suite, "testcase", name=_clean(line.line_id), classname=_clean(classname), time="0")
    text, kind = _clean(lines.sentence(line)), None
    if line.role == "shown":
        Tree.SubElement(case, "skipped", message=f"decides nothing; {line.verdict.value}: {text}")
        kind = "skipped"
    elif line.verdict is Verdict.FAIL:
        Tree.SubElement(case, "failure", message=text, type="regression").text = text
        kind = "failures"
    elif line.verdict is Verdict.INCONCLUSIVE:
        Tree.SubElement(case, "skipped", message=f"{line.verdict.value}: {text}")
        kind = "skipped"
    Tree.SubElement(case, "system-out").text = text
    return kind


def _clean(text: str) -> str:
    return _FORBIDDEN.sub("�", text)
