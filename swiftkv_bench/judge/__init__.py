"""The one judge: did a candidate get worse than its reference? Policies, claims, verdicts, when to stop asking.

`judge(reference, candidate, policy) -> Judgement` serves the page of a run, `compare`, and `--stop-when-decided`.
Intervals and tests are in `stats`, records in `evidence`, how a judgement looks in `render`.
"""
