"""Reads the items of a page the way its script does."""

import base64
import json
import zlib
from typing import Any


def unpacked(text: str) -> dict[str, Any]:
    """The content of a packed script element."""
    return dict(json.loads(zlib.decompress(base64.b64decode(text))))
