"""JSON in a file of the user's: what cannot be read is one sentence with line and column."""

import json
from pathlib import Path
from typing import Any

from swiftkv_bench.errors import InputError


def read_json(text: str, path: Path, line: int, *, kind: str, repair: str) -> Any:
    """The value of a file, or of one line of it.

    Args:
        line: where the text begins in the file.
        kind: what it should be, for the message, e.g. `prompt`.
        repair: what to do about it.

    Raises:
        InputError: it is no JSON, nests too deep, or has a number of thousands of digits.
    """
    try:
        return json.loads(text)
    except json.JSONDecodeError as e:
        raise InputError(f"{path}:{line + e.lineno - 1}:{e.colno} is no JSON ({e.msg}); {repair}") from e
    except RecursionError as e:
        raise InputError(f"{path}:{line}:1 is no {kind} (it nests too deep); {repair}") from e
    except ValueError as e:  # Python's own limit of digits
        raise InputError(f"{path}:{line}:1 is no {kind} (it has a number of too many digits); {repair}") from e
