"""`swiftkv-bench distill`: SwiftKV twins of a checkpoint."""

from pathlib import Path
from typing import Annotated

import typer

from swiftkv_bench.errors import InputError


def command(
    model: Annotated[
        Path, typer.Argument(help="Llama, Mistral, Qwen2 or Qwen3 folder: config.json, *.safetensors, tokenizer.")
    ],
    layers: Annotated[
        str,
        typer.Option(
            help="Layers that keep computing their own K and V; half of them is usual. "
            "Several, as in 22,15,8, make several twins in one run."
        ),
    ],
    data: Annotated[
        list[Path],
        typer.Option(
            help="Text to distil on: .jsonl with text or messages, .npz token rows, else plain text. Repeats."
        ),
    ],
    out: Annotated[
        Path, typer.Option(help="Folder of the SwiftKV checkpoint; of several, the folder of their folders.")
    ],
    steps: Annotated[int | None, typer.Option(help="Optimizer steps.  [default: 2000]", min=1)] = None,
    budget_s: Annotated[
        float | None, typer.Option("--budget-s", help="Train for so many seconds instead of so many steps.", min=1)
    ] = None,
    batch_rows: Annotated[int, typer.Option(help="Rows of a step.", min=1)] = 8,
    row_tokens: Annotated[int, typer.Option(help="Tokens of a row.", min=2)] = 512,
    learning_rate: Annotated[float, typer.Option(help="Peak learning rate.")] = 3e-4,
    temperature: Annotated[float, typer.Option(help="At which the distributions are compared.")] = 2.0,
    hidden_weight: Annotated[float, typer.Option(help="Of the last hidden states' distance in the loss.", min=0)] = 1.0,
    start_from: Annotated[
        Path | None, typer.Option(help="An earlier --out: go on from its twins' weights, on other text or for longer.")
    ] = None,
    compiled: Annotated[bool, typer.Option("--compile/--no-compile", help="On a GPU, compile layers and loss.")] = True,
    seed: Annotated[int, typer.Option(help="Of the order of the rows.")] = 0,
    quiet: Annotated[bool, typer.Option("--quiet", help="No progress.")] = False,
) -> None:
    """Rewires a model and distils it from itself, as published; the same command goes on after an interruption."""
    from swiftkv_bench.cli.progress import observer
    from swiftkv_bench.embedded.twin import TwinSettings, make_twins

    if steps is not None and budget_s is not None:
        raise InputError("--steps and --budget-s exclude each other: give one of them.")
    try:
        depths = tuple(int(part) for part in layers.split(","))
    except ValueError as e:
        raise InputError(f"--layers {layers} is no list of whole numbers: write it as 15 or 22,15,8.") from e
    settings = TwinSettings(
        depths,
        steps=2000 if steps is None and budget_s is None else steps,
        budget_s=budget_s,
        batch_rows=batch_rows,
        row_tokens=row_tokens,
        learning_rate=learning_rate,
        seed=seed,
        temperature=temperature,
        hidden_weight=hidden_weight,
        compiled=compiled,
        start_from=start_from,
    )
    with observer(quiet) as shown:
        agreements = make_twins(model, data, out, settings, shown)
    for depth, agreement in agreements.items():
        before, after = agreement.undistilled, agreement.distilled
        print(
            f"{out if len(depths) == 1 else out / f'n{depth}'}: foresees the base's token at {after.agreement:.1%} of "
            f"held-out positions ({before.agreement:.1%} before distillation), KL {after.divergence:.4f} nat "
            f"({before.divergence:.4f})"
        )
