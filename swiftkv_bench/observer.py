"""What a long step says while it runs. The command line shows it; tests and libraries stay silent."""

from typing import Protocol


class Observer(Protocol):
    """Receives progress; must never raise and never change what is measured."""

    def note(self, text: str) -> None:
        """A sentence the user should read once."""

    def progress(self, key: str, text: str, done: float | None = None, total: float | None = None) -> None:
        """State of the activity `key`; a repeated key replaces its line. `done` of `total`, None if unknown."""

    def finish(self, key: str, text: str | None = None) -> None:
        """The activity is over; `text` remains as its last word."""


class Silent:
    """An observer that shows nothing."""

    def note(self, text: str) -> None:
        """Ignored."""

    def progress(self, key: str, text: str, done: float | None = None, total: float | None = None) -> None:
        """Ignored."""

    def finish(self, key: str, text: str | None = None) -> None:
        """Ignored."""
