"""Profiles: data (`*.yaml` beside this file) and how they are found."""

from pathlib import Path

import yaml
from pydantic import ValidationError

from swiftkv_bench.errors import InputError
from swiftkv_bench.schema.engine import Profile

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
    try:
        return Profile.model_validate(yaml.safe_load(path.read_text()))
    except yaml.YAMLError as e:
        raise InputError(f"{path} is not YAML: {e}") from e
    except ValidationError as e:
        detail = e.errors()[0]
        raise InputError(f"{path}:{'.'.join(map(str, detail['loc']))}: {detail['msg']}") from e
