"""SwiftKV models on stock vLLM, as a plug-in that patches nothing.

Owns the model types ``llama_swiftkv``, ``mistral_swiftkv``, ``qwen2_swiftkv`` and ``qwen3_swiftkv``: installing this
package, or putting a folder made by ``staging`` on ``PYTHONPATH``, lets ``vllm serve`` load such a checkpoint. Imports
nothing of the harness but ``errors``, so it also works where the harness's own dependencies are not installed.

======================  =============================================================================
``options``             what ``--additional-config`` may say
``versions``            the vLLM releases that were tested, as data
``compat``              the only file that knows what differs between vLLM versions
``preflight``           refusals at start, one sentence each
``facts``               what is known of an engine, as plain values
``limits``              what decides refusals by them, for SwiftKV; no vLLM
``engine_limits``       the same for what any model of vLLM needs
``families``            what differs between Llama, Mistral, Qwen2 and Qwen3, as data
``quantization``        which forms of quantised weights are served
``config``              the Hugging Face config classes
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
``admission``           what a request may carry, checked when it arrives
``served``              which model is served, for the process that takes requests
``forced``              a logits processor that makes an engine emit given tokens, to score them
``staging``             a folder that gives any interpreter the entry points
``transformers_model``  the same weights for ``transformers``, every layer for every token; no vLLM
======================  =============================================================================
"""

__all__ = ["register"]


def register() -> None:
    """Make vLLM know the configs and the model class; the entry point ``vllm.general_plugins``.

    vLLM calls it once in every process it starts; calling it again changes nothing. Imports neither the model
    nor torch code of vLLM: the model class is named by a string that vLLM resolves when it is needed.
    """
    from transformers import AutoConfig
    from vllm import ModelRegistry

    from swiftkv_bench.swiftkv.config import CONFIGS
    from swiftkv_bench.swiftkv.families import FAMILIES

    known = ModelRegistry.get_supported_archs()
    for name, family in FAMILIES.items():
        AutoConfig.register(family.swiftkv_type, CONFIGS[name], exist_ok=True)
        if family.architecture not in known:
            ModelRegistry.register_model(family.architecture, "swiftkv_bench.swiftkv.model:SwiftKVForCausalLM")
