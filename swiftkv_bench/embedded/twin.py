"""Makes a SwiftKV twin of a Llama checkpoint on disk: rewire, distil on the user's text, write the checkpoint."""

import hashlib
import json
import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from swiftkv_bench.embedded.distill import (
    DistillationLoss,
    distillation_losses,
    freeze_base,
    rewired_weights,
    swiftkv_parameters,
)
from swiftkv_bench.embedded.llama_folder import LlamaFolder
from swiftkv_bench.embedded.model import Llama
from swiftkv_bench.embedded.schedule import Stage, Trainer
from swiftkv_bench.embedded.text_rows import TEXT_WEIGHTS, TextFeed, TextRows, read_documents
from swiftkv_bench.errors import InputError, writing
from swiftkv_bench.observer import Observer
from swiftkv_bench.store import replace_file

#: Folder below the output for log and resumable state.
_TRAINING = "training"


@dataclass(frozen=True)
class TwinSettings:
    """How to distil.

    Attributes:
        num_key_value_layers: layers that keep computing their own K and V.
        steps: optimizer steps.
        batch_rows: rows of a step.
        row_tokens: tokens of a row.
        learning_rate: peak.
        seed: of the order of the rows.
        save_every_s: seconds between two saved states.
    """

    num_key_value_layers: int
    steps: int
    batch_rows: int = 8
    row_tokens: int = 512
    learning_rate: float = 3e-4
    seed: int = 0
    save_every_s: float = 60.0


@dataclass(frozen=True)
class Agreement:
    """Share of held-out positions at which twin and base foresee the same token, before and after distillation."""

    undistilled: float
    distilled: float


def make_twin(model: Path, data: Path, out: Path, settings: TwinSettings, observer: Observer) -> Agreement:
    """Write the SwiftKV twin of ``model`` to ``out``; the same call goes on where it was cut off.

    Raises:
        InputError: the model, the data or the number of layers does not fit, or `out` cannot be written or holds
            another model.
        StorageError: the disk is full.
    """
    with writing(out, "choose another folder with --out; the same command goes on"):
        return _make_twin(model, data, out, settings, observer)


def _make_twin(model: Path, data: Path, out: Path, settings: TwinSettings, observer: Observer) -> Agreement:
    source = LlamaFolder(model)
    layers = source.shape.num_hidden_layers
    if not 0 < settings.num_key_value_layers < layers:
        raise InputError(
            f"--layers {settings.num_key_value_layers} does not fit: {model} has {layers} layers, "
            f"give 1 to {layers - 1}."
        )
    if out.resolve() == model.resolve():
        raise InputError(f"--out {out} is the model itself: give another folder.")
    if not 0 < settings.learning_rate < math.inf:
        raise InputError(f"--learning-rate {settings.learning_rate:g} does not fit: give a number above 0.")
    rows = TextRows.pack(read_documents(data, _tokenizer(model)), settings.row_tokens, f"--data {data}")
    _claim(
        out,
        {"model": str(model.resolve()), "data": hashlib.sha256(rows.training.numpy().tobytes()).hexdigest()},
        settings,
    )
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    with torch.device("meta"):
        twin = Llama(source.shape, settings.num_key_value_layers)
    # `assign` keeps one copy of the weights in memory.
    twin.load_state_dict(rewired_weights(source.weights(), layers, settings.num_key_value_layers), assign=True)
    twin.to(device)
    freeze_base(twin)
    trainer = Trainer(
        out / _TRAINING,
        device,
        _shown(observer),
        save_every_s=settings.save_every_s,
        log_every=max(1, settings.steps // 100),
    )
    with trainer.autocast():
        undistilled = _agreement(twin, rows.held_out, settings.batch_rows)
    stage = Stage(
        f"n{settings.num_key_value_layers}",
        settings.steps,
        None,
        settings.learning_rate,
        warmup_steps=max(1, settings.steps // 20),
    )
    objective = DistillationLoss()
    trainer.train(
        stage,
        twin,
        lambda ids: distillation_losses(twin, ids, objective),
        TextFeed(rows, settings.batch_rows, settings.seed, device),
        TEXT_WEIGHTS,
    )
    with trainer.autocast():
        distilled = _agreement(twin, rows.held_out, settings.batch_rows)
    source.write_twin(out, settings.num_key_value_layers, swiftkv_parameters(twin))
    return Agreement(undistilled, distilled)


def _claim(out: Path, source: dict[str, str], settings: TwinSettings) -> None:
    """Notes what `out` is made of, so that only the same command goes on there.

    Raises:
        InputError: it holds something else.
    """
    note = out / _TRAINING / "settings.json"
    wanted = source | {name: value for name, value in asdict(settings).items() if name != "save_every_s"}
    if note.exists():
        known = json.loads(note.read_bytes())
        changed = [name for name, value in wanted.items() if known.get(name) != value]
        if changed:
            raise InputError(f"--out {out} holds a twin made with another {changed[0]}: give another folder.")
    elif out.exists() and any(out.iterdir()):
        raise InputError(f"--out {out} is not empty and holds no twin begun by this command: give another folder.")
    else:
        replace_file(note, (json.dumps(wanted, indent=1) + "\n").encode())


def _tokenizer(model: Path) -> Any:
    from transformers import AutoTokenizer  # slow to import

    try:
        return AutoTokenizer.from_pretrained(str(model))
    except (OSError, ValueError) as e:
        raise InputError(f"{model} has no readable tokenizer ({e}): give a whole checkpoint folder.") from e


@torch.no_grad()
def _agreement(twin: Llama, rows: Tensor, batch_rows: int) -> float:
    same = []
    for part in rows.to(next(twin.parameters()).device).split(batch_rows):  # type: ignore[no-untyped-call]
        shared = twin.early(part)
        chosen = [twin.logits(twin.late(shared, swiftkv=swiftkv)).argmax(-1) for swiftkv in (False, True)]
        same.append((chosen[0] == chosen[1]).float().flatten())
    return float(torch.cat(same).mean())


def _shown(observer: Observer) -> Any:
    def announce(event: dict[str, Any]) -> None:
        if "losses" in event:
            text = f"step {event['step']} of {event['steps']}, loss {event['losses']['text']:.4f}"
            observer.progress("distill", text, event["step"], event["steps"])
        elif event.get("event") == "start" and event["step"]:
            observer.note(f"Going on from step {event['step']} of {event['steps']}.")
        elif event.get("event") == "done":
            observer.finish("distill", f"distilled in {event['seconds']:.0f} s")

    return announce
