"""Kills runs at random and at counted moments, resumes them, and counts what was lost and what was left behind.

    python benchmarks/kill_campaign.py N [perf|accuracy] [--seed 0] [--rate auto] [--workers 2] [--vllm] [--power-cut]

A small run on two fake engines (with --vllm: SwiftKV on a real vLLM) is killed with SIGKILL, and the same command goes
on. Killed are the command itself, its process group, or one of its children: either guard of an engine, an engine, that
of the self-test, a client process; vLLM's own processes too. The moment is random, or just before the n-th operation
on a file of the run folder. One run is killed and resumed up to six times. With --power-cut each kill also
takes back whatever was not synced to the device, see `file_operations`.

A run has recovered if the same command ends it complete, every record of before is in it unchanged, none is there twice
and all can be read. An orphan is a process that is alive `LIMIT_S` after the one above it was killed. Prints one line a
failure with the folder that shows it, then the counts; exits 1 if there was any. Linux only.
"""

import argparse
import json
import os
import random
import select
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import yaml
from file_operations import Durable, cut_power, watch

from swiftkv_bench import integrity
from swiftkv_bench.accuracy import run as _accuracy_run  # noqa: F401  # slow to import: here, and not in every run
from swiftkv_bench.accuracy.native import is_written
from swiftkv_bench.analysis import analyse_all
from swiftkv_bench.cli import execution as _execution  # noqa: F401
from swiftkv_bench.cli import main as command_line
from swiftkv_bench.engines import guard
from swiftkv_bench.errors import InputError
from swiftkv_bench.render.figures import figures
from swiftkv_bench.store import open_run

LIMIT_S = 5.0
MARK = "SWIFTKV_BENCH_CAMPAIGN"
ROOT = Path(__file__).resolve().parents[1]
TRACE_SIGNS = ("Traceback (most recent call last)",)
ITEMS = 12
"""Items of an accuracy run, an arm."""
SHAPE = {
    "model_type": "llama", "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 4,
    "num_attention_heads": 4, "num_key_value_heads": 4, "vocab_size": 512, "max_position_embeddings": 4096,
}  # fmt: skip


@dataclass(frozen=True)
class Kill:
    """One kill to come, as a share of an undisturbed run's file operations or else of its seconds."""

    counted: bool
    share: float
    child: bool
    """Of a child, where there is one then."""


@dataclass
class Tally:
    """What happened so far."""

    kills: Counter[str] = field(default_factory=Counter)
    moments: Counter[str] = field(default_factory=Counter)
    runs: int = 0
    recovered: int = 0
    orphans: int = 0
    slowest_end_s: float = 0.0
    failures: list[str] = field(default_factory=list)


def processes(mark: str) -> dict[int, str]:
    """Live processes that inherited the mark, and their command lines."""
    found = {}
    for process in guard.processes():
        with suppress(OSError):
            folder = Path(f"/proc/{process.pid}")
            if f"{MARK}={mark}".encode() in (folder / "environ").read_bytes().split(b"\0"):
                found[process.pid] = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    return found


def descendants(root: int) -> set[int]:
    """Live processes below one."""
    every, found = list(guard.processes()), {root}
    while more := {p.pid for p in every if p.parent in found} - found:
        found |= more
    return found - {root}


def role(pid: int, command: str) -> str:
    """What a process is to the run."""
    if guard.__file__ in command:
        with suppress(ProcessLookupError):
            return "outer guard" if os.getsid(pid) == pid else "inner guard"
    if "swiftkv_bench.load.worker" in command:
        return "client process"
    if "swiftkv_bench.engines.fake --ttft" in command:
        return "self-test engine"
    return "engine"  # or a process of it


class Campaign:
    """Runs, kills and resumes one command in a folder of its own."""

    def __init__(self, arguments: Sequence[str], folder: Path, seed: int, cut: bool) -> None:
        self.arguments, self.folder, self.cut = list(arguments), folder, cut
        self.random = random.Random(seed)
        self.tally = Tally()
        self.number = 0
        self.seconds, self.operations, self.records = 0.0, 0, 0

    def rehearse(self) -> None:
        """One undisturbed run: its seconds, file operations and records are the measure of the others."""
        base = self._base()
        began = time.monotonic()
        code, self.operations = self._stage(base, [])
        self.seconds = time.monotonic() - began
        if code != 0:
            raise SystemExit(f"the undisturbed run ended with {code}: {base}")
        self.records = len(_records(base / "run"))
        figures(analyse_all([open_run(base / "run")]), ("svg", "png", "pdf"))  # imports what drawing needs, once
        shutil.rmtree(base)

    def kill(self, n: int) -> None:
        """Kills until there were `n`, telling of each run on standard error."""
        while sum(self.tally.kills.values()) < n:
            base = self._base()
            before = len(self.tally.failures)
            try:
                self._scenario(base, n)
            except (OSError, AssertionError, InputError) as e:
                self.tally.failures.append(f"{type(e).__name__}: {e}")
            self.tally.runs += 1
            if len(self.tally.failures) == before:
                self.tally.recovered += 1
                shutil.rmtree(base)
            for failure in self.tally.failures[before:]:
                print(f"FAILED {base}: {failure}", flush=True)
            print(f"{sum(self.tally.kills.values())} of {n} kills", file=sys.stderr, flush=True)

    def _base(self) -> Path:
        self.number += 1
        base = self.folder / f"{self.number:04d}"
        base.mkdir()
        return base

    def _scenario(self, base: Path, n: int) -> None:
        """One run, killed and resumed until it is complete."""
        kept: dict[str, str] = {}
        most = self.random.choice((1, 2, 4, 6))
        for stage in range(most + 1):
            kills = self._draw(resumed=stage > 0) if stage < most and sum(self.tally.kills.values()) < n else []
            made = sum(self.tally.kills.values())
            code, _ = self._stage(base, kills)
            said = (base / "said").read_text(errors="replace")
            if any(sign in said for sign in TRACE_SIGNS) or code not in (0, 3, -signal.SIGKILL):
                complete_already = code == 2 and "holds this run complete" in said
                if not complete_already:
                    self.tally.failures.append(f"exit code {code}: {said[-600:]}")
            kept = self._check_kept(base / "run", kept)
            if not kills or (made == sum(self.tally.kills.values()) and code == 0):
                break
        self._check_whole(base / "run")

    def _draw(self, *, resumed: bool) -> list[Kill]:
        """The kills of one stage: one, or that of a child and another."""
        children = [] if self.cut else self.random.choice(([False], [True], [True, False], [True, True]))
        shares = sorted(self.random.random() * (0.6 if resumed else 0.9) for _ in children or [False])
        return [
            Kill(self.cut or self.random.random() < 0.5, share, child)
            for share, child in zip(shares, children or [False], strict=True)
        ]

    def _stage(self, base: Path, kills: Sequence[Kill]) -> tuple[int, int]:
        """Runs the command once with these kills; its exit code (negative: the signal) and its file operations."""
        mark = f"{base}-{time.monotonic_ns()}"
        asking, asked = os.pipe(), os.pipe()
        moments = {max(1, round(kill.share * self.operations)): kill for kill in kills if kill.counted}
        main = os.fork()
        if main == 0:
            self._run(base, mark, (asking[1], asked[0]), set(moments))
        for handle in (asking[1], asked[0]):
            os.close(handle)
        try:
            return self._attend(main, mark, kills, moments, (asking[0], asked[1]))
        finally:
            for handle in (asking[0], asked[1]):
                os.close(handle)
            for pid in processes(mark):  # what is left would disturb the next run
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            if self.cut and kills and (shadow := base.with_suffix(".shadow")).exists():
                cut_power(base, shadow)
            shutil.rmtree(base.with_suffix(".shadow"), ignore_errors=True)

    def _run(self, base: Path, mark: str, pipes: tuple[int, int], moments: set[int]) -> None:
        """In the child: becomes the command."""
        os.setsid()
        os.environ[MARK] = mark
        said = os.open(base / "said", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        for handle in (1, 2):
            os.dup2(said, handle)
        os.chdir(base)
        if self.cut:
            Durable(base, base.with_suffix(".shadow"))
        count = 0

        def before(number: int) -> None:
            nonlocal count
            count = number
            if number in moments:
                os.write(pipes[0], f"{number}\n".encode())
                os.read(pipes[1], 1)

        watch(base / "run", before)
        sys.argv = ["swiftkv-bench", *self.arguments]
        code = 70
        try:
            command_line()
            code = 0
        except SystemExit as e:
            code = e.code if isinstance(e.code, int) else 0
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        os.write(pipes[0], f"end {count}\n".encode())
        os._exit(code)

    def _attend(
        self, main: int, mark: str, kills: Sequence[Kill], moments: dict[int, Kill], pipes: tuple[int, int]
    ) -> tuple[int, int]:
        """Waits until the command has ended and kills meanwhile."""
        began, due = time.monotonic(), [kill for kill in kills if not kill.counted]
        operations, said = 0, b""
        while True:
            ended, status = os.waitpid(main, os.WNOHANG)
            if select.select([pipes[0]], [], [], 0.0 if ended else 0.01)[0]:
                said += os.read(pipes[0], 4096)
            while b"\n" in said:
                line, _, said = said.partition(b"\n")
                if line.startswith(b"end"):
                    operations = int(line.split()[1])
                elif not ended:
                    self._strike(main, mark, moments[int(line)])
                    with suppress(OSError):
                        os.write(pipes[1], b"!")
            if ended:
                self._await_end({pid for pid in processes(mark) if pid != main}, "after the command ended")
                return os.waitstatus_to_exitcode(status), operations
            for kill in [kill for kill in due if time.monotonic() - began >= kill.share * self.seconds]:
                due.remove(kill)
                self._strike(main, mark, kill)

    def _strike(self, main: int, mark: str, kill: Kill) -> None:
        """Kills a child, else the command or its whole group."""
        found = processes(mark)
        roles: dict[str, list[int]] = {}
        for pid, command in found.items() if kill.child else ():
            if pid != main:
                roles.setdefault(role(pid, command), []).append(pid)
        name = self.random.choice(sorted(roles) or ["command", "group"])
        victim = self.random.choice(roles.get(name, [main]))
        below = descendants(victim) if roles else set(found) - {main}
        with suppress(ProcessLookupError):
            (os.killpg if name == "group" else os.kill)(victim, signal.SIGKILL)
        self.tally.kills[name] += 1
        self.tally.moments["counted" if kill.counted else "random"] += 1
        self._await_end(below, f"after the {name} was killed")

    def _await_end(self, pids: set[int], when: str) -> None:
        """Counts those as orphans that are alive when the time is over."""
        began = time.monotonic()
        while left := pids & {process.pid for process in guard.processes()}:
            if time.monotonic() - began > LIMIT_S:
                self.tally.orphans += len(left)
                names = [_command_of(pid) for pid in sorted(left)]
                self.tally.failures.append(f"{len(left)} processes alive {LIMIT_S:g} s {when}: {names}")
                return
            time.sleep(0.02)
        self.tally.slowest_end_s = max(self.tally.slowest_end_s, time.monotonic() - began)

    def _check_kept(self, run: Path, before: dict[str, str]) -> dict[str, str]:
        """Every record that was there is there unchanged; returns what is there now."""
        now = _records(run)
        gone = [name for name, content in before.items() if now.get(name) != content]
        if self.cut:  # what came after the last sync may go: a trial that was being written, a batch of answers
            gone = [name for name in gone if name.endswith(".json")][1:]
        if gone:
            self.tally.failures.append(f"{len(gone)} records lost or changed, the first {gone[0]}")
        return now

    def _check_whole(self, folder: Path) -> None:
        """The run is complete, sealed and readable, holds as much as an undisturbed one, and nothing twice."""
        run = open_run(folder)
        assert run.manifest.status == "complete", f"{run.manifest.status}: {run.manifest.status_reason}"
        assert integrity.verify(folder), "no checksums"
        assert all(record.status == "complete" for record, _ in run.trials())
        found = _records(folder)
        adaptive = run.manifest.plan.perf is not None and run.manifest.plan.perf.adaptive
        assert adaptive or len(found) == self.records, f"{len(found)} records instead of {self.records}"
        temporary = [path.name for path in folder.rglob(".*.part")]
        assert not temporary, f"temporary files {temporary}"
        if (accuracy := run.manifest.plan.accuracy) is not None:
            for arm in accuracy.arms:
                for column in accuracy.columns:
                    native = folder / "lm_eval" / arm / column.name
                    assert is_written(native), f"lm-eval's files of no or several runs in {native}"


def _records(folder: Path) -> dict[str, str]:
    """What is recorded so far, by name; an answer or item that is there twice is an error."""
    found: dict[str, str] = {}
    for path in sorted((folder / "trials").glob("*.json")):
        with suppress(ValueError, FileNotFoundError):
            content = path.read_text()
            if json.loads(content)["record"]["status"] == "complete":
                found[path.name] = content
    for path in (folder / "items.jsonl", *sorted((folder / "journal").glob("*.jsonl"))):
        for line in path.read_bytes().splitlines(keepends=True) if path.exists() else ():
            if not line.endswith(b"\n"):
                continue  # the write of this line was killed
            content = json.loads(line)
            key = content[0] if isinstance(content, list) else [content[k] for k in ("arm", "repeat", "task", "doc_id")]
            name = f"{path.name}: {key}"
            assert name not in found, f"{name} is there twice"
            found[name] = line.decode()
    return found


def _command_of(pid: int) -> str:
    with suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")[-120:]
    return str(pid)


def _perf(folder: Path, given: argparse.Namespace) -> list[str]:
    load = ["--input-len", "50", "--output-len", "4", "--rate", given.rate, "--requests", "8", "--repeats", "2"]
    load += ["--workers", str(given.workers)]
    return ["perf", *_profile(folder, given), *load]


def _accuracy(folder: Path, given: argparse.Namespace) -> list[str]:
    asked = ["--suite", "mini:mini_arc", "--suite", "mini:mini_winogrande", "--limit", str(ITEMS)]
    return ["accuracy", *_profile(folder, given), *asked]


def _profile(folder: Path, given: argparse.Namespace) -> list[str]:
    if given.vllm:
        return ["--profile", "embedded", "--out", "run"]
    weights = given.command == "accuracy"
    content = {
        "name": "fakes", "description": "two fake engines", "engine": "fake", "together": True,
        "max_model_len": 16384 if weights else 4096,
        "baseline": {"builtin": "baseline"} if weights else {"config": SHAPE},
        "swiftkv": {"builtin": "swiftkv"} if weights else {"config": SHAPE | {"num_key_value_layers": 2}},
        "engine_args": {"ttft": 0.02, "itl": 0.001} | ({"vocab": 1024, "max-num-seqs": 4} if weights else {}),
    }  # fmt: skip
    if weights:
        content["accuracy"] = {"suite": "mini", "limit": ITEMS}
    path = folder / "fakes.yaml"
    path.write_text(yaml.safe_dump(content))
    return ["--profile", str(path), "--out", "run"]


COMMANDS: dict[str, Callable[[Path, argparse.Namespace], list[str]]] = {"perf": _perf, "accuracy": _accuracy}


def lines(tally: Tally, command: str) -> Iterator[str]:
    """The counts, for people."""
    made = sum(tally.kills.values())
    by = ", ".join(f"{name} {n}" for name, n in tally.kills.most_common())
    when = ", ".join(f"{n} at {name} moments" for name, n in sorted(tally.moments.items()))
    yield f"{made} kills of {command}: {by}; {when}"
    yield f"{tally.recovered} of {tally.runs} runs recovered; {len(tally.failures)} failures"
    yield f"{tally.orphans} orphans; what a killed process leaves had ended within {tally.slowest_end_s:.1f} s"


@contextmanager
def _scratch(keep: Callable[[], bool]) -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="kill-campaign-"))
    yield folder
    if not keep():
        shutil.rmtree(folder)


def main() -> int:
    """Runs the campaign the arguments ask for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("n", type=int, help="kills")
    parser.add_argument("command", choices=tuple(COMMANDS), nargs="?", default="perf")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--rate", default="20", help="of perf; auto searches the rates")
    parser.add_argument("--workers", type=int, default=1, help="client processes of perf")
    parser.add_argument("--vllm", action="store_true", help="real engines instead of fakes")
    parser.add_argument("--power-cut", action="store_true", help="what was not synced is lost with each kill")
    given = parser.parse_args()
    os.environ |= {"HF_HUB_OFFLINE": "1", "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    tally = Tally()
    with _scratch(lambda: bool(tally.failures)) as folder:
        os.environ.setdefault("SWIFTKV_BENCH_CACHE", str(folder / "cache"))
        campaign = Campaign(COMMANDS[given.command](folder, given), folder, given.seed, given.power_cut)
        campaign.tally = tally
        campaign.rehearse()
        campaign.kill(given.n)
    for line in lines(tally, " ".join([given.command, *(["with power cuts"] if given.power_cut else [])])):
        print(line)
    return 1 if tally.failures else 0


if __name__ == "__main__":
    sys.exit(main())
