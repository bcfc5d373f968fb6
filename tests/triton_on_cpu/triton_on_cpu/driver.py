"""The driver: the one device is the CPU, as torch has it."""

from collections.abc import Callable
from typing import Any

import torch
import triton.backends.compiler as compiler
import triton.backends.driver as driver


class InterpretedDriver(driver.DriverBase):
    """Answers what Triton asks before it interprets a kernel."""

    def __init__(self) -> None:
        pass

    @classmethod
    def is_active(cls) -> bool:
        """Always: whoever puts this on the path wants it."""
        return True

    def map_python_to_cpp_type(self, ty: str) -> str:
        """Pointers all: no launcher is compiled from them."""
        return "void*"

    def get_current_target(self) -> Any:
        """The CPU; a warp is one thread."""
        return compiler.GPUTarget("cpu", 0, 1)

    def get_active_torch_device(self) -> torch.device:
        """Torch's CPU."""
        return torch.device("cpu")

    def get_current_device(self) -> int:
        """There is one."""
        return 0

    def set_current_device(self, device: int) -> None:
        """There is one."""

    def get_current_stream(self, device: int = 0) -> int:
        """There is one."""
        return 0

    def get_device_interface(self) -> Any:
        """Torch's module for the device."""
        return torch.cpu

    def get_benchmarker(self) -> Callable[..., Any]:
        """Triton's own."""
        from triton.testing import do_bench

        return do_bench  # type: ignore[no-any-return]

    def get_empty_cache_for_benchmark(self) -> torch.Tensor:
        """Nothing to flush."""
        return torch.empty(1)

    def clear_cache(self, cache: torch.Tensor) -> None:
        """Nothing to flush."""
