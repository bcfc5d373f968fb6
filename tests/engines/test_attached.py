"""Servers of somebody else's as their user meets them: names, tokenizers, certificates."""

from pathlib import Path

import pytest

from swiftkv_bench.checks.attached import check_certificate
from swiftkv_bench.engines.profiles import load_profile
from swiftkv_bench.engines.resolve import EngineConfig, EngineOptions, SideOptions, resolve_engines
from swiftkv_bench.errors import InputError
from swiftkv_bench.schema.engine import UNNAMED, EngineInfo, EngineSpec
from swiftkv_bench.schema.manifest import RunPlan
from tests.byte_tokenizer import write_byte_tokenizer
from tests.fake_engine import fake_engine
from tests.synthetic import manifest

NOWHERE = "http://127.0.0.1:9"


def resolved(cache: Path, url: str, model: str | None = None, **options: object) -> EngineConfig:
    side = SideOptions(url=url, model=model)
    given = EngineOptions(baseline=side, **options)  # type: ignore[arg-type]
    return resolve_engines(load_profile("embedded"), ("baseline",), given, cache)[0]


def test_a_served_name_that_is_a_folder_is_the_tokenizer(tmp_path: Path) -> None:
    folder = str(write_byte_tokenizer(tmp_path / "model"))
    with fake_engine("--model", folder) as url:
        assert resolved(tmp_path, url).spec.tokenizer == folder
        # The name that the user gives goes first, and that of --tokenizer before all.
        assert resolved(tmp_path, url, folder).spec.tokenizer == folder
        assert resolved(tmp_path, url, tokenizer="other").spec.tokenizer == "other"


def test_a_served_name_that_is_nothing_here_is_told(tmp_path: Path) -> None:
    with fake_engine("--model", "llama") as url, pytest.raises(InputError) as raised:
        resolved(tmp_path, url)
    assert str(raised.value) == (
        "--baseline-url needs --tokenizer: a folder or hub id of the served model's tokenizer "
        f"(the server at {url} calls it llama, which is not on this machine)"
    )


def test_a_served_hub_id_is_the_tokenizer(tmp_path: Path) -> None:
    with fake_engine("--model", "someone/model") as url:
        assert resolved(tmp_path, url).spec.tokenizer == "someone/model"


def test_a_server_that_does_not_answer_needs_a_tokenizer(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=f"the server at {NOWHERE} did not say what it serves"):
        resolved(tmp_path, NOWHERE)


def test_a_model_that_is_not_served_is_refused_before_anything_starts(tmp_path: Path) -> None:
    with fake_engine("--model", "llama") as url, pytest.raises(InputError, match="mistral is not served at"):
        resolved(tmp_path, url, "mistral")


@pytest.mark.parametrize(("url", "insecure"), [("https://127.0.0.1:9", True), ("http://127.0.0.1:9", False)])
def test_a_certificate_that_is_not_verified_is_recorded_and_warned_of(tmp_path: Path, url: str, insecure: bool) -> None:
    config = resolved(tmp_path, url, tokenizer="t", insecure=True)
    assert not config.access.verify_tls
    assert config.spec.insecure is insecure
    finding = check_certificate(config.spec)
    assert (finding is not None) is insecure
    assert finding is None or (finding.code, finding.severity) == ("insecure", "warning")


def test_a_verified_certificate_leaves_no_mark_in_the_record(tmp_path: Path) -> None:
    config = resolved(tmp_path, "https://127.0.0.1:9", tokenizer="t")
    assert config.access.verify_tls
    assert "insecure" not in config.spec.model_dump()


def test_authorities_that_cannot_be_read_are_refused(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text("none")
    with pytest.raises(InputError, match=r"--tls-ca .*ca.pem holds no certificates that can be read"):
        resolved(tmp_path, "https://127.0.0.1:9", tokenizer="t", tls_ca=tmp_path / "ca.pem")
    with pytest.raises(InputError, match="--tls-ca and --insecure exclude each other"):
        resolved(tmp_path, "https://127.0.0.1:9", tokenizer="t", tls_ca=tmp_path / "ca.pem", insecure=True)


def test_a_report_names_the_model_that_the_server_says() -> None:
    spec = EngineSpec(arm="baseline", kind="url", model=UNNAMED, tokenizer="t", url=NOWHERE, max_model_len=9)
    info = EngineInfo(arm="baseline", base_url=NOWHERE, served_model="llama-3")
    given = manifest("r", RunPlan()).model_copy(update={"engines": (spec,), "engine_info": (info,)})
    assert [found.model for found in given.named().engines] == ["llama-3"]
    assert given.attached
    assert given.model_copy(update={"engine_info": ()}).named().engines[0].model == UNNAMED
