"""docs/metrics.md says what the code says."""

import re
from pathlib import Path

from swiftkv_bench.metrics import DEFINITIONS

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs/metrics.md").read_text(encoding="utf-8")


def test_every_definition_stands_in_the_documentation_word_by_word() -> None:
    assert [name for name, text in DEFINITIONS.items() if f"| {name} | {text} |" not in PAGE] == []


def test_every_finding_is_documented() -> None:
    sources = [*(ROOT / "swiftkv_bench/checks").glob("*.py"), *(ROOT / "swiftkv_bench/analysis").glob("*.py")]
    codes = {code for path in sources for code in re.findall(r'Finding\(\s*"([a-z-]+)"', path.read_text())}
    assert len(codes) > 20
    assert {code for code in codes if f"`{code}`" not in PAGE} == set()
