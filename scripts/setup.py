"""Creates or refreshes the virtual environment `.venv` from the lock file; does nothing when it is current.

Run by `make setup` with any Python from 3.11 on; needs the standard library only.
"""

import hashlib
import shutil
import subprocess
import sys
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
LOCK = ROOT / "requirements" / "cpu.lock"
STAMP = VENV / ".swiftkv-bench-setup"
TORCH = "torch==2.13.0+cpu"
TORCH_INDEX = "https://download.pytorch.org/whl/cpu"
TRITON = "triton==3.8.0"
"""For tests of vLLM's V2 model runner on a CPU; in a folder of its own, since every vLLM that finds Triton takes V2."""
TRITON_FOLDER = VENV / "triton"
BREAKING = ("torchvision", "torchaudio", "torchcodec")
CHECK = "import vllm, transformers, lm_eval, swiftkv_bench"


def main() -> int:
    """Exit code 0 when the environment is ready, 2 when this machine cannot have it."""
    if sys.version_info < (3, 11):  # noqa: UP036 (this file is run by whatever Python is there)
        print(f"setup: Python {sys.version.split()[0]} found, 3.11 or newer is needed; try PYTHON=python3.12")
        return 2
    wanted = fingerprint()
    python = VENV / "bin" / "python"
    if STAMP.exists() and STAMP.read_text() == wanted and python.exists():
        return 0
    STAMP.unlink(missing_ok=True)
    if not python.exists():
        print("setup: creating .venv")
        venv.create(VENV, with_pip=True, clear=VENV.exists())
    pip = [str(python), "-m", "pip", "--disable-pip-version-check", "--no-input", "install", "--quiet"]
    print("setup: installing pinned packages (about 3 GB on disk; minutes the first time)")
    if subprocess.run([*pip, "--no-deps", TORCH], stderr=subprocess.DEVNULL, check=False).returncode != 0:
        print(f"setup: {TORCH} is not in pip's sources, taking it from PyTorch's CPU index")
        install([*pip, "--no-deps", "--index-url", TORCH_INDEX, TORCH])
    install([*pip, "--no-deps", "-r", str(LOCK)])
    install([*pip, "--no-deps", "--no-build-isolation", "-e", str(ROOT)])
    subprocess.run(
        [str(python), "-m", "pip", "--disable-pip-version-check", "uninstall", "-q", "-y", *BREAKING],
        stderr=subprocess.DEVNULL,
        check=False,
    )
    install_triton(pip)
    print("setup: checking that vllm, transformers and lm_eval import")
    done = subprocess.run([str(python), "-c", CHECK], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        print(done.stderr[-2000:])
        print(f"setup: the environment does not import (`{CHECK}`); remove .venv and run `make setup` again")
        return 3
    STAMP.write_text(wanted)
    print("setup: done")
    return 0


def fingerprint() -> str:
    """Digest of everything that decides what `.venv` holds."""
    digest = hashlib.sha256(f"{sys.version_info[:2]} {TORCH} {TRITON} {ROOT}".encode())
    for path in (LOCK, ROOT / "pyproject.toml", Path(__file__)):
        digest.update(path.read_bytes())
    return digest.hexdigest()


def install_triton(pip: list[str]) -> None:
    """Installs Triton beside the environment; without it the tests of the V2 model runner are skipped by name."""
    shutil.rmtree(TRITON_FOLDER, ignore_errors=True)
    if subprocess.run([*pip, "--no-deps", "--target", str(TRITON_FOLDER), TRITON], check=False).returncode != 0:
        shutil.rmtree(TRITON_FOLDER, ignore_errors=True)
        print(f"setup: {TRITON} cannot be had here; tests of vLLM's V2 model runner will be skipped")
        return
    # Of its 900 MB the interpreter needs neither the compilers nor the profilers of GPUs.
    for name in ("bin", "lib"):
        shutil.rmtree(TRITON_FOLDER / "triton" / "backends" / "nvidia" / name, ignore_errors=True)


def install(command: list[str]) -> None:
    """Runs one pip command; its own message explains a failure."""
    code = subprocess.run(command, check=False).returncode
    if code != 0:
        print(f"setup: pip failed with exit code {code}: {' '.join(command)}")
        sys.exit(3)


if __name__ == "__main__":
    sys.exit(main())
