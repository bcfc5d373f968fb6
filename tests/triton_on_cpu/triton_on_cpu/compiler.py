"""The compiler of a device for which nothing is compiled."""

from typing import Any

from triton.backends.compiler import BaseBackend


class InterpretedBackend(BaseBackend):
    """Supports the target "cpu" and has no stages."""

    @staticmethod
    def supports_target(target: Any) -> bool:
        """Whether the target is the one of ``driver``."""
        return bool(target.backend == "cpu")

    def hash(self) -> str:
        """Part of the key of compiled kernels, of which there are none."""
        return "cpu"

    def parse_options(self, options: dict[str, Any]) -> Any:
        """Never asked for."""
        raise NotImplementedError("kernels are interpreted; set TRITON_INTERPRET=1")

    def add_stages(self, stages: dict[str, Any], options: Any) -> None:
        """Never asked for."""
        raise NotImplementedError("kernels are interpreted; set TRITON_INTERPRET=1")

    def load_dialects(self, context: Any) -> None:
        """None."""

    def get_module_map(self) -> dict[str, Any]:
        """None."""
        return {}
