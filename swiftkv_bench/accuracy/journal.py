"""Every answer of an engine, on disk as it comes: what makes a killed run resumable without asking twice.

One JSON line an answer, appended with a single write, so that a killed process loses nothing it wrote; synced
to the device in batches, so that a power cut loses at most the last batch. The key of an answer is a hash of
the engine's identity (model, revision, configuration), the prompt's token ids and the sampling, so two arms can
never share an answer.
"""

import hashlib
import json
import os
import threading
import time
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from swiftkv_bench.errors import writing
from swiftkv_bench.store import GO_ON, append_whole, make_folder, sync_folder

SYNC_EVERY_ANSWERS = 64
SYNC_EVERY_S = 1.0


def answer_key(engine_key: str, request: dict[str, Any], repeat: int = 0) -> str:
    """Identity of an answer: 32 hex digits of the SHA-256 over engine, request body and repeat."""
    text = json.dumps([engine_key, repeat, request], sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:32]


class Journal:
    """An append-only file of answers and the same answers in memory; safe to use from many threads."""

    def __init__(self, path: Path) -> None:
        """Opens or makes the file; a last line that was cut off is removed."""
        with writing(path, GO_ON):
            make_folder(path.parent)
            self._answers = _read(path)
            self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
            sync_folder(path.parent)
        self._path = path
        self._lock = threading.Lock()
        self._unsynced = 0
        self._synced_at = time.monotonic()

    def get(self, key: str) -> Any:
        """The recorded answer, None if there is none."""
        return self._answers.get(key)

    def __len__(self) -> int:
        return len(self._answers)

    def put(self, key: str, answer: Any) -> None:
        """Records an answer; it survives the death of this process from here on."""
        line = json.dumps([key, answer], separators=(",", ":")).encode() + b"\n"
        with self._lock:
            append_whole(self._file, self._path, line)
            self._answers[key] = answer
            self._unsynced += 1
            late = time.monotonic() - self._synced_at > SYNC_EVERY_S
            if late or self._unsynced >= SYNC_EVERY_ANSWERS:
                self._sync()

    def close(self) -> None:
        """Syncs what is left and closes the file; safe to call twice."""
        with self._lock:
            if self._file >= 0:
                self._sync()
                os.close(self._file)
                self._file = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _sync(self) -> None:
        with writing(self._path, GO_ON):
            os.fsync(self._file)
        self._unsynced = 0
        self._synced_at = time.monotonic()


def _read(path: Path) -> dict[str, Any]:
    """Answers of an existing file, which is cut after its last whole line."""
    if not path.exists():
        return {}
    content = path.read_bytes()
    whole = content.rfind(b"\n") + 1
    if whole < len(content):
        os.truncate(path, whole)
    return dict(json.loads(line) for line in content[:whole].splitlines())
