"""A comparison as one self-contained page, and every file of its report."""

from collections.abc import Sequence
from pathlib import Path

import yaml

from swiftkv_bench.analysis.values import AnswerView, ItemView
from swiftkv_bench.judge.comparison import FlippedItem, RunComparison
from swiftkv_bench.render.browser import Browser, Listing, pack
from swiftkv_bench.render.comparison.comment import comment
from swiftkv_bench.render.comparison.figures import figures
from swiftkv_bench.render.comparison.junit import junit
from swiftkv_bench.render.comparison.summary import compared, grouped_notes, statements, title
from swiftkv_bench.render.comparison.tables import both_sides, claims_table, keys_table, part_tables
from swiftkv_bench.render.drawing import Figure
from swiftkv_bench.render.findings import MEANING
from swiftkv_bench.render.page import TERMS, page_table, picture, render
from swiftkv_bench.render.wording import ARM

_TERMS = {
    "Primary": "A claim that decides: the report passes only when each of them does.",
    "Guard": "A claim that cannot make the report pass, but makes it fail.",
    "Bounds": "One-sided bounds at the policy's confidence. PASS needs the bound on the bad side to be within the "
    "limit, FAIL needs the bound on the good side to be beyond it.",
    "Correction": "Holm's procedure over all claims that decide or guard. Scores, flips and the figures under load "
    "that decide have three times the share of the error rate that answers, published differences and guards have.",
    "Noise floor": "The share of answers that change when one engine answers the same items twice: measured by "
    "--repeat-baseline, else the policy's.",
}


def write_comparison(found: RunComparison, folder: Path) -> list[Path]:
    """Writes comparison.html, .md and .json, junit.xml and figures/; the page first."""
    (folder / "figures").mkdir(parents=True, exist_ok=True)
    drawn = figures(found, ("svg", "png"))
    texts = {
        "comparison.html": html(found, drawn),
        "comparison.md": comment(found),
        "comparison.json": found.model_dump_json(indent=1) + "\n",
        "junit.xml": junit(found),
    }
    for name, text in texts.items():
        (folder / name).write_text(text, encoding="utf-8")
    written = [folder / name for name in texts]
    for figure in drawn:
        for suffix, content in figure.files.items():
            path = folder / "figures" / f"{figure.name}.{suffix}"
            path.write_bytes(content)
            written.append(path)
    return written


def html(found: RunComparison, drawn: Sequence[Figure]) -> str:
    """The page; `drawn` must hold SVG."""
    pictures = {figure.name: picture(figure) for figure in drawn}
    keys = keys_table(found)
    browser = flipped_items(found)
    parts = [
        (name, heading, pictures.get(f"{part}_change"), [page_table(view) for view in part_tables(found, part)])
        for part, name, heading in (("accuracy", "quality", "Accuracy"), ("performance", "load", "Speed under load"))
    ]
    return render(
        "comparison.html.j2",
        title=title(found),
        heading=title(found),
        subtitle="swiftkv-bench compare, " + found.created_utc[:16].replace("T", " ") + " UTC",
        compared=compared(found),
        statements=statements(found),
        claims=page_table(claims_table(found.lines, found.policy.confidence)),
        parts=[part for part in parts if part[3]],
        findings=grouped_notes(found),
        meaning=MEANING,
        browsers=[] if browser is None else [browser],
        terms={**_TERMS, **TERMS},
        sides=page_table(both_sides(found)),
        keys=None if keys is None else page_table(keys),
        policy=yaml.safe_dump(found.policy.model_dump(mode="json"), sort_keys=False, allow_unicode=True),
        commands=[("In this order", "\n".join(found.commands))],
    )


def flipped_items(found: RunComparison) -> Browser | None:
    """The items that changed, for the browser; None when none did."""
    if not found.flipped:
        return None
    titles = {line.where: line.title for line in found.lines if line.family == "score"}
    note = f"{len(found.flipped):,} of {found.flipped_total:,} items that changed."
    if any(item.prompt is None for item in found.flipped):
        note += " Texts are shown where the run folder is at hand; accepted runs keep scores only."
    sides = {"reference": "Reference", "candidate": "Candidate"}
    return pack(Listing("Items that changed", [_view(item) for item in found.flipped], titles, sides, note))


def _view(item: FlippedItem) -> ItemView:
    answers = (
        ("reference", item.reference_score, item.reference_answer),
        ("candidate", item.candidate_score, item.candidate_answer),
    )
    gained = item.candidate_score > item.reference_score
    return ItemView(
        column=item.column,
        task=f"{item.task}, {ARM[item.arm]} against {item.reference},",
        doc_id=item.doc_id,
        prompt=item.prompt,
        target=item.target or "not recorded here",
        answers={side: AnswerView(score, text or "not recorded here", None, False) for side, score, text in answers},
        flip="gained" if gained else "lost",
    )
