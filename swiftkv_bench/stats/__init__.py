"""Statistics of plain numbers: intervals, paired comparisons, steps of a series. Knows nothing of engines or files."""
