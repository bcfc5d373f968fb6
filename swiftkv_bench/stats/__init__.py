"""Statistics over plain numbers: intervals, paired comparisons, verdicts. Knows nothing of engines or files."""
