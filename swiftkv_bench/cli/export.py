"""`swiftkv-bench export`: a run's records and figures as files for other programs."""

from pathlib import Path
from typing import Annotated

import typer


def command(
    run: Annotated[Path, typer.Argument(help="Run folder.", metavar="RUN")],
    out: Annotated[Path | None, typer.Option(help="Folder to write to. Default: export/ in the run.")] = None,
) -> None:
    """Writes points and requests as CSV and Parquet, and each trial as `vllm bench serve` would have written it."""
    from swiftkv_bench.analysis import analyse
    from swiftkv_bench.errors import writing
    from swiftkv_bench.notation import parse_objective
    from swiftkv_bench.render.export import export_points, export_requests, summary_json
    from swiftkv_bench.render.vllm_bench import export_vllm
    from swiftkv_bench.store import open_run

    opened, folder = open_run(run), out or run / "export"
    analysis = analyse(opened)
    slo = opened.manifest.slo
    with writing(folder, "choose another folder with --out"):
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "summary.json").write_text(summary_json(analysis), encoding="utf-8")
        trials = export_vllm(opened, folder / "vllm", None if slo is None else parse_objective(slo))
        files = [folder / "summary.json", *export_points(analysis, folder), *export_requests(opened, folder)]
    for path in files:
        print(path)
    if trials:
        print(f"{folder / 'vllm'}: {len(trials)} files, one a trial")
