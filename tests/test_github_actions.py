"""action.yml and the example workflow: structure, pinned actions, references that exist, no injection into shells."""

import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parent.parent
ACTION = ROOT / "action.yml"
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))

EXPRESSION = re.compile(r"\$\{\{(.*?)\}\}", re.DOTALL)
PINNED = re.compile(r"[\w.-]+/[\w./-]+@[0-9a-f]{40}")


def _load(path: Path) -> dict[str, Any]:
    document = yaml.safe_load(path.read_text(encoding="utf-8"))
    assert isinstance(document, dict)
    return document


def problems_of_action(document: dict[str, Any]) -> Iterator[str]:
    """What GitHub would refuse in a composite action, and what would be unsafe in one."""
    if unknown := document.keys() - {"name", "description", "author", "inputs", "outputs", "runs", "branding"}:
        yield f"unknown keys {sorted(unknown)}"
    for name, given in document["inputs"].items():
        if not given.get("description") or ("default" not in given and not given.get("required")):
            yield f"input {name} needs a description, and a default or required"
        if not isinstance(given.get("default", ""), str):
            yield f"default of input {name} is no string"
    if document["runs"].get("using") != "composite":
        yield "not a composite action"
    steps = document["runs"]["steps"]
    yield from _problems_of_steps(steps, shells=True)
    texts = _texts([steps, document["outputs"]])
    used = {name for text in texts for name in re.findall(r"inputs\.([\w-]+)", text)}
    declared = set(document["inputs"])
    yield from (f"input {name} is used and not declared" for name in sorted(used - declared))
    yield from (f"input {name} is declared and not used" for name in sorted(declared - used))
    yield from _problems_of_outputs(steps, texts)
    for name, output in document["outputs"].items():
        if "value" not in output:
            yield f"output {name} has no value"


def problems_of_workflow(document: dict[Any, Any]) -> Iterator[str]:
    """What GitHub would refuse in a workflow, and what would be unsafe in one."""
    # YAML 1.1 reads the key `on` as true.
    keys = {"on" if key is True else key for key in document}
    if unknown := keys - {"name", "on", "permissions", "concurrency", "jobs", "env", "defaults", "run-name"}:
        yield f"unknown keys {sorted(unknown)}"
    if "permissions" not in document:
        yield "no permissions: the token may do everything"
    for name, job in document["jobs"].items():
        if "runs-on" not in job:
            yield f"job {name} has no runs-on"
        if "timeout-minutes" not in job:
            yield f"job {name} has no timeout-minutes"
        yield from _problems_of_steps(job["steps"], shells=False)
        yield from _problems_of_outputs(job["steps"], _texts(job["steps"]))
        yield from _problems_of_local_uses(job["steps"])


def _problems_of_steps(steps: list[dict[str, Any]], *, shells: bool) -> Iterator[str]:
    for number, step in enumerate(steps, 1):
        name = step.get("name", step.get("uses", number))
        if ("run" in step) == ("uses" in step):
            yield f"step {name} needs exactly one of run and uses"
        if shells and "run" in step and "shell" not in step:
            yield f"step {name} runs without a shell"
        if EXPRESSION.search(step.get("run", "")):
            yield f"step {name} puts an expression into its script; pass it by env"
        uses = step.get("uses", "./")
        if not uses.startswith("./") and not PINNED.fullmatch(uses):
            yield f"step {name} uses {uses}, which is not pinned to a commit"


def _problems_of_outputs(steps: list[dict[str, Any]], texts: list[str]) -> Iterator[str]:
    ids = {step["id"]: step for step in steps if "id" in step}
    for step_id, output in {pair for text in texts for pair in re.findall(r"steps\.([\w-]+)\.outputs\.([\w-]+)", text)}:
        if step_id not in ids:
            yield f"steps.{step_id} is no step"
        elif "run" in ids[step_id] and f"{output}=" not in ids[step_id]["run"]:
            yield f"step {step_id} does not set {output}"


def _problems_of_local_uses(steps: list[dict[str, Any]]) -> Iterator[str]:
    declared = set(_load(ACTION)["inputs"])
    for step in steps:
        if step.get("uses") == "./":
            yield from (f"the action has no input {name}" for name in sorted(set(step.get("with", {})) - declared))


def _texts(value: Any) -> list[str]:
    if isinstance(value, dict):
        return [text for part in value.values() for text in _texts(part)]
    if isinstance(value, list):
        return [text for part in value for text in _texts(part)]
    return [value] if isinstance(value, str) else []


def test_the_action_has_no_problem() -> None:
    assert list(problems_of_action(_load(ACTION))) == []


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda p: p.name)
def test_a_workflow_has_no_problem(path: Path) -> None:
    assert list(problems_of_workflow(_load(path))) == []


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ("      shell: bash\n      run: python", "      run: python", "step Install runs without a shell"),
        ("@bbbca2ddaa5d8feaa63e36b76fdaad77386f024f", "@v7", "which is not pinned to a commit"),
        ("${{ inputs.policy }}", "${{ inputs.polcy }}", "input polcy is used and not declared"),
        ("${{ inputs.policy }}", "none", "input policy is declared and not used"),
        ("exit-code=$code", "code=$code", "step compare does not set exit-code"),
        ("id: compare", "id: comparing", "steps.compare is no step"),
        ('exit "$CODE"', "exit ${{ steps.compare.outputs.exit-code }}", "puts an expression into its script"),
        ("default: main", "default: 1", "default of input baseline is no string"),
        ("using: composite", "using: node24", "not a composite action"),
    ],
)
def test_a_broken_action_is_found(old: str, new: str, problem: str) -> None:
    text = ACTION.read_text(encoding="utf-8")
    assert old in text
    assert any(problem in found for found in problems_of_action(yaml.safe_load(text.replace(old, new))))


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ("permissions:\n  contents: read\n  pull-requests: write\n", "", "no permissions"),
        ("    timeout-minutes: 60\n", "", "has no timeout-minutes"),
        ("@3d3c42e5aac5ba805825da76410c181273ba90b1", "@main", "not pinned"),
        ("install: 'false'", "instal: 'false'", "the action has no input instal"),
    ],
)
def test_a_broken_workflow_is_found(old: str, new: str, problem: str) -> None:
    text = (ROOT / ".github/workflows/swiftkv-regression.yml").read_text(encoding="utf-8")
    assert old in text
    assert any(problem in found for found in problems_of_workflow(yaml.safe_load(text.replace(old, new))))


def test_actionlint_finds_nothing() -> None:
    program = shutil.which("actionlint")
    if program is None:
        pytest.skip("no actionlint on this machine; the checks above run without it")
    done = subprocess.run([program, *map(str, WORKFLOWS)], capture_output=True, text=True, check=False, cwd=ROOT)
    assert (done.returncode, done.stdout) == (0, "")


def _script(name: str) -> str:
    [step] = [step for step in _load(ACTION)["runs"]["steps"] if step.get("name") == name]
    return str(step["run"])


@pytest.fixture
def tool(tmp_path: Path) -> Path:
    """A `swiftkv-bench` on the path that writes down its arguments and ends with $CODE_OF_TOOL."""
    program = tmp_path / "bin" / "swiftkv-bench"
    program.parent.mkdir()
    program.write_text('#!/bin/sh\nprintf "%s\\n" "$@" > "$SAID"\nexit "$CODE_OF_TOOL"\n')
    program.chmod(0o755)
    return program


def _run(script: str, folder: Path, **environment: str) -> int:
    path = f"{folder / 'bin'}:/usr/bin:/bin"
    given = {"PATH": path, "SAID": str(folder / "said"), "GITHUB_OUTPUT": str(folder / "output"), **environment}
    return subprocess.run(["bash", "-e", "-o", "pipefail", "-c", script], env=given, check=False, cwd=folder).returncode


INPUTS = {"BASELINE": "main", "CANDIDATE": "results/new run", "BASELINES": "b", "REPORT": "r"}


def test_compare_gets_its_flags_and_its_exit_code_goes_on(tool: Path, tmp_path: Path) -> None:
    given = INPUTS | {"POLICY": "my policy.yaml", "ALLOW": "hardware\nengine.max-num-seqs\n", "CODE_OF_TOOL": "4"}
    assert _run(_script("Compare"), tmp_path, **given) == 0
    assert (tmp_path / "said").read_text().splitlines() == [
        "compare", "main", "results/new run", "--baselines", "b", "--out", "r", "--policy", "my policy.yaml",
        "--allow", "hardware", "--allow", "engine.max-num-seqs",
    ]  # fmt: skip
    assert (tmp_path / "output").read_text() == "exit-code=4\n"


def test_empty_options_are_left_out(tool: Path, tmp_path: Path) -> None:
    assert _run(_script("Compare"), tmp_path, **INPUTS, POLICY="", ALLOW="", CODE_OF_TOOL="0") == 0
    assert "--allow" not in (tmp_path / "said").read_text()


def test_run_is_split_as_a_shell_would_and_expands_nothing(tool: Path, tmp_path: Path) -> None:
    run = "bench --profile 'my pair.yaml' --engine-arg $HOME --seed 1; touch it"
    assert _run(_script("Measure the candidate"), tmp_path, RUN=run, CANDIDATE="out", CODE_OF_TOOL="0") == 0
    assert (tmp_path / "said").read_text().splitlines() == [
        "bench", "--profile", "my pair.yaml", "--engine-arg", "$HOME", "--seed", "1;", "touch", "it", "--out", "out",
    ]  # fmt: skip
    assert not (tmp_path / "it").exists()


@pytest.mark.parametrize(
    ("code", "inconclusive", "expected"),
    [("0", "fail", 0), ("1", "pass", 1), ("2", "pass", 2), ("4", "fail", 4), ("4", "pass", 0)],
)
def test_the_verdict_passes_through(tool: Path, tmp_path: Path, code: str, inconclusive: str, expected: int) -> None:
    assert _run(_script("Verdict"), tmp_path, CODE=code, INCONCLUSIVE=inconclusive) == expected
