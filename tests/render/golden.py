"""Golden files: what a renderer printed when a person last looked at it.

`SWIFTKV_BENCH_UPDATE_GOLDEN=1 python -m pytest tests/render` writes them anew; look at the difference before you
commit it.
"""

import os
from pathlib import Path

FOLDER = Path(__file__).parent / "golden"


def check(name: str, text: str, folder: Path = FOLDER) -> None:
    """Compares with the golden file, or writes it when asked to."""
    path = folder / name
    if os.environ.get("SWIFTKV_BENCH_UPDATE_GOLDEN"):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    assert text == path.read_text(encoding="utf-8")
