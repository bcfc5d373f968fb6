"""Writes the report of an analysis: one self-contained HTML page, Markdown, figures, and figures as data.

The page makes no request, works without scripts but for the item browser, and escapes every text that came from a
model, a server or a file.
"""

import json
import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from swiftkv_bench import units
from swiftkv_bench.analysis.values import AccuracyAnalysis, Analysis, ItemView, RunInfo
from swiftkv_bench.metrics import DEFINITIONS
from swiftkv_bench.render import wording
from swiftkv_bench.render.cells import TableView
from swiftkv_bench.render.export import export_points, summary_json
from swiftkv_bench.render.findings import grouped_findings
from swiftkv_bench.render.markdown import markdown, title
from swiftkv_bench.render.plots import COLOUR, FIRST, GRID, INK, PAPER, QUIET, Figure, figures
from swiftkv_bench.render.publication import comma_separated, latex
from swiftkv_bench.render.summary import statements
from swiftkv_bench.render.tables import tables
from swiftkv_bench.render.wording import ARM

ITEM_BYTES = 1_500_000
"""Most bytes of item texts in a page, so that it stays below 3 MB."""
PROMPT_SHOWN, ANSWER_SHOWN = 2_000, 2_000
"""Characters of a prompt's end and of an answer's start that the page shows."""

WIDE = 680
"""Pixels from which a figure takes the page's whole width."""

_TEMPLATES = Path(__file__).parent / "templates"
_LOAD, _QUALITY = ("load", "bound", "detail"), ("accuracy", "origin", "answers")
_FIGURES_OF_QUALITY = ("accuracy_difference",)


def write_report(analysis: Analysis, folder: Path) -> list[Path]:
    """Writes report.html, report.md, summary.json, points.csv and .parquet, figures/ and tables/.

    Figures are PNG, SVG and PDF, tables CSV and LaTeX. Returns the files written, the page first.
    """
    drawn = figures(analysis, ("svg", "png", "pdf"))
    for part in ("figures", "tables"):
        (folder / part).mkdir(parents=True, exist_ok=True)
    written = []
    for figure in drawn:
        for suffix, content in figure.files.items():
            path = folder / "figures" / f"{figure.name}.{suffix}"
            path.write_bytes(content)
            written.append(path)
    texts = {
        "report.html": html(analysis, drawn),
        "report.md": markdown(analysis, [f"figures/{figure.name}.png" for figure in drawn]),
        "summary.json": summary_json(analysis),
    }
    for view in tables(analysis):
        texts[f"tables/{view.key}.csv"] = comma_separated(view)
        texts[f"tables/{view.key}.tex"] = latex(view)
    for name, text in texts.items():
        (folder / name).write_text(text, encoding="utf-8")
    return [*(folder / name for name in texts), *written, *export_points(analysis, folder)]


def html(analysis: Analysis, drawn: Sequence[Figure]) -> str:
    """The page; `drawn` must hold SVG."""
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    views = tables(analysis)
    pictures = [_picture(figure) for figure in drawn]
    items = [_browser(part) for part in analysis.accuracy if part.items]
    return environment.get_template("report.html.j2").render(
        title=title(analysis),
        heading="SwiftKV against its baseline",
        subtitle=_subtitle(analysis),
        statements=statements(analysis),
        quality={
            "figures": [f for f in pictures if f.name in _FIGURES_OF_QUALITY],
            "tables": [_table(v) for v in views if v.key in _QUALITY],
        },
        load={
            "figures": [f for f in pictures if f.name not in _FIGURES_OF_QUALITY],
            "tables": [_table(v) for v in views if v.key in _LOAD],
        },
        findings=grouped_findings(analysis),
        browsers=items,
        definitions=DEFINITIONS,
        provenance=[_provenance(run) for run in analysis.runs],
        commands=_commands(analysis),
        css=_safe((_TEMPLATES / "report.css").read_text(encoding="utf-8")),
        script=_safe((_TEMPLATES / "items.js").read_text(encoding="utf-8")),
    )


def _safe(text: str) -> Any:
    """Our own text, not to be escaped."""
    import markupsafe

    return markupsafe.Markup(text)


def _subtitle(analysis: Analysis) -> str:
    run = analysis.runs[0].manifest
    pair = [name for arm, name in wording.models(run).items() if arm in ("baseline", "swiftkv")]
    gpus = [a.name for a in run.machine.accelerators]
    where = f"{len(gpus)} × {gpus[0]}" if gpus else (run.machine.cpu or run.machine.platform)
    models = " against ".join(dict.fromkeys(reversed(pair)))
    return f"{models}. Profile {run.profile} on {where}, {run.created_utc[:16].replace('T', ' ')} UTC"


@dataclass(frozen=True)
class _Picture:
    name: str
    title: str
    caption: str
    svg: Any
    wide: bool


_THEME = {
    INK: "var(--ink)", QUIET: "var(--quiet)", GRID: "var(--grid)", PAPER: "var(--paper)", FIRST: "var(--first)",
    COLOUR["baseline"]: "var(--baseline)", COLOUR["swiftkv"]: "var(--swiftkv)",
    COLOUR["swiftkv-full"]: "var(--swiftkv-full)",
}  # fmt: skip


def _picture(figure: Figure) -> _Picture:
    """The SVG made ready to stand in a page: themed, with ids of its own, described."""
    text = figure.files["svg"].decode()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = re.sub(r"<defs>\s*<style.*?</style>\s*</defs>", "", text, flags=re.DOTALL)
    prefix = f"{figure.name}-"
    text = re.sub(r'\bid="', f'id="{prefix}', text)
    text = text.replace("url(#", f"url(#{prefix}").replace('xlink:href="#', f'xlink:href="#{prefix}')
    text = re.sub(r"#[0-9a-f]{6}\b", lambda m: _THEME.get(m.group(), m.group()), text)
    text = re.sub(r"font-family: [^;\"]*", "font-family: inherit", text)
    text = re.sub(r"\n\s*", "\n", text)
    size = re.search(r'width="([\d.]+)pt" height="[\d.]+pt"', text)
    width = float(size.group(1)) * 4 / 3 if size else 640.0
    label = _attribute(f"{figure.title}. {figure.description}")
    text = re.sub(
        r'width="[\d.]+pt" height="[\d.]+pt"',
        f'role="img" aria-label="{label}" style="max-width:{width:.0f}px"',
        text,
        count=1,
    )
    return _Picture(figure.name, figure.title, figure.caption, _safe(text), width > WIDE)


def _attribute(text: str) -> str:
    import markupsafe

    return str(markupsafe.escape(text))


@dataclass(frozen=True)
class _Group:
    text: str
    span: int


@dataclass(frozen=True)
class _Table:
    view: TableView
    groups: tuple[_Group, ...]
    starts: frozenset[int]


def _table(view: TableView) -> _Table:
    """With neighbouring equal groups joined into spanning heads; `starts` are columns that begin one."""
    groups: list[_Group] = []
    starts = set()
    for i, head in enumerate(view.heads):
        if head.group and groups and groups[-1].text == head.group:
            groups[-1] = _Group(head.group, groups[-1].span + 1)
        else:
            groups.append(_Group(head.group, 1))
            if head.group or (i and view.heads[i - 1].group):
                starts.add(i)
    return _Table(view, tuple(groups) if any(g.text for g in groups) else (), frozenset(starts))


@dataclass(frozen=True)
class _Browser:
    title: str
    note: str
    columns: tuple[tuple[str, str], ...]
    data: Any
    unparsed: int


def _browser(part: AccuracyAnalysis) -> _Browser:
    titles = {c.column.name: c.column.title for c in part.columns}
    rows, used = [], 0
    for item in part.items:
        row = _item(item)
        size = len(json.dumps(row))
        if used + size > ITEM_BYTES:
            break
        used += size
        rows.append(row)
    note = (
        f"{len(rows):,} of {part.items_total:,} items, flips first ({part.flips_total:,} items flipped between "
        "baseline and SwiftKV). Long prompts show their end, long answers their start. All "
        "items are in items.jsonl of the run."
    )
    shown = {row["column"] for row in rows}
    return _Browser(
        title=part.plan.suite,
        note=note,
        columns=tuple((name, text) for name, text in titles.items() if name in shown),
        data=_script_json({"titles": titles, "arms": ARM, "items": rows}),
        unparsed=sum(any(a["unparsed"] for a in row["answers"]) for row in rows),
    )


def _item(item: ItemView) -> dict[str, Any]:
    prompt = item.prompt or ""
    return {
        "column": item.column,
        "task": item.task,
        "id": item.doc_id,
        "flip": item.flip,
        "prompt": prompt if len(prompt) <= PROMPT_SHOWN else "… " + prompt[-PROMPT_SHOWN:],
        "target": item.target,
        "answers": [
            {"arm": arm, "score": score, "text": _start(text), "unparsed": unparsed}
            for arm, (score, text, unparsed) in item.answers.items()
        ],
    }


def _start(text: str) -> str:
    return text if len(text) <= ANSWER_SHOWN else text[:ANSWER_SHOWN] + " …"


def _script_json(value: Any) -> Any:
    """JSON that cannot end the script element it stands in."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    for sign, code in (
        ("<", "\\u003c"),
        (">", "\\u003e"),
        ("&", "\\u0026"),
        ("\u2028", "\\u2028"),
        ("\u2029", "\\u2029"),
    ):
        text = text.replace(sign, code)
    return _safe(text)


@dataclass(frozen=True)
class _Provenance:
    title: str
    facts: tuple[tuple[str, str], ...]
    probes: tuple[tuple[str, str, str, str], ...]


def _provenance(run: RunInfo) -> _Provenance:
    m = run.manifest
    git = "not a checkout" if m.git is None else m.git.commit + (" with uncommitted changes" if m.git.dirty else "")
    machine = [m.machine.platform, m.machine.cpu, f"{m.machine.logical_cpus} logical processors"]
    machine += [units.size(m.machine.memory_bytes)] if m.machine.memory_bytes is not None else []
    machine += [
        f"{a.name} ({units.size(a.memory_bytes)}, driver {a.driver or 'unknown'})" for a in m.machine.accelerators
    ]
    facts = [
        ("Run", f"{m.run_id}, {m.status}, format {m.schema_version}"),
        ("Started", m.created_utc),
        ("Machine", ", ".join(x for x in machine if x)),
        ("Program", f"swiftkv-bench {m.harness_version}, commit {git}"),
        ("Packages", ", ".join(f"{name} {version}" for name, version in sorted(m.packages.items()))),
        ("Plan", f"hash {m.plan_hash}" + "".join(f", {text}" for text in _plans(run))),
    ]
    infos = {info.arm: info for info in m.engine_info}
    for spec in m.engines:
        args = " ".join(f"--{k}={v}" for k, v in sorted(spec.args.items()))
        info = infos.get(spec.arm)
        version = f", engine version {info.version}" if info is not None and info.version else ""
        revision = f" at {spec.revision}" if spec.revision else ""
        text = f"{spec.model}{revision} on {spec.kind}{version}, context {spec.max_model_len:,} {args}"
        facts.append((ARM[spec.arm], text.strip()))
    probes = tuple((p.name, ARM.get(p.arm, p.arm), p.status, p.detail) for p in m.probes)  # type: ignore[call-overload]
    return _Provenance(m.run_id, tuple(facts), probes)


def _plans(run: RunInfo) -> list[str]:
    plan, out = run.manifest.plan, []
    if plan.accuracy is not None:
        out.append(f"suite {plan.accuracy.suite} ({plan.accuracy.suite_hash}), item seed {plan.accuracy.seed}")
        out.append(f"protocol: {plan.accuracy.protocol}")
    if plan.perf is not None:
        out.append(f"{len(plan.perf.trials)} trials, load seed {plan.perf.seed}")
    return out


def _commands(analysis: Analysis) -> list[tuple[str, str]]:
    out = []
    for run in analysis.runs:
        if run.manifest.argv:
            out.append((f"Measure {run.manifest.run_id} again", shlex.join(run.manifest.argv)))
    folders = " ".join(shlex.quote(run.folder) for run in analysis.runs)
    out.append(("Make this report again from the records", f"swiftkv-bench report {folders}"))
    return out
