"""`swiftkv-bench distill`: a SwiftKV twin of a Llama checkpoint."""

from pathlib import Path
from typing import Annotated

import typer


def command(
    model: Annotated[Path, typer.Argument(help="Llama checkpoint folder (config.json, *.safetensors, tokenizer).")],
    layers: Annotated[int, typer.Option(help="Layers that keep computing their own K and V; half of them is usual.")],
    data: Annotated[Path, typer.Option(help="Text to distil on: .jsonl with text or messages, else plain text.")],
    out: Annotated[Path, typer.Option(help="Folder of the SwiftKV checkpoint.")],
    steps: Annotated[int, typer.Option(help="Optimizer steps.", min=1)] = 2000,
    batch_rows: Annotated[int, typer.Option(help="Rows of a step.", min=1)] = 8,
    row_tokens: Annotated[int, typer.Option(help="Tokens of a row.", min=2)] = 512,
    learning_rate: Annotated[float, typer.Option(help="Peak learning rate.")] = 3e-4,
    seed: Annotated[int, typer.Option(help="Of the order of the rows.")] = 0,
    quiet: Annotated[bool, typer.Option("--quiet", help="No progress.")] = False,
) -> None:
    """Rewires a Llama and distils it from itself, as published; the same command goes on after an interruption."""
    from swiftkv_bench.cli.progress import observer
    from swiftkv_bench.embedded.twin import TwinSettings, make_twin

    settings = TwinSettings(layers, steps, batch_rows, row_tokens, learning_rate, seed)
    with observer(quiet) as shown:
        agreement = make_twin(model, data, out, settings, shown)
    print(
        f"{out}: foresees the base's token at {agreement.distilled:.1%} of held-out positions "
        f"({agreement.undistilled:.1%} before distillation)"
    )
