"""Which line of an engine's log is the cause of its end; lines as vLLM 0.26 and 0.32 write them."""

import pytest

from swiftkv_bench.engines.engine_log import cause

CORE = "(EngineCore pid=12005) ERROR 11-25 13:22:57 [core.py:1332]"
SERVER = "(APIServer pid=11458) ERROR 11-25 13:22:57 [async_llm.py:704]"
WORKER = "ERROR 11-25 13:22:57 [multiproc_executor.py:9]"
DEAD = "vllm.v1.engine.exceptions.EngineDeadError: EngineCore encountered an issue. See stack trace (above)."
FAILED = "RuntimeError: Engine core initialization failed. See root cause above. Failed core proc(s): {}"
CHAINED = "During handling of the above exception, another exception occurred:"
NO_CACHE = "ValueError: No available memory for the cache blocks. Try increasing `gpu_memory_utilization`."

CASES = {
    "memory, with the server's error behind it": (
        [f"{CORE} Traceback (most recent call last):", f"{CORE} torch.OutOfMemoryError: CUDA out of memory. Tried",
         f"{SERVER} {DEAD}", "(APIServer pid=11458) INFO:     Shutting down"],
        "torch.OutOfMemoryError: CUDA out of memory. Tried",
    ),
    "at start, with the server's error bare": (
        [f"{CORE} {NO_CACHE}", "Process EngineCore:", "Traceback (most recent call last):", NO_CACHE,
         "(APIServer pid=11458) Traceback (most recent call last):", f"(APIServer pid=11458) {FAILED}"],
        NO_CACHE,
    ),
    "another rank's failure comes first": (
        [f"(Worker_TP1 pid=9) {WORKER} torch.distributed.DistBackendError: NCCL error",
         f"(Worker_TP0 pid=8) {WORKER} torch.OutOfMemoryError: CUDA out of memory.",
         f"{CORE} Exception: WorkerProc initialization failed due to an exception in a background process."],
        "torch.OutOfMemoryError: CUDA out of memory.",
    ),
    "a kernel's fault": (
        [f"{CORE} torch.AcceleratorError: CUDA error: an illegal memory access was encountered",
         f"{CORE} CUDA kernel errors might be asynchronously reported at some other API call", f"{SERVER} {DEAD}"],
        "torch.AcceleratorError: CUDA error: an illegal memory access was encountered",
    ),
    "the exception raised in handling another": (
        ["KeyError: 'llama_swiftkv'", CHAINED, "ValueError: The checkpoint has model type `llama_swiftkv`"],
        "ValueError: The checkpoint has model type `llama_swiftkv`",
    ),
    "an exception that says nothing": ([f"{CORE} AssertionError", f"(APIServer pid=1) {FAILED}"], "AssertionError"),
    "a refusal of the plug-in": (
        [f"{CORE} swiftkv_bench.errors.EngineError: SwiftKV: --enable-lora is on", f"(APIServer pid=1) {FAILED}"],
        "swiftkv_bench.errors.EngineError: SwiftKV: --enable-lora is on",
    ),
    "a configuration that cannot be": (
        ["pydantic_core.ValidationError: 1 validation error for ModelConfig", "  Value error, no such model"],
        "pydantic_core.ValidationError: 1 validation error for ModelConfig: Value error, no such model",
    ),
    "an unknown option": (["usage: api_server.py [-h]", "api_server.py: error: unrecognized arguments: --x"],
                          "api_server.py: error: unrecognized arguments: --x"),
    "a warning is no cause": (["(EngineCore pid=1) WARNING 11-25 13:22:57 [x.py:1] ImportError: no such thing"], None),
    "nothing said": (["(APIServer pid=11458) INFO:     Shutting down"], None),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_the_line_that_tells(name: str) -> None:
    lines, said = CASES[name]
    assert cause(lines) == said
