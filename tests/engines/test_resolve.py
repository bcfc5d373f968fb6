"""From profile and flags to engine configurations."""

import json
import socket
from dataclasses import replace
from pathlib import Path

import pytest

from swiftkv_bench.engines.models import resolve, vocabulary
from swiftkv_bench.engines.profiles import available_profiles, load_profile
from swiftkv_bench.engines.resolve import (
    EngineOptions,
    SideOptions,
    parse_env,
    parse_options,
    resolve_engines,
)
from swiftkv_bench.engines.vllm_server import command_options, with_mode
from swiftkv_bench.errors import InputError
from swiftkv_bench.schema.engine import ModelSource


@pytest.mark.parametrize("name", available_profiles())
def test_every_shipped_profile_loads_under_its_own_name(name: str) -> None:
    assert load_profile(name).name == name


def test_the_dummy_profiles_are_for_speed_only() -> None:
    dummies = [load_profile(n) for n in available_profiles() if n.endswith("-dummy")]
    assert dummies
    assert {(p.accuracy, p.engine_args["load-format"]) for p in dummies} == {(None, "dummy")}


def test_an_unknown_profile_lists_the_known_ones() -> None:
    with pytest.raises(InputError, match=r"--profile nope is unknown; one of embedded, .*llama-3.1-8b"):
        load_profile("nope")


def test_a_profile_with_an_unknown_key_names_it(tmp_path: Path) -> None:
    path = tmp_path / "own.yaml"
    path.write_text("name: own\ncolour: red\n")
    with pytest.raises(InputError, match=r"own\.yaml:"):
        load_profile(str(path))


def test_options_reach_both_arms_or_one_and_the_more_special_wins(tmp_path: Path) -> None:
    options = EngineOptions(
        args={"max-num-seqs": "8", "dtype": "bfloat16"},
        swiftkv=SideOptions(args={"max-num-seqs": "4"}, env={"HF_TOKEN": "hf_secret", "A": "1"}),
    )
    baseline, swiftkv = resolve_engines(load_profile("embedded"), ("baseline", "swiftkv"), options, tmp_path)
    assert (baseline.spec.args["max-num-seqs"], swiftkv.spec.args["max-num-seqs"]) == ("8", "4")
    assert baseline.spec.args["dtype"] == swiftkv.spec.args["dtype"] == "bfloat16"
    assert "additional-config" not in baseline.spec.args
    assert json.loads(str(swiftkv.spec.args["additional-config"])) == {"swiftkv_mode": "skip"}
    assert swiftkv.secret_env == {"HF_TOKEN": "hf_secret"}
    assert swiftkv.spec.env["HF_TOKEN"] == "***"
    assert "hf_secret" not in swiftkv.spec.model_dump_json()


def test_a_port_that_something_listens_on_is_refused_before_a_run_begins(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        options = EngineOptions(baseline=SideOptions(port=port))
        with pytest.raises(InputError, match=f"port {port} is in use"):
            resolve_engines(load_profile("embedded"), ("baseline",), options, tmp_path)


def test_the_full_arm_has_the_swiftkv_model_in_full_mode(tmp_path: Path) -> None:
    swiftkv, full = resolve_engines(load_profile("embedded"), ("swiftkv", "swiftkv-full"), EngineOptions(), tmp_path)
    assert full.spec.model == swiftkv.spec.model
    assert json.loads(str(full.spec.args["additional-config"])) == {"swiftkv_mode": "full"}


def test_the_second_baseline_engine_is_like_the_first_on_a_port_of_its_own(tmp_path: Path) -> None:
    options = EngineOptions(baseline=SideOptions(port=8901, args={"seed": "3"}))
    first, again = resolve_engines(load_profile("embedded"), ("baseline", "baseline-repeat"), options, tmp_path)
    assert again.spec == first.spec.model_copy(update={"arm": "baseline-repeat", "port": None})


def test_a_users_additional_config_is_kept() -> None:
    args = with_mode({"additional-config": '{"other": 1}'}, "skip")
    assert json.loads(str(args["additional-config"])) == {"other": 1, "swiftkv_mode": "skip"}
    with pytest.raises(InputError, match="is not JSON"):
        with_mode({"additional-config": "{"}, "skip")


def test_options_become_flags_bare_or_negated(tmp_path: Path) -> None:
    [config] = resolve_engines(
        load_profile("embedded"),
        ("baseline",),
        EngineOptions(args=parse_options(["enable-prefix-caching=false", "enforce_eager", "--seed=3"], "--engine-arg")),
        tmp_path,
    )
    words = command_options(config.spec, 8000)
    assert "--no-enable-prefix-caching" in words
    assert "--enforce-eager" in words
    assert words[words.index("--seed") + 1] == "3"
    assert words[words.index("--port") + 1] == "8000"


@pytest.mark.parametrize("pairs", [["=3"], [""]])
def test_an_option_without_a_name_is_refused(pairs: list[str]) -> None:
    with pytest.raises(InputError, match="has no name; write NAME=VALUE"):
        parse_options(pairs, "--engine-arg")


def test_environment_must_be_pairs() -> None:
    assert parse_env(["A=1", "B=x=y"], "--engine-env") == {"A": "1", "B": "x=y"}
    with pytest.raises(InputError, match="--engine-env 'A' is not NAME=VALUE"):
        parse_env(["A"], "--engine-env")


def test_a_model_folder_that_is_not_there_is_named_with_its_flag(tmp_path: Path) -> None:
    options = EngineOptions(swiftkv=SideOptions(model=str(tmp_path / "gone")))
    with pytest.raises(InputError, match=r"--swiftkv-model: there is no model folder .*gone"):
        resolve_engines(load_profile("embedded"), ("baseline", "swiftkv"), options, tmp_path)


def test_a_context_above_the_models_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="--max-model-len 999999 is above the 16384 tokens"):
        resolve_engines(load_profile("embedded"), ("baseline",), EngineOptions(max_model_len=999999), tmp_path)


def test_all_layers_are_another_server_than_the_skipping_one(tmp_path: Path) -> None:
    options = EngineOptions(swiftkv=SideOptions(url="http://127.0.0.1:1"), tokenizer="t")
    with pytest.raises(InputError, match="give it with --swiftkv-full-url"):
        resolve_engines(load_profile("embedded"), ("swiftkv", "swiftkv-full"), options, tmp_path)
    both = replace(options, swiftkv_full_url="http://127.0.0.1:2")
    found = resolve_engines(load_profile("embedded"), ("swiftkv", "swiftkv-full"), both, tmp_path)
    assert [config.spec.url for config in found] == ["http://127.0.0.1:1", "http://127.0.0.1:2"]


def test_an_attached_server_needs_a_tokenizer(tmp_path: Path) -> None:
    options = EngineOptions(baseline=SideOptions(url="http://127.0.0.1:1"))
    with pytest.raises(InputError, match="--baseline-url needs --tokenizer"):
        resolve_engines(load_profile("embedded"), ("baseline",), options, tmp_path)


def test_a_config_only_model_gets_a_folder_with_a_tokenizer(tmp_path: Path) -> None:
    source = load_profile("llama-3.1-8b-dummy").swiftkv
    model = resolve(source, tmp_path, "test")
    assert json.loads((Path(model.model) / "config.json").read_text()) == source.config
    assert resolve(source, tmp_path, "test") == model
    assert vocabulary(model.tokenizer) == ((0, 128256),)


def test_vocabulary_leaves_special_tokens_out(tmp_path: Path) -> None:
    content = {"model": {"vocab": {"a": 0, "b": 1, "c": 3, "d": 4, "<s>": 2}}, "added_tokens": [{"id": 2}]}
    (tmp_path / "tokenizer.json").write_text(json.dumps(content))
    assert vocabulary(str(tmp_path)) == ((0, 2), (3, 5))
    assert vocabulary(str(tmp_path), size=4) == ((0, 2), (3, 4))


def test_a_source_names_exactly_one_thing() -> None:
    with pytest.raises(ValueError, match="exactly one of model, builtin, config"):
        ModelSource(model="a/b", builtin="baseline")


def test_other_weights_of_the_same_shape_are_another_model(tmp_path: Path) -> None:
    def identity(weights: bytes) -> str | None:
        (tmp_path / "config.json").write_text("{}")
        (tmp_path / "model.safetensors").write_bytes(weights)
        return resolve(ModelSource(model=str(tmp_path)), tmp_path / "cache", "--baseline-model").config_hash

    weights = bytes(3_000_000)
    retrained = weights[:2_000_000] + b"x" * 100_000 + weights[2_100_000:]
    assert identity(weights) == identity(weights)
    assert identity(weights) != identity(retrained)
    assert identity(b"") != identity(b"x")


def test_weights_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "model.safetensors").symlink_to(tmp_path / "gone")
    with pytest.raises(InputError, match=r"--baseline-model: cannot read .*model.safetensors: No such file"):
        resolve(ModelSource(model=str(tmp_path)), tmp_path / "cache", "--baseline-model")


def test_credentials_of_a_url_are_sent_and_never_recorded(tmp_path: Path) -> None:
    side = SideOptions(url="http://me:pw-1234@127.0.0.1:1/v1")
    options = EngineOptions(baseline=side, tokenizer="t", api_key="sk-other\n")
    (found,) = resolve_engines(load_profile("embedded"), ("baseline",), options, tmp_path)
    assert found.spec.url == "http://127.0.0.1:1/v1"
    assert found.access.headers == {"Authorization": "Basic bWU6cHctMTIzNA=="}
    assert "pw-1234" not in repr(found) + found.spec.model_dump_json()


def test_an_address_that_is_none_is_refused_without_its_password(tmp_path: Path) -> None:
    options = EngineOptions(baseline=SideOptions(url="ftp://me:pw-1234@host"), tokenizer="t")
    with pytest.raises(InputError, match=r"ftp://\*\*\*@host") as raised:
        resolve_engines(load_profile("embedded"), ("baseline",), options, tmp_path)
    assert "pw-1234" not in str(raised.value)
