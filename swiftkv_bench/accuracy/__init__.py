"""Accuracy: suites to lm-eval tasks, exact scoring over HTTP, a journal of every answer.

The only part of the package that imports lm_eval. Statistics are in ``stats``, tables in ``render``.
"""
