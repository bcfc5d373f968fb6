"""PASS, FAIL and INCONCLUSIVE are said in one module; others look at them, count them and print them."""

import ast
from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[2] / "swiftkv_bench"
JUDGE = "judge/verdict.py"


def _said(path: Path) -> list[str]:
    """Places where a verdict is handed on as a result: returned, assigned, chosen, or given as an argument."""
    tree, found = ast.parse(path.read_text(encoding="utf-8")), []
    above = {child: node for node in ast.walk(tree) for child in ast.iter_child_nodes(node)}
    for node in ast.walk(tree):
        word = isinstance(node, ast.Attribute) and ast.unparse(node).startswith("Verdict.")
        text = isinstance(node, ast.Constant) and node.value in ("PASS", "FAIL", "INCONCLUSIVE")
        if (word or text) and isinstance(above[node], ast.Return | ast.Assign | ast.IfExp | ast.keyword | ast.Call):
            found.append(f"{path.relative_to(PACKAGE)}: {ast.unparse(above[node])}")
    return found


def test_verdicts_are_said_in_one_module() -> None:
    every = [place for path in sorted(PACKAGE.rglob("*.py")) for place in _said(path)]
    elsewhere = [place for place in every if not place.startswith((JUDGE, "judge/lines.py"))]
    assert elsewhere == []
    assert len([place for place in every if place.startswith(JUDGE)]) > 5
