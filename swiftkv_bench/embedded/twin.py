"""Makes SwiftKV twins of a Llama checkpoint on disk: rewire, distil on the user's text, write the checkpoints."""

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from swiftkv_bench.embedded.architecture import swiftkv_sources
from swiftkv_bench.embedded.depths import Depths
from swiftkv_bench.embedded.distill import DistillationLoss
from swiftkv_bench.embedded.distilling import Course, Distillation, Nearness, Trained, kept_weights
from swiftkv_bench.embedded.llama_folder import ADDED_FILE, LlamaFolder
from swiftkv_bench.embedded.text_rows import digest, read_rows
from swiftkv_bench.embedded.weights_io import load_weights
from swiftkv_bench.errors import InputError, writing
from swiftkv_bench.observer import Observer
from swiftkv_bench.store import replace_file

#: Folder below the output for log, curves, record and resumable state.
_TRAINING = "training"


@dataclass(frozen=True)
class TwinSettings:
    """How to distil.

    Attributes:
        depths: for each twin, the layers that keep computing their own K and V.
        steps: optimizer steps; None fits them to ``budget_s``.
        budget_s: seconds of training, used where ``steps`` is None.
        batch_rows: rows of a step, where rows have ``row_tokens``.
        row_tokens: tokens of a row of text; rows files keep theirs.
        learning_rate: peak.
        seed: of the order of the rows.
        save_every_s: seconds between two saved states.
        temperature: at which distributions are compared.
        hidden_weight: of the last hidden states' distance in the loss.
        compiled: on a GPU, compile layers and loss.
        start_from: a folder that this command wrote: its twins' weights instead of the base's to start from.
    """

    depths: tuple[int, ...]
    steps: int | None
    budget_s: float | None = None
    batch_rows: int = 8
    row_tokens: int = 512
    learning_rate: float = 3e-4
    seed: int = 0
    save_every_s: float = 60.0
    temperature: float = DistillationLoss.temperature
    hidden_weight: float = DistillationLoss.hidden_weight
    compiled: bool = True
    start_from: Path | None = None

    def course(self) -> Course:
        """How the loop is to train."""
        loss = DistillationLoss(self.temperature, self.hidden_weight)
        tokens = self.batch_rows * self.row_tokens
        return Course(
            self.steps, self.budget_s, tokens, self.learning_rate, self.seed, self.save_every_s, self.compiled, loss
        )


@dataclass(frozen=True)
class Agreement:
    """A twin beside its base on held-out text, before and after distillation."""

    undistilled: Nearness
    distilled: Nearness


def make_twins(
    model: Path, data: Sequence[Path], out: Path, settings: TwinSettings, observer: Observer
) -> dict[int, Agreement]:
    """Write the SwiftKV twins of ``model``; the same call goes on where it was cut off.

    One depth is written to ``out`` itself, several to ``out/n<N>``.

    Raises:
        InputError: the model, the data or the number of layers does not fit, or `out` cannot be written or holds
            another model.
        StorageError: the disk is full.
    """
    with writing(out, "choose another folder with --out; the same command goes on"):
        return _make_twins(model, data, out, settings, observer)


def write_undistilled(model: Path, depth: int, out: Path) -> None:
    """Write the twin as it is right after rewiring, before any distillation.

    Raises:
        InputError: the model cannot be used.
    """
    source = LlamaFolder(model)
    weights = source.weights()
    sources = swiftkv_sources(source.shape, depth)
    source.write_twin(out, depth, {name: weights[origin] for name, origin in sources.items()})


def _make_twins(
    model: Path, data: Sequence[Path], out: Path, settings: TwinSettings, observer: Observer
) -> dict[int, Agreement]:
    source = LlamaFolder(model)
    _check(source, out, settings)
    sets = read_rows(data, read_tokenizer(model), settings.row_tokens, source.shape.vocab_size)
    training = out / _TRAINING
    _claim(out, {"model": str(model.resolve()), "data": digest(sets)}, settings)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    dtype = torch.bfloat16 if device.type == "cuda" else torch.float32
    depths = Depths(source.shape, source.weights(), settings.depths, device, dtype)
    if settings.start_from is not None:
        for depth in settings.depths:
            depths.load(depth, _earlier(settings.start_from, depth, depths.added(depth)))
    distillation = Distillation(depths, sets, settings.course(), training, observer)
    trained = distillation.run()
    agreements = {}
    for depth in settings.depths:
        agreements[depth] = Agreement(distillation.undistilled[depth], distillation.distilled[depth])
        source.write_twin(_folder(out, settings, depth), depth, depths.added(depth))
    texts = {rows.name: rows.training.numel() for rows in sets}
    record = _record(source, settings, device, trained) | {
        "training_tokens_of_each_text": texts,
        "agreement": {str(depth): asdict(agreement) for depth, agreement in agreements.items()},
    }
    replace_file(training / "record.json", (json.dumps(record, indent=1) + "\n").encode())
    return agreements


def _check(source: LlamaFolder, out: Path, settings: TwinSettings) -> None:
    layers = source.shape.num_hidden_layers
    for depth in settings.depths:
        if not 0 < depth < layers:
            raise InputError(
                f"--layers {depth} does not fit: {source.folder} has {layers} layers, give 1 to {layers - 1}."
            )
    if len(set(settings.depths)) < len(settings.depths) or not settings.depths:
        raise InputError(f"--layers {','.join(map(str, settings.depths))}: give each number of layers once.")
    if out.resolve() == source.folder.resolve():
        raise InputError(f"--out {out} is the model itself: give another folder.")
    for flag, value in (("--learning-rate", settings.learning_rate), ("--temperature", settings.temperature)):
        if not 0 < value < math.inf:
            raise InputError(f"{flag} {value:g} does not fit: give a number above 0.")


def _folder(out: Path, settings: TwinSettings, depth: int) -> Path:
    return out if len(settings.depths) == 1 else out / f"n{depth}"


def _earlier(folder: Path, depth: int, wanted: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """What an earlier training added at this depth.

    Raises:
        InputError: there is no such file, or it is of another model or depth.
    """
    places = [folder / f"n{depth}" / ADDED_FILE, folder / ADDED_FILE, kept_weights(folder / _TRAINING, depth)]
    path = next((place for place in places if place.is_file()), None)
    if path is None:
        raise InputError(f"--start-from {folder} has no n{depth}/{ADDED_FILE}: give a folder that distill wrote.")
    found = load_weights(path)
    shapes = [{name: tuple(t.shape) for name, t in tensors.items()} for tensors in (found, wanted)]
    if shapes[0] != shapes[1]:
        raise InputError(f"--start-from {path} is of another model or another number of layers than {depth}.")
    return found


def _record(source: LlamaFolder, settings: TwinSettings, device: torch.device, trained: Trained) -> dict[str, Any]:
    return {
        "weights_sha256": {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in source.files},
        "settings": asdict(settings) | {"start_from": settings.start_from and str(settings.start_from)},
        "training": asdict(trained),
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu",
        "peak_memory_bytes": torch.cuda.max_memory_allocated(device) if device.type == "cuda" else None,
        "torch": torch.__version__,
    }


def _claim(out: Path, source: dict[str, str], settings: TwinSettings) -> None:
    """Notes what `out` is made of, so that only the same command goes on there.

    Raises:
        InputError: it holds something else.
    """
    note = out / _TRAINING / "settings.json"
    values = asdict(settings) | {
        "depths": list(settings.depths),
        "start_from": None if settings.start_from is None else str(settings.start_from.resolve()),
    }
    wanted = source | {name: value for name, value in values.items() if name not in ("save_every_s", "compiled")}
    if note.exists():
        known = json.loads(note.read_bytes())
        changed = [name for name, value in wanted.items() if known.get(name) != value]
        if changed:
            raise InputError(f"--out {out} holds a twin made with another {changed[0]}: give another folder.")
    elif out.exists() and any(out.iterdir()):
        raise InputError(f"--out {out} is not empty and holds no twin begun by this command: give another folder.")
    else:
        replace_file(note, (json.dumps(wanted, indent=1) + "\n").encode())


def read_tokenizer(model: Path) -> Any:
    """The tokenizer of a checkpoint folder.

    Raises:
        InputError: it has none that can be read.
    """
    from transformers import AutoTokenizer  # slow to import

    try:
        return AutoTokenizer.from_pretrained(str(model))
    except (OSError, ValueError) as e:
        raise InputError(f"{model} has no readable tokenizer ({e}): give a whole checkpoint folder.") from e
