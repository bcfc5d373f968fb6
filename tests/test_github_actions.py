"""action.yml and the example workflow: structure, pinned actions, references that exist, no injection into shells."""

import os
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml

from swiftkv_bench.render.comparison.comment import MARK

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
        (
            "      shell: bash\n      run: |\n        code=0\n        python",
            "      run: python",
            "step Install runs without a shell",
        ),
        ("@bbbca2ddaa5d8feaa63e36b76fdaad77386f024f", "@v7", "which is not pinned to a commit"),
        ("${{ inputs.policy }}", "${{ inputs.polcy }}", "input polcy is used and not declared"),
        ("${{ inputs.policy }}", "none", "input policy is declared and not used"),
        ("exit-code=%s", "code=%s", "step end does not set exit-code"),
        ("id: compare", "id: comparing", "steps.compare is no step"),
        ('exit "${CODE:-70}"', "exit ${{ steps.end.outputs.exit-code }}", "puts an expression into its script"),
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


TOOL = r"""#!/bin/sh
name=measure
if [ "$1" = compare ]; then name=compare; fi
printf '%s\n' "$@" > "$SAID/$name"
if [ $name = compare ]; then code=$COMPARES; else code=$MEASURES; fi
echo product
echo "progress" >&2
case $name-$code in
  compare-[014])
    mkdir -p "$7"
    printf '%s\n\n### verdict of code %s\n' '<!-- swiftkv-bench compare -->' "$code" | tee -a \
      "$GITHUB_STEP_SUMMARY" > "$7/comparison.md" ;;
  *-0) ;;
  *) echo "swiftkv-bench: $name refuses, says @everyone" >&2; echo "  its log" >&2 ;;
esac
exit "$code"
"""
"""A `swiftkv-bench` that writes down its arguments and ends with $MEASURES or $COMPARES as the real one would."""

GH = """#!/bin/sh
if [ -n "$GH_FAILS" ]; then exit 1; fi
case "$*" in
  *--method*) for word in "$@"; do :; done; printf '%s ' "$5" >> "$SAID/gh"; cat "${word#body=@}" > "$SAID/comment" ;;
  *) printf '%s' "$OLD_COMMENTS" ;;
esac
"""
"""A `gh` that lists $OLD_COMMENTS and keeps what it was told to write."""


@dataclass
class Job:
    """One use of the action: its steps in order, as GitHub runs them, with stand-ins for both programs."""

    folder: Path
    inputs: dict[str, str] = field(default_factory=dict)
    number: str = "7"
    cancelled_before: str | None = None
    outputs: dict[str, dict[str, str]] = field(default_factory=dict)
    outcomes: dict[str, str] = field(default_factory=dict)
    code: int = 0

    def run(self, **environment: str) -> "Job":
        """Runs all steps."""
        (self.folder / "bin").mkdir()
        for name, text in {"swiftkv-bench": TOOL, "gh": GH, "python": '#!/bin/sh\nexit "${PIP:-0}"\n'}.items():
            (self.folder / "bin" / name).write_text(text)
            (self.folder / "bin" / name).chmod(0o755)
        document, cancelled = _load(ACTION), False
        self.inputs = {name: str(given.get("default", "")) for name, given in document["inputs"].items()} | self.inputs
        for step in document["runs"]["steps"]:
            cancelled = cancelled or step.get("name") == self.cancelled_before
            condition = step.get("if", "")
            if self._value(condition or "true") in ("", "false") or (
                "always()" not in condition and (cancelled or self.code != 0)
            ):
                continue
            if "run" in step:
                self._step(step, environment)
        return self

    def _step(self, step: dict[str, Any], environment: Mapping[str, str]) -> None:
        output = self.folder / "output"
        output.write_text("")
        given = {name: self._value(text) for name, text in step.get("env", {}).items()}
        standard = {
            "PATH": f"{self.folder / 'bin'}:{os.environ['PATH']}", "SAID": str(self.folder), "MEASURES": "0",
            "COMPARES": "0", "GITHUB_OUTPUT": str(output), "GITHUB_STEP_SUMMARY": str(self.folder / "summary"),
            "GITHUB_REPOSITORY": "me/mine", "GITHUB_ACTION_PATH": str(ROOT),
        }  # fmt: skip
        done = subprocess.run(
            ["bash", "--noprofile", "--norc", "-e", "-o", "pipefail", "-c", step["run"]],
            env={**standard, **environment, **given}, check=False, cwd=self.folder, capture_output=True, text=True,
        )  # fmt: skip
        self.code = self.code or done.returncode
        if "id" in step:
            self.outcomes[step["id"]] = "failure" if done.returncode else "success"
            self.outputs[step["id"]] = dict(line.split("=", 1) for line in output.read_text().splitlines())

    def _value(self, text: str) -> str:
        return EXPRESSION.sub(lambda found: self._evaluated(found[1].strip()), text)

    def _evaluated(self, expression: str) -> str:
        """GitHub's expressions as far as the action uses them."""
        names: dict[str, Callable[[re.Match[str]], str]] = {
            r"steps\.(\w+)\.outputs\.([\w-]+)": lambda m: self.outputs.get(m[1], {}).get(m[2], ""),
            r"steps\.(\w+)\.outcome": lambda m: self.outcomes.get(m[1], "skipped"),
            r"inputs\.([\w-]+)": lambda m: self.inputs[m[1]],
            r"github\.event\.pull_request\.number": lambda _: self.number,
        }
        for pattern, value in names.items():
            expression = re.sub(pattern, lambda m, value=value: repr(value(m)), expression)  # type: ignore[misc]
        expression = expression.replace("always()", "True").replace("&&", " and ").replace("||", " or ")
        found = eval(expression, {"__builtins__": {}})  # our own file, and a test
        return str(found).lower() if isinstance(found, bool) else str(found)

    def read(self, name: str) -> str:
        """A file of the job; empty where there is none."""
        path = self.folder / name
        return path.read_text() if path.exists() else ""

    @property
    def end(self) -> tuple[str, str]:
        """The outputs exit-code and judged."""
        found = self.outputs["end"]
        return found["exit-code"], found["judged"]


MEASURED = {"run": "perf --profile pair.yaml", "comment": "true", "install": "false", "report": "r"}


@pytest.mark.parametrize(
    ("code", "judged", "exit_code"),
    [(0, True, 0), (1, True, 1), (2, False, 2), (3, False, 3), (4, True, 4), (70, False, 70)],
)
def test_every_end_of_compare_reaches_the_output_the_summary_and_the_comment(
    code: int, judged: bool, exit_code: int, tmp_path: Path
) -> None:
    job = Job(tmp_path, MEASURED).run(COMPARES=str(code), OLD_COMMENTS="11\n12\n")
    assert job.end == (str(code), str(judged).lower())
    assert job.code == exit_code
    said = f"### verdict of code {code}" if judged else f"### Not judged: the runs were not compared (exit code {code})"
    for text in (job.read("summary"), job.read("comment")):
        assert text.startswith(MARK)
        assert said in text
        assert ("    swiftkv-bench: compare refuses, says @everyone\n" in text) == (not judged)
    assert job.read("gh") == "repos/me/mine/issues/comments/11 "


@pytest.mark.parametrize("code", [1, 2, 3, 4, 70, 137])
def test_every_end_of_measuring_reaches_the_output_the_summary_and_the_comment(code: int, tmp_path: Path) -> None:
    job = Job(tmp_path, MEASURED | {"inconclusive": "pass"}).run(MEASURES=str(code))
    assert job.end == (str(code), "false")
    assert job.code == code
    assert not job.read("compare")
    for text in (job.read("summary"), job.read("comment")):
        assert f"### Not judged: the candidate was not measured (exit code {code})" in text
        assert "    swiftkv-bench: measure refuses, says @everyone\n" in text
    assert job.read("gh") == "repos/me/mine/issues/7/comments "


def test_a_cancelled_job_and_one_without_the_program_are_not_judged(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    cancelled = Job(tmp_path / "a", MEASURED, cancelled_before="Compare").run()
    assert (cancelled.end, cancelled.code) == (("130", "false"), 130)
    assert "Not judged: the job was cancelled (exit code 130)" in cancelled.read("comment")
    missing = Job(tmp_path / "b", MEASURED | {"install": "true"}).run(PIP="1")
    assert (missing.end, missing.code) == (("3", "false"), 3)
    assert "Not judged: swiftkv-bench could not be installed (exit code 3)" in missing.read("comment")


@pytest.mark.parametrize(("inconclusive", "code"), [("fail", 4), ("pass", 0)])
def test_an_undecided_comparison_ends_as_asked(inconclusive: str, code: int, tmp_path: Path) -> None:
    job = Job(tmp_path, MEASURED | {"inconclusive": inconclusive}).run(COMPARES="4")
    assert (job.end, job.code) == (("4", "true"), code)


def test_a_comment_that_cannot_be_written_changes_no_verdict(tmp_path: Path) -> None:
    assert Job(tmp_path, MEASURED).run(GH_FAILS="1").code == 0


def test_an_old_report_in_the_workspace_is_not_taken_for_this_ones(tmp_path: Path) -> None:
    (tmp_path / "r").mkdir()
    (tmp_path / "r" / "comparison.md").write_text(f"{MARK}\n\n### PASS of last week\n")
    assert "PASS of last week" not in Job(tmp_path, MEASURED).run(COMPARES="2").read("comment")


def test_the_candidate_is_always_measured_into_a_new_folder(tmp_path: Path) -> None:
    (tmp_path / "new run").mkdir()
    job = Job(tmp_path, MEASURED | {"candidate": "new run"}).run()
    assert job.read("measure").splitlines()[-2:] == ["--out", "new run-2"]
    assert job.read("compare").splitlines()[2] == "new run-2"


def test_compare_gets_its_flags(tmp_path: Path) -> None:
    given = {"policy": "my policy.yaml", "allow": "hardware\nengine.max-num-seqs\n", "baselines": "b"}
    job = Job(tmp_path, {"candidate": "old run", "install": "false", "report": "r", **given}).run()
    assert job.read("compare").splitlines() == [
        "compare", "main", "old run", "--accepted", "b", "--out", "r", "--policy", "my policy.yaml",
        "--allow", "hardware", "--allow", "engine.max-num-seqs",
    ]  # fmt: skip
    assert not job.read("measure")


def test_run_is_split_as_a_shell_would_and_expands_nothing(tmp_path: Path) -> None:
    run = "bench --profile 'my pair.yaml' --engine-arg $HOME --seed 1; touch it"
    job = Job(tmp_path, MEASURED | {"run": run, "candidate": "out"}).run()
    assert job.read("measure").splitlines() == [
        "bench", "--profile", "my pair.yaml", "--engine-arg", "$HOME", "--seed", "1;", "touch", "it", "--out", "out",
    ]  # fmt: skip
    assert "--allow" not in job.read("compare")
    assert not (tmp_path / "it").exists()


def test_a_quote_that_is_not_closed_is_the_users_error(tmp_path: Path) -> None:
    job = Job(tmp_path, MEASURED | {"run": "perf --profile 'pair"}).run()
    assert job.end == ("2", "false")
    assert "the input run has a quote that is not closed: perf --profile 'pair" in job.read("comment")
