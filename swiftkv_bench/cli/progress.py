"""Shows progress on standard error with Rich; plain lines where that is no terminal."""

import sys

from rich.console import Console
from rich.live import Live
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn


class TerminalObserver:
    """Live lines, one an activity; what ends leaves its last word behind."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._tasks: dict[str, TaskID] = {}
        self._progress = Progress(
            TextColumn("{task.description}", justify="left"),
            BarColumn(bar_width=24),
            TextColumn("{task.fields[share]}"),
            TimeElapsedColumn(),
            console=console,
            transient=True,
        )
        self._live: Live = self._progress.live

    def __enter__(self) -> "TerminalObserver":
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def note(self, text: str) -> None:
        """Printed above the live lines."""
        self._console.print(text, highlight=False, markup=False)

    def progress(self, key: str, text: str, done: float | None = None, total: float | None = None) -> None:
        """Updates the activity's line."""
        if key not in self._tasks:
            self._tasks[key] = self._progress.add_task(text, total=total, share="")
        share = "" if total is None or done is None else f"{done:g}/{total:g}"
        self._progress.update(self._tasks[key], description=text, completed=done or 0, total=total, share=share)

    def finish(self, key: str, text: str | None = None) -> None:
        """Removes the line and prints the last word."""
        if key in self._tasks:
            self._progress.remove_task(self._tasks.pop(key))
        if text is not None:
            self.note(text)


class PlainObserver:
    """Notes and last words as lines; no live display. For logs and pipes."""

    def __enter__(self) -> "PlainObserver":
        return self

    def __exit__(self, *_: object) -> None:
        return None

    def note(self, text: str) -> None:
        """One line."""
        print(text, file=sys.stderr, flush=True)

    def progress(self, key: str, text: str, done: float | None = None, total: float | None = None) -> None:
        """Not shown."""

    def finish(self, key: str, text: str | None = None) -> None:
        """One line."""
        if text is not None:
            self.note(text)


def observer(quiet: bool) -> "TerminalObserver | PlainObserver | QuietObserver":
    """The observer that suits standard error."""
    if quiet:
        return QuietObserver()
    console = Console(stderr=True)
    return TerminalObserver(console) if console.is_terminal else PlainObserver()


class QuietObserver(PlainObserver):
    """Shows nothing."""

    def note(self, text: str) -> None:
        """Ignored."""
