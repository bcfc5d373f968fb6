"""Takes the picture of a report page's beginning, as in docs/images: `python scripts/picture.py PAGE OUT.png`.

Needs Chromium.
"""

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

NAMES = ("chromium", "chromium-browser", "google-chrome")
SIZE = (1280, 1420)


def main(page: Path, out: Path) -> int:
    """Exit code 0 when the picture was written, 2 when it could not be."""
    program = next((path for name in NAMES if (path := shutil.which(name))), None)
    if program is None or not page.is_file():
        print(f"picture: {'no chromium on this machine' if program is None else f'{page} is no file'}")
        return 2
    with tempfile.TemporaryDirectory() as scratch:
        command = [
            program, "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", f"--user-data-dir={scratch}",
            f"--window-size={SIZE[0]},{SIZE[1]}", "--virtual-time-budget=4000", f"--screenshot={out}",
            page.resolve().as_uri(),
        ]  # fmt: skip
        subprocess.run(command, check=True, capture_output=True, timeout=120)
    print(f"{out}: {out.stat().st_size:,} bytes")
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), Path(sys.argv[2])))
