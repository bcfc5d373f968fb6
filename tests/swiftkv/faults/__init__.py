"""Engines that are wrong on purpose, to prove that probes notice. Never part of the installed package.

``stage_fault`` writes a folder for ``PYTHONPATH``; a server started with it, and with the plug-in itself
installed or staged behind it, serves ``llama_swiftkv`` checkpoints with the fault::

    PYTHONPATH=<stage_fault(folder, "wrong_layer")> python -m vllm.entrypoints.openai.api_server --model ...
"""

import shutil
from pathlib import Path

__all__ = ["FAULTS", "stage_fault"]

FAULTS = {
    "skips_prompt_rows": "SkipsPromptRows",
    "skips_decode_rows": "SkipsDecodeRows",
    "skips_rare_rows": "SkipsRareRows",
    "wrong_layer": "WrongLayer",
    "silent_baseline": "SilentBaseline",
    "switched": "Switched",
}
"""Fault -> class in ``models`` that has it."""


def stage_fault(directory: Path, fault: str) -> Path:
    """Write a plug-in that registers ``fault`` under the SwiftKV architecture; returns ``directory``."""
    package, metadata = directory / "swiftkv_faults", directory / "swiftkv_faults-0.dist-info"
    package.mkdir(parents=True)
    metadata.mkdir()
    shutil.copy2(Path(__file__).parent / "models.py", package / "models.py")
    (package / "__init__.py").write_text(
        "def register():\n"
        "    from vllm import ModelRegistry\n"
        f"    ModelRegistry.register_model('LlamaSwiftKVForCausalLM', 'swiftkv_faults.models:{FAULTS[fault]}')\n"
    )
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: swiftkv-faults\nVersion: 0\n")
    (metadata / "entry_points.txt").write_text("[vllm.general_plugins]\nswiftkv_faults = swiftkv_faults:register\n")
    return directory
