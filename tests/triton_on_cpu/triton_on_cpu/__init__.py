"""Tells Triton that a device named "cpu" exists, for tests alone: under TRITON_INTERPRET=1 kernels run as numpy.

vLLM's V2 model runner takes Triton for granted, and Triton takes a GPU for granted; this is what Triton asks of a
device before it interprets. Nothing is compiled. Found by its entry point, once this folder's parent is on PYTHONPATH.
"""
