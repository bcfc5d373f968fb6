"""The gate: did a candidate get worse than its reference? Policies, accepted runs, verdicts, history.

Owns which claims a comparison makes and what they decide. Intervals and tests are in `stats`, what a run says in
`analysis`, how a comparison looks in `render`.
"""
