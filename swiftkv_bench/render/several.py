"""Keeps tables, figures and answers of several runs in one report apart: numbered keys, titles that name the run."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

from swiftkv_bench.analysis.values import AccuracyAnalysis, PerfAnalysis
from swiftkv_bench.judge.judgement import Judgement
from swiftkv_bench.render.cells import TableView
from swiftkv_bench.render.drawing import Figure

Part = PerfAnalysis | AccuracyAnalysis | Judgement


def kind(key: str) -> str:
    """What a table or figure is, whatever run it is of: `load` of `load-2`."""
    return key.partition("-")[0]


def told_apart(title: str, part: Part, parts: Sequence[Part]) -> str:
    """The title; with the run's name where several parts have the like."""
    return title if len(parts) == 1 else f"{title} ({part.run_id})"


def tables_apart(views: Iterable[TableView | None], part: Part, parts: Sequence[Part]) -> Iterator[TableView]:
    """The tables of one of several parts; those that it has no data for are left out."""
    for view in views:
        if view is not None:
            yield replace(view, key=_numbered(view.key, part, parts), title=told_apart(view.title, part, parts))


def figures_apart(drawn: Iterable[Figure | None], part: Part, parts: Sequence[Part]) -> Iterator[Figure]:
    """The figures of one of several parts."""
    for figure in drawn:
        if figure is not None:
            name, title = _numbered(figure.name, part, parts), told_apart(figure.title, part, parts)
            yield replace(figure, name=name, title=title)


def _numbered(key: str, part: Part, parts: Sequence[Part]) -> str:
    number = next(i for i, one in enumerate(parts, 1) if one is part)
    return key if number == 1 else f"{key}-{number}"
