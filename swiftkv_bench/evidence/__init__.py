"""What a run folder says, read once into immutable values: answers of items, figures of trials, where they come from.

Owns reading; judges nothing. Formulas are `metrics`', thresholds of findings `checks`'.
"""
