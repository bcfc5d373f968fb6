"""Benchmark and evaluation harness for SwiftKV on vLLM."""

__version__ = "0.1.0"
