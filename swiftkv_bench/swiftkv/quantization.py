"""Which forms of quantised weights SwiftKV serves, and when K/V weights of many layers may be one linear.

Decides from plain values, as ``config.json`` and vLLM's options give them; imports neither vLLM nor torch.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatch
from typing import Any, Literal

__all__ = ["ONLINE", "Form", "form_of"]

Scale = Literal["tensor", "channel", "block"]

ONLINE: Mapping[str, Scale] = {"fp8_per_tensor": "tensor", "fp8_per_channel": "channel", "fp8_per_block": "block"}
"""Values of ``--quantization`` that make 8-bit floats of unquantised weights while they load."""
_OF_CHECKPOINTS = ("fp8", "compressed-tensors", "fbgemm_fp8", "modelopt", "awq", "gptq", "bitsandbytes")
"""Values of ``--quantization`` that a checkpoint of another method contradicts."""
_MODELOPT: Mapping[str, Scale] = {"FP8": "tensor", "FP8_PER_CHANNEL_PER_TOKEN": "channel"}
_WAY_OUT = (
    "load 8-bit floats made by compressed-tensors, ModelOpt, fbgemm or as quant_method fp8, or unquantised weights with"
    f" --quantization {', '.join(ONLINE)} or none"
)
_BLOCK_ROWS = 128


@dataclass(frozen=True)
class Form:
    """How the weights of a model's linears are stored.

    Attributes:
        method: vLLM's name; None without quantisation.
        scale: what one weight scale covers; None without quantisation.
        ignored: modules that stay unquantised: names, parts of names, wildcards, or regular expressions after ``re:``.
        even: whether every quantised linear has this form.
        block_rows: rows of a block; None unless ``scale`` is ``block``.
        static_inputs: whether inputs are rounded with a stored scale, of which a linear has one.
        refusal: why SwiftKV cannot serve it, as a sentence; None when it can.
        clash: why vLLM cannot load it for any model, as a sentence: an option that contradicts the checkpoint.
    """

    method: str | None = None
    scale: Scale | None = None
    ignored: tuple[str, ...] = ()
    even: bool = True
    block_rows: int | None = None
    static_inputs: bool = False
    refusal: str | None = None
    clash: str | None = None

    def joins(self, names: Iterable[str], rows: int) -> bool:
        """Whether the linears ``names`` of ``rows`` outputs each can be one linear without changing a number.

        A scale per output channel stays with its channel, one per block with its block where none crosses two linears;
        a scale per tensor would become the largest of all.
        """
        if self.scale is None:
            return True
        names = list(names)
        if all(name in self.ignored for name in names):
            return True
        if (
            not self.even
            or self.static_inputs
            or any(_may_match(name, pattern) for name in names for pattern in self.ignored)
        ):
            return False
        return self.scale == "channel" or (self.scale == "block" and rows % (self.block_rows or _BLOCK_ROWS) == 0)


def form_of(
    checkpoint: Mapping[str, Any] | None, option: str | None = None, ignored: Iterable[str] = (), *, even: bool = True
) -> Form:
    """The form of a model's weights.

    Args:
        checkpoint: ``quantization_config`` of its ``config.json``; None when it is not quantised.
        option: what ``--quantization`` says; None when it says nothing.
        ignored: modules that ``--quantization-config`` leaves as they are.
        even: false when ``--quantization-config`` gives modules forms of their own.
    """
    if checkpoint:
        method = str(checkpoint.get("quant_method") or "unknown")
        if option not in (None, method) and option in (*ONLINE, *_OF_CHECKPOINTS) and method != "unknown":
            return Form(
                method,
                clash=f"--quantization is {option!r} and config.json has quant_method {method!r}; drop --quantization",
            )
        readers = {"fp8": _fp8, "compressed-tensors": _compressed_tensors, "fbgemm_fp8": _fbgemm}
        if method.startswith("modelopt"):
            return _modelopt(checkpoint)
        read = readers.get(method)
        return _refused(method, f"was never checked with SwiftKV; {_WAY_OUT}") if read is None else read(checkpoint)
    if option is None:
        return Form()
    if option == "fp8":  # the older name of fp8_per_tensor, which vLLM 0.32 and 0.33 take with a warning
        return Form(option, "tensor", tuple(ignored), even)
    if option not in ONLINE:
        return _refused(option, f"was never checked with SwiftKV; {_WAY_OUT}")
    return Form(option, ONLINE[option], tuple(ignored), even, _BLOCK_ROWS if ONLINE[option] == "block" else None)


def _refused(method: str, why: str) -> Form:
    return Form(method, refusal=f"quantization is {method!r}, which {why}")


def _names(given: Any) -> tuple[str, ...]:
    return tuple(str(name) for name in given or ())


def _fp8(config: Mapping[str, Any]) -> Form:
    ignored = _names(config.get("ignored_layers") or config.get("modules_to_not_convert"))
    static, block = config.get("activation_scheme") == "static", config.get("weight_block_size")
    if block is None:
        return Form("fp8", "tensor", ignored, static_inputs=static)
    return Form("fp8", "block", ignored, block_rows=int(block[0]), static_inputs=static)


def _fbgemm(config: Mapping[str, Any]) -> Form:
    return Form("fbgemm_fp8", "channel", _names(config.get("modules_to_not_convert")))


def _modelopt(config: Mapping[str, Any]) -> Form:
    inner = config.get("quantization") if isinstance(config.get("quantization"), Mapping) else config
    algorithm = str(inner.get("quant_algo") or "unknown").upper()  # type: ignore[union-attr]  # a mapping, see above
    if algorithm not in _MODELOPT:
        return _refused(
            "modelopt", f"holds {algorithm} weights and was checked with {', '.join(_MODELOPT)}; {_WAY_OUT}"
        )
    ignored = _names(inner.get("exclude_modules") or inner.get("ignore"))  # type: ignore[union-attr]
    return Form("modelopt", _MODELOPT[algorithm], ignored, static_inputs=algorithm == "FP8")


def _compressed_tensors(config: Mapping[str, Any]) -> Form:
    name = "compressed-tensors"
    groups = [group for group in (config.get("config_groups") or {}).values() if isinstance(group, Mapping)]
    weights = [group.get("weights") or {} for group in groups]
    if not weights or any(part.get("num_bits") != 8 or part.get("type") != "float" for part in weights):
        kinds = sorted({f"{part.get('num_bits')}-bit {part.get('type')}" for part in weights}) or ["no"]
        return _refused(name, f"holds {' and '.join(kinds)} weights, never checked with SwiftKV; {_WAY_OUT}")
    scales = {str(part.get("strategy") or "tensor") for part in weights}
    if not scales <= {"tensor", "channel", "block"}:
        return _refused(name, f"scales weights by {' and '.join(sorted(scales))}, never checked; {_WAY_OUT}")
    for key in ("transform_config", "sparsity_config"):
        given = config.get(key)
        if given and given.get("format") != "dense":
            return _refused(name, f"has a {key}, which later layers would not apply; {_WAY_OUT}")
    scale: Any = scales.pop()
    even = not scales and all(group.get("targets") == ["Linear"] for group in groups)
    inputs = [group.get("input_activations") or {} for group in groups]
    static = any(part and not part.get("dynamic") for part in inputs)
    return Form(name, scale, _names(config.get("ignore")), even, _block_rows(weights[0]), static)


def _block_rows(weights: Mapping[str, Any]) -> int | None:
    if weights.get("strategy") != "block":
        return None
    block = weights.get("block_structure") or _BLOCK_ROWS  # also written as "128x128"
    first = block.split("x") if isinstance(block, str) else block if isinstance(block, list) else [block]
    return int(first[0])


def _may_match(name: str, pattern: str) -> bool:
    """Whether a quantiser could mean the module ``name`` by ``pattern``, in any of the ways they are read."""
    if pattern.startswith("re:"):
        try:
            return re.match(pattern[3:], name) is not None
        except re.error:
            return True
    return pattern in name or fnmatch(name, pattern)
