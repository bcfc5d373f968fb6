"""A small trained Llama and its SwiftKV twins, the synthetic tasks they are trained on, and the training."""

from swiftkv_bench.embedded.checkpoint import EmbeddedPair, ensure_pair

__all__ = ["EmbeddedPair", "ensure_pair"]
