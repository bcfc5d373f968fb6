"""Which module may import which: the layers, and the single owners of heavy libraries."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parent.parent / "swiftkv_bench"

LAYERS = (
    {"errors", "units", "observer", "credentials", "redaction", "refusal"},
    {"schema"},
    {"metrics", "roofline"},
    {"stats"},
    {
        "access",
        "advice",
        "notation",
        "store",
        "integrity",
        "provenance",
        "engines",
        "load",
        "accuracy",
        "embedded",
        "swiftkv",
        "checks",
        "telemetry",
        "evidence",
    },
    {
        "plan",
        "points",
        "sweep",
        "feasibility",
        "request",
        "resume",
        "estimate",
        "budget",
        "trials",
        "judge",
        "accepted",
        "analysis",
        "runner",
    },
    {"render"},
    {"cli"},
)
"""Low to high; a part imports from its own layer or a lower one."""

OWNERS = {
    "vllm": {"swiftkv"},
    "lm_eval": {"accuracy"},
    "matplotlib": {"render"},
    "torch": {"swiftkv", "embedded"},
    "typer": {"cli"},
}
"""Heavy library -> the only parts that may import it."""

FILES = sorted(p for p in PACKAGE.rglob("*.py") if p.name != "__main__.py" and p != PACKAGE / "__init__.py")


def _imports(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module is not None:
            if node.module == "swiftkv_bench":
                yield from (f"swiftkv_bench.{alias.name}" for alias in node.names)
            else:
                yield node.module


def _part(path: Path) -> str:
    first = path.relative_to(PACKAGE).parts[0]
    return first.removesuffix(".py")


def _level(part: str) -> int:
    return next(i for i, layer in enumerate(LAYERS) if part in layer)


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_imports_only_from_own_or_lower_layers(path: Path) -> None:
    level = _level(_part(path))
    parts = {name.split(".")[1] for name in _imports(path) if name.startswith("swiftkv_bench.")}
    too_high = {part for part in parts if part != "__version__" and _level(part) > level}
    assert too_high == set()


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_heavy_libraries_have_one_owner(path: Path) -> None:
    part = _part(path)
    misused = {
        library for name in _imports(path) for library, owners in OWNERS.items()
        if name.split(".")[0] == library and part not in owners
    }  # fmt: skip
    assert misused == set()


def test_every_part_has_a_layer() -> None:
    assert {_part(p) for p in FILES} <= set().union(*LAYERS)
