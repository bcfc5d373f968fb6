"""Gives any interpreter that has vLLM the plug-in, by a folder on ``PYTHONPATH`` and without an installation.

Python finds entry points of whatever lies on its path: a ``.dist-info`` folder beside the package is enough.
Imports neither torch nor vLLM.
"""

import shutil
from pathlib import Path

import swiftkv_bench
from swiftkv_bench.errors import EngineError

__all__ = ["ENTRY_POINTS", "stage"]

ENTRY_POINTS = {
    "vllm.general_plugins": {"swiftkv": "swiftkv_bench.swiftkv:register"},
    "vllm.logits_processors": {
        "swiftkv_prompt_logprobs": "swiftkv_bench.swiftkv.tracker:PromptLogprobsTracker",
        "swiftkv_forced_tokens": "swiftkv_bench.swiftkv.forced:ForcedTokens",
    },
    "vllm.stat_logger_plugins": {"swiftkv_served_model": "swiftkv_bench.swiftkv.served:ServedModel"},
}
"""The groups and entry points that vLLM looks for; the same as in ``pyproject.toml``."""

_FILES = ("__init__.py", "errors.py")
_FOLDERS = ("swiftkv",)


def stage(directory: Path) -> Path:
    """Write the plug-in and its entry points into ``directory``, which is created when needed.

    A copy, not a link: the engine keeps the code it started with while the checkout moves on.

    Returns:
        the folder to put first on the engine's ``PYTHONPATH``: ``directory``, absolute.

    Raises:
        EngineError: ``directory`` holds something else, or cannot be written.
    """
    directory = directory.resolve()
    source = Path(swiftkv_bench.__file__).parent
    package = directory / "swiftkv_bench"
    metadata = directory / f"swiftkv_bench-{swiftkv_bench.__version__}.dist-info"
    strange = [path.name for path in _entries(directory) if not path.name.startswith("swiftkv_bench")]
    if strange:
        raise EngineError(f"staging folder {directory} holds {strange[0]!r}; name an empty or a new folder")
    try:
        for stale in _entries(directory):
            shutil.rmtree(stale)
        package.mkdir(parents=True)
        for name in _FILES:
            shutil.copy2(source / name, package / name)
        for name in _FOLDERS:
            shutil.copytree(source / name, package / name, ignore=shutil.ignore_patterns("__pycache__"))
        metadata.mkdir()
        (metadata / "METADATA").write_text(
            f"Metadata-Version: 2.1\nName: swiftkv-bench\nVersion: {swiftkv_bench.__version__}\n"
        )
        (metadata / "entry_points.txt").write_text(_entry_points_text())
    except OSError as error:
        raise EngineError(f"staging folder {directory} cannot be written: {error.strerror}") from error
    return directory


def _entries(directory: Path) -> list[Path]:
    return sorted(directory.iterdir()) if directory.is_dir() else []


def _entry_points_text() -> str:
    sections = []
    for group, points in ENTRY_POINTS.items():
        lines = [f"{name} = {target}" for name, target in points.items()]
        sections.append("\n".join([f"[{group}]", *lines]))
    return "\n\n".join(sections) + "\n"
