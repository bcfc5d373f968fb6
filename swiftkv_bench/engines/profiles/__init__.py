"""Profiles: data (`*.yaml` beside this file) and how they are found."""

from pathlib import Path

from swiftkv_bench.errors import InputError
from swiftkv_bench.schema.engine import Profile
from swiftkv_bench.schema.yaml_file import read_yaml

FOLDER = Path(__file__).parent
WITHOUT_GPU = "embedded"
WITH_GPU = "llama-3.1-8b"


def available_profiles() -> tuple[str, ...]:
    """Names of the shipped profiles, sorted."""
    return tuple(sorted(p.stem for p in FOLDER.glob("*.yaml")))


def load_profile(name: str) -> Profile:
    """A shipped profile by name, or the user's own by the path of its YAML file.

    Raises:
        InputError: there is none of that name, or the file does not say what a profile may say.
    """
    path = Path(name) if name.endswith((".yaml", ".yml")) else FOLDER / f"{name}.yaml"
    if not path.is_file():
        raise InputError(f"--profile {name} is unknown; one of {', '.join(available_profiles())}, or a YAML file")
    return read_yaml(path, Profile, "a profile")
