"""Figures of an analysis, one module a figure. An open marker or hollow bar is a point that is not compared.

marks.py        what several share
throughput.py   combined throughput against input length
latency.py      TTFT and TPOT against request rate
gain.py         gain against input length, with its bound
objective.py    requests that meet the latency objective, against request rate
first_token.py  where the first token's time goes
requests.py     every request of one point
accuracy.py     differences in score
"""

from collections.abc import Sequence

from swiftkv_bench.analysis.values import Analysis
from swiftkv_bench.render.drawing import Figure
from swiftkv_bench.render.figures.accuracy import accuracy
from swiftkv_bench.render.figures.first_token import first_token
from swiftkv_bench.render.figures.gain import gain
from swiftkv_bench.render.figures.latency import latency
from swiftkv_bench.render.figures.objective import objective
from swiftkv_bench.render.figures.requests import requests
from swiftkv_bench.render.figures.throughput import throughput
from swiftkv_bench.render.several import figures_apart

_OF_LOAD = (throughput, gain, latency, objective, first_token, requests)


def figures(analysis: Analysis, formats: Sequence[str] = ("svg", "png")) -> tuple[Figure, ...]:
    """Every figure that the analysis has data for, in order of reading."""
    found: list[Figure] = []
    for perf in analysis.perf:
        found += figures_apart((draw(perf, formats) for draw in _OF_LOAD), perf, analysis.perf)
    for part in analysis.accuracy:
        found += figures_apart([accuracy(part, formats)], part, analysis.accuracy)
    return tuple(found)
