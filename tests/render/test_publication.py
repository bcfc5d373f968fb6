"""LaTeX and CSV of a table, whole."""

from swiftkv_bench.render.cells import Cell, Head, TableView
from swiftkv_bench.render.publication import comma_separated, latex

VIEW = TableView(
    key="k",
    title="Speed & more",
    heads=(Head("Load", align="left"), Head("Base", "TTFT_mean"), Head("gain", "TTFT_mean")),
    rows=((Cell("1/s †"), Cell("10 ms"), Cell("1.82×", "good", "[1.7, 1.9]")), (Cell("a,b"), Cell("–"), Cell("<1 %"))),
    note="100 % of n.",
)


def test_latex_escapes_its_signs_and_spans_groups() -> None:
    assert (
        latex(VIEW)
        == r"""\begin{table}
\centering
\caption{Speed \& more}
\begin{tabular}{lrr}
\toprule
 & \multicolumn{2}{c}{TTFT\_mean} \\
\cmidrule(lr){2-3}
Load & Base & gain \\
\midrule
1/s $\dagger$ & 10 ms & 1.82$\times$ [1.7, 1.9] \\
a,b & -- & $<$1 \% \\
\bottomrule
\end{tabular}
\par\smallskip\footnotesize 100 \% of n.
\end{table}
"""
    )


def test_csv_quotes_and_names_groups() -> None:
    assert comma_separated(VIEW) == (
        'Load,TTFT_mean: Base,TTFT_mean: gain\n1/s †,10 ms,"1.82× [1.7, 1.9]"\n"a,b",–,<1 %\n'
    )
