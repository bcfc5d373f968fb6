"""Files of the hub without a network: from the cache at once, or one sentence at once."""

from pathlib import Path

import pytest
from huggingface_hub import constants

from swiftkv_bench.engines import hub
from swiftkv_bench.engines.engine_facts import config_of
from swiftkv_bench.engines.models import local_tokenizer, tokenizer_file
from swiftkv_bench.errors import InputError
from swiftkv_bench.schema.engine import EngineSpec


@pytest.fixture(autouse=True)
def offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A hub where nothing listens, and a cache with one file of one model."""
    cache = tmp_path / "hub"
    model = cache / "models--someone--model"
    (model / "refs").mkdir(parents=True)
    (model / "refs" / "main").write_text("0123abcd")
    (model / "snapshots" / "0123abcd").mkdir(parents=True)
    (model / "snapshots" / "0123abcd" / "tokenizer.json").write_text("{}")
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(cache))
    return cache


def test_what_was_fetched_before_is_there_without_a_network(offline: Path) -> None:
    found = tokenizer_file("someone/model")
    assert found.read_text() == "{}"
    assert found.is_relative_to(offline)
    assert local_tokenizer("someone/model")


def test_without_a_network_the_hub_is_not_asked_again_and_again() -> None:
    with pytest.raises(InputError) as raised:
        hub.fetched("someone/other", "tokenizer.json")
    assert str(raised.value) == (
        "cannot get tokenizer.json of someone/other: http://127.0.0.1:9 cannot be reached (Connection refused), and it "
        "was not fetched before; name a folder with --tokenizer"
    )


@pytest.mark.parametrize("name", ["someone/other", "no hub id", "a/b/c"])
def test_a_name_that_is_nothing_here_is_no_local_tokenizer(name: str) -> None:
    assert not local_tokenizer(name)


def test_config_json_comes_from_the_revision_asked_for_and_is_unknown_where_there_is_none(offline: Path) -> None:
    snapshots = offline / "models--someone--model" / "snapshots"
    (snapshots / "0123abcd" / "config.json").write_text('{"layers": 1}')
    (snapshots / "4567cdef").mkdir()
    (snapshots / "4567cdef" / "config.json").write_text('{"layers": 2}')
    spec = EngineSpec(arm="baseline", kind="vllm", model="someone/model", tokenizer="someone/model", max_model_len=64)
    assert config_of(spec, {}) == {"layers": 1}
    assert config_of(spec.model_copy(update={"revision": "4567cdef"}), {}) == {"layers": 2}
    for name in ("someone/other", "no hub/id"):
        assert config_of(spec.model_copy(update={"model": name}), {}) is None
