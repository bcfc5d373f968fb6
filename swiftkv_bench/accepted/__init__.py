"""Accepted runs: kept small enough to commit, compared with by name, and lined up over time."""
