"""The weights that ship with the package: the baseline, and for each SwiftKV twin only what it adds.

``weights.json`` beside them holds the sha256 of every file; a file that differs is refused.
"""

import hashlib
import json
from functools import cached_property
from pathlib import Path
from typing import Any

from swiftkv_bench.embedded.architecture import EMBEDDED_SHAPE, swiftkv_sources
from swiftkv_bench.embedded.tensor_file import RawTensor, parse_tensors
from swiftkv_bench.errors import InputError

SHIPPED_FOLDER = Path(__file__).parent / "weights"
MANIFEST = "weights.json"
BASELINE_FILE = "baseline.safetensors"
TOKENIZER_FILE = "tokenizer.json"


def twin_file(num_key_value_layers: int) -> str:
    """Name of the file with what a twin adds to the baseline."""
    return f"swiftkv-n{num_key_value_layers}.safetensors"


class ShippedWeights:
    """A folder of shipped weights, every file checked when read."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    @cached_property
    def _sha256(self) -> dict[str, str]:
        path = self._folder / MANIFEST
        try:
            hashes: dict[str, str] = json.loads(path.read_text(encoding="utf-8"))["sha256"]
        except (OSError, ValueError, KeyError) as e:
            raise InputError(f"{path} lists no weights ({e}): install swiftkv-bench again.") from e
        return hashes

    @property
    def identity(self) -> str:
        """Twelve hexadecimal digits that change with any shipped file."""
        listed = json.dumps(self._sha256, sort_keys=True)
        return hashlib.sha256(listed.encode()).hexdigest()[:12]

    @property
    def splits(self) -> tuple[int, ...]:
        """The numbers of key/value layers of which there is a twin."""
        return tuple(n for n in range(1, EMBEDDED_SHAPE.num_hidden_layers) if twin_file(n) in self._sha256)

    def baseline(self) -> dict[str, RawTensor]:
        """The baseline's weights.

        Raises:
            InputError: the file is absent or not the one that was trained.
        """
        return parse_tensors(self._read(BASELINE_FILE), BASELINE_FILE)

    def twin(self, num_key_value_layers: int, distilled: bool) -> dict[str, RawTensor]:
        """The weights of a SwiftKV twin: the baseline's, and those it adds, distilled or as copied from the baseline.

        Raises:
            InputError: there is no such twin, or a file is not the one that was trained.
        """
        if num_key_value_layers not in self.splits:
            raise InputError(
                f"No embedded SwiftKV twin has {num_key_value_layers} key/value layers: use one of "
                f"{', '.join(map(str, self.splits))}."
            )
        weights = self.baseline()
        sources = swiftkv_sources(EMBEDDED_SHAPE, num_key_value_layers)
        if not distilled:
            return weights | {name: weights[source] for name, source in sources.items()}
        name = twin_file(num_key_value_layers)
        return weights | parse_tensors(self._read(name), name)

    def tokenizer(self) -> dict[str, Any]:
        """Content of the tokenizer's file."""
        content: dict[str, Any] = json.loads(self._read(TOKENIZER_FILE))
        return content

    def _read(self, name: str) -> bytes:
        path = self._folder / name
        try:
            content = path.read_bytes()
        except OSError as e:
            raise InputError(f"{path} cannot be read ({e.strerror}): install swiftkv-bench again.") from e
        found = hashlib.sha256(content).hexdigest()
        if found != self._sha256.get(name):
            raise InputError(f"{path} has sha256 {found[:12]}..., not the shipped one: install swiftkv-bench again.")
        return content


def write_manifest(folder: Path) -> None:
    """List the weights of a folder with their sha256, which makes it a folder of shipped weights."""
    files = [TOKENIZER_FILE, *sorted(path.name for path in folder.glob("*.safetensors"))]
    hashes = {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in files}
    (folder / MANIFEST).write_text(json.dumps({"sha256": hashes}, indent=1) + "\n", encoding="utf-8")
