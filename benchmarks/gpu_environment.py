"""What benchmarks that run vLLM inside their own process share: its environment, and a clean end of an engine."""

import gc
import os
import sys
import tempfile
from pathlib import Path
from typing import Any, Literal

ROOT = Path(__file__).resolve().parents[1]


def prepare(*, gpu: bool, runner: Literal["v1", "v2"] | None = None) -> None:
    """Stage the plug-in's entry points and set what vLLM reads at import; call before importing vLLM.

    Variables that are set already stay as they are.

    Args:
        runner: vLLM's model runner; None for the one that it chooses.
    """
    sys.path.insert(0, str(ROOT))
    from swiftkv_bench.swiftkv.staging import stage

    # Entry points are found on sys.path; the package itself is already imported from the checkout.
    sys.path.insert(1, str(stage(Path(tempfile.mkdtemp(prefix="swiftkv-staged-")))))
    settings = {
        "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
        "VLLM_USE_DEEP_GEMM": "0",
        "VLLM_USE_FLASHINFER_SAMPLER": "0",
        "VLLM_NO_USAGE_STATS": "1",
        "VLLM_LOGGING_LEVEL": "WARNING",
        "HF_HUB_OFFLINE": "1",
    }
    if not gpu:
        settings |= {"VLLM_CPU_KVCACHE_SPACE": "1", "VLLM_CPU_OMP_THREADS_BIND": "nobind"}
    if runner is not None:
        settings["VLLM_USE_V2_MODEL_RUNNER"] = "1" if runner == "v2" else "0"
    for name, value in settings.items():
        os.environ.setdefault(name, value)


def device_name(*, gpu: bool) -> str:
    """What runs the engines: the card's name, or CPU."""
    import torch

    return str(torch.cuda.get_device_name()) if gpu else "CPU"


def stop(engine: Any) -> None:
    """End an in-process ``LLM`` or ``LLMEngine``; drop every reference to it, then call ``free``."""
    getattr(engine, "llm_engine", engine).engine_core.shutdown()


def free(*, gpu: bool) -> None:
    """Give back the memory of engines that nobody holds any more."""
    gc.collect()
    if not gpu:
        return
    import torch
    from vllm.distributed.parallel_state import cleanup_dist_env_and_memory

    cleanup_dist_env_and_memory()
    gc.collect()
    torch.cuda.empty_cache()
