"""A vLLM plug-in that serves a SwiftKV model with a fault in it, for tests of the honesty probe."""

from pathlib import Path

FAULT = "SkipsManyRows"


def register() -> None:
    """Called by vLLM in each of its processes."""
    from vllm import ModelRegistry

    ModelRegistry.register_model(FAULT, f"tests.swiftkv.faults.models:{FAULT}")


def stage(folder: Path) -> str:
    """Writes the entry point; returns what PYTHONPATH must hold."""
    metadata = folder / "planted_fault-1.0.dist-info"
    metadata.mkdir(parents=True)
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: planted-fault\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text(f"[vllm.general_plugins]\nplanted = {__name__}:register\n")
    return f"{folder}:{Path(__file__).parents[2]}"
