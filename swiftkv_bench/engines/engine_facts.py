"""What config.json, options and environment say of an engine that was not started: the `Facts` that its limits need.

Reads the command line as vLLM would, but imports nothing of it. What is not known counts as sound.
"""

import json
from collections.abc import Mapping
from typing import Any

from swiftkv_bench.engines import hub
from swiftkv_bench.errors import InputError
from swiftkv_bench.schema.engine import BASELINES, EngineSpec
from swiftkv_bench.swiftkv.facts import CONFIG_KEYS, Facts
from swiftkv_bench.swiftkv.families import is_swiftkv, sliding_window
from swiftkv_bench.swiftkv.options import Options
from swiftkv_bench.swiftkv.quantization import form_of

__all__ = ["config_of", "facts_of", "options_of", "whole"]

_JSON = ("additional-config", "compilation-config", "hf-overrides", "quantization-config", "speculative-config")
"""Options whose values are objects, of those that are looked into."""
_DRAFT_NAMES = {"eagle3": "eagle3", "eagle": "eagle", "medusa": "medusa", "mlp_speculator": "mlp_speculator"}
"""Part of a draft's model type or name -> the method that vLLM takes for it; any other is a draft model."""


def options_of(spec: EngineSpec) -> dict[str, Any]:
    """Engine options by their whole name; `a.b=c` and `a={"b": "c"}` are the same.

    Raises:
        InputError: what should be JSON is none.
    """
    found: dict[str, Any] = {}
    for name, value in spec.args.items():
        first, *rest = name.lstrip("-").replace("_", "-").split(".")
        if first in _JSON:
            inner: Any = value if rest else _object(first, value, spec)
            for part in reversed(rest):
                inner = {part.replace("-", "_"): inner}
            found[first] = _merged(found.get(first, {}), inner)
        else:
            found[first] = value
    return found


def config_of(spec: EngineSpec, options: Mapping[str, Any]) -> dict[str, Any] | None:
    """config.json as the engine will see it, `--hf-overrides` applied; None when it is not on this machine."""
    config = spec.architecture
    if config is None:
        path = hub.cached(spec.model, "config.json", spec.revision) if hub.is_id(spec.model) else None
        try:
            config = None if path is None else json.loads(path.read_text())
        except (OSError, ValueError):
            config = None
    return None if config is None else _merged(config, options.get("hf-overrides", {}))


def facts_of(spec: EngineSpec, env: Mapping[str, str], v2_runner: bool) -> Facts:
    """The facts of one arm's engine.

    Args:
        env: environment that it will have.
        v2_runner: whether its vLLM takes the V2 model runner.

    Raises:
        InputError: an option's value cannot be read.
        EngineError: `--additional-config` says something unknown of SwiftKV.
    """
    options = options_of(spec)
    config = config_of(spec, options) or {}
    speculative = options.get("speculative-config") or {}
    passes = (options.get("compilation-config") or {}).get("pass_config") or {}
    online = options.get("quantization-config") or {}
    window = None if options.get("disable-sliding-window") is True else sliding_window(config)
    swiftkv = is_swiftkv(config) if config else spec.arm not in BASELINES
    return Facts(
        swiftkv=swiftkv,
        mode=Options.read(options.get("additional-config")).mode if swiftkv else "full",
        config={key: config.get(key) for key in CONFIG_KEYS},
        form=form_of(
            config.get("quantization_config"), _text(options, "quantization"), online.get("ignore") or (),
            even=not online.get("targets"),
        ),
        sliding_window=window,
        runner_type="pooling" if options.get("runner") == "pooling" else "generate",
        v2_runner=v2_runner,
        tensor_parallel_size=whole(options, "tensor-parallel-size", spec),
        pipeline_parallel_size=whole(options, "pipeline-parallel-size", spec),
        decode_context_parallel_size=whole(options, "decode-context-parallel-size", spec),
        prefill_context_parallel_size=whole(options, "prefill-context-parallel-size", spec),
        splits_hidden_states=bool(passes.get("enable_sp") or passes.get("fuse_gemm_comms")),
        watermark=bool(options.get("watermark-config")),
        dual_batch_overlap=bool(options.get("enable-dbo")),
        offloads=any(_positive(options, name) for name in ("cpu-offload-gb", "offload-group-size")),
        breakable_graphs=env.get("VLLM_USE_BREAKABLE_CUDAGRAPH") == "1",
        kv_sharing_fast_prefill=bool(options.get("kv-sharing-fast-prefill")),
        calculate_kv_scales=bool(options.get("calculate-kv-scales")),
        kv_cache_dtype=_text(options, "kv-cache-dtype") or "auto",
        kv_cache_dtype_skip_layers=bool(options.get("kv-cache-dtype-skip-layers")),
        kv_connector=bool(options.get("kv-transfer-config")) or _positive(options, "kv-offloading-size"),
        lora=bool(options.get("enable-lora")),
        speculative_method=_method(speculative),
        adaptive_verification=bool(speculative.get("enable_adaptive_verification")),
        attention_backend=_text(options, "attention-backend") or env.get("VLLM_ATTENTION_BACKEND"),
        allow_deprecated_quantization=bool(options.get("allow-deprecated-quantization")),
    )  # fmt: skip


def whole(options: Mapping[str, Any], name: str, spec: EngineSpec, least: int = 1) -> int:
    """The value of an option that is a whole number; `least` when it is not given.

    Raises:
        InputError: it is none, or below `least`.
    """
    given = options.get(name, least)
    try:
        value = int(str(given))
    except ValueError:
        value = least - 1
    if value < least:
        raise InputError(f"{spec.arm}: --{name} is {given!r}; give a whole number from {least} on")
    return value


def _method(speculative: Mapping[str, Any]) -> str | None:
    """The method of speculation, told by its name or by the draft, as vLLM does."""
    if not speculative:
        return None
    method, model = speculative.get("method"), str(speculative.get("model") or "").lower()
    if method is not None:
        return str(method).strip("[]")
    if model in ("", "ngram", "[ngram]"):
        return "ngram"
    return next((method for part, method in _DRAFT_NAMES.items() if part in model), "draft_model")


def _text(options: Mapping[str, Any], name: str) -> str | None:
    value = options.get(name)
    return None if value is None or str(value).lower() == "none" else str(value)


def _positive(options: Mapping[str, Any], name: str) -> bool:
    try:
        return float(options.get(name) or 0) > 0
    except (TypeError, ValueError):
        return False


def _object(name: str, value: object, spec: EngineSpec) -> dict[str, Any]:
    try:
        found = json.loads(str(value))
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise InputError(f"{spec.arm}: --{name} is {value!r} and no JSON object; write {{...}}")
    return found


def _merged(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    both = dict(base)
    for key, value in over.items():
        old = both.get(key)
        both[key] = _merged(old, value) if isinstance(old, Mapping) and isinstance(value, Mapping) else value
    return both
