"""SwiftKV models on stock vLLM, as a plug-in that patches nothing.

Owns the model type ``llama_swiftkv``: installing this package, or putting a folder made by ``staging`` on
``PYTHONPATH``, lets ``vllm serve`` load such a checkpoint. Imports nothing of the harness but ``errors``, so
it also works where the harness's own dependencies are not installed.

======================  =============================================================================
``options``             what ``--additional-config`` may say
``versions``            the vLLM releases that were tested, as data
``compat``              the only file that knows what differs between vLLM versions
``preflight``           refusals at start, one sentence each
``limits``              what decides them, from plain values; no vLLM
``quantization``        which forms of quantised weights are served
``config``              the Hugging Face config class
``rows``                which rows of a batch run the second half (pure, numpy)
``steps``               what one forward pass needs
``tracker``             V1 runner: a logits processor that learns what each request needs
``model_state``         V2 runner: the model's state, which learns the same and tells the builder
``backend``             attention over K/V written before, and its metadata builder
``layers``              later layers and their joint K/V projection
``graphs``              static inputs for the second half's CUDA graphs
``model``               the two compiled halves and what happens between them
``weights``             checkpoint names to parameters
``counters``            what a client reads at ``/metrics``
``forced``              a logits processor that makes an engine emit given tokens, to score them
``staging``             a folder that gives any interpreter the entry points
``transformers_model``  the same weights for ``transformers``, every layer for every token; no vLLM
======================  =============================================================================
"""

__all__ = ["register"]


def register() -> None:
    """Make vLLM know the config and the model class; the entry point ``vllm.general_plugins``.

    vLLM calls it once in every process it starts; calling it again changes nothing. Imports neither the model
    nor torch code of vLLM: the model class is named by a string that vLLM resolves when it is needed.
    """
    from transformers import AutoConfig
    from vllm import ModelRegistry

    from swiftkv_bench.swiftkv.config import LlamaSwiftKVConfig

    AutoConfig.register(LlamaSwiftKVConfig.model_type, LlamaSwiftKVConfig, exist_ok=True)
    architecture = "LlamaSwiftKVForCausalLM"
    if architecture not in ModelRegistry.get_supported_archs():
        ModelRegistry.register_model(architecture, f"swiftkv_bench.swiftkv.model:{architecture}")
