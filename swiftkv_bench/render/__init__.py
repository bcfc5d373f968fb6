"""An `Analysis` as terminal tables, Markdown, figures, one HTML page and files for other programs.

Computes no statistic: every figure comes from the analysis; only its wording, unit and place are decided here.
"""
