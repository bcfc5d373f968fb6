"""The common base of everything that is read or written, and the version of the written format.

Format history:
    1  first format. Trials recorded before engines were watched have an empty `telemetry`; it is read as none.
"""

import hashlib
import json
from typing import Any

from pydantic import BaseModel, ConfigDict

SCHEMA_VERSION = 1
"""Version of the files in a run folder. A reader refuses newer versions and upgrades older ones."""


class Record(BaseModel):
    """A frozen value with named, described fields; an unknown field is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid")


def content_hash(value: Any) -> str:
    """First 16 hex digits of the SHA-256 of a value's canonical JSON (sorted keys, no spaces)."""
    if isinstance(value, BaseModel):
        value = value.model_dump(mode="json")
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
