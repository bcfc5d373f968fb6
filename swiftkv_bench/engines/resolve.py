"""From a profile and the command line to the resolved configuration of every arm's engine."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from urllib.parse import urlsplit

from swiftkv_bench import credentials, redaction
from swiftkv_bench.access import OPEN, Access, parse_proxy
from swiftkv_bench.engines import hub
from swiftkv_bench.engines.attached import AttachedServer, names_served
from swiftkv_bench.engines.base import Engine
from swiftkv_bench.engines.fake_process import fake_server
from swiftkv_bench.engines.models import local_tokenizer, resolve
from swiftkv_bench.engines.process import check_port_free
from swiftkv_bench.engines.vllm_server import API_KEY_VARIABLE, vllm_server, with_mode
from swiftkv_bench.errors import InputError
from swiftkv_bench.schema.engine import BASELINES, UNNAMED, Arm, EngineSpec, ModelSource, OptionValue, Profile
from swiftkv_bench.swiftkv.engine_limits import context_limit

API_KEY_FROM = "OPENAI_API_KEY"
"""Variable with the key of attached servers."""
MODES: Mapping[Arm, str] = {"swiftkv": "skip", "swiftkv-full": "full"}
"""Mode of the plug-in for each SwiftKV arm."""


@dataclass(frozen=True)
class SideOptions:
    """What the command line says of one side (baseline, or all SwiftKV arms)."""

    model: str | None = None
    url: str | None = None
    python: str | None = None
    port: int | None = None
    args: Mapping[str, OptionValue] = field(default_factory=dict)
    env: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class EngineOptions:
    """What the command line says of the engines."""

    baseline: SideOptions = SideOptions()
    swiftkv: SideOptions = SideOptions()
    args: Mapping[str, OptionValue] = field(default_factory=dict)
    env: Mapping[str, str] = field(default_factory=dict)
    swiftkv_full_url: str | None = None
    tokenizer: str | None = None
    max_model_len: int | None = None
    start_timeout_s: float = 1800.0
    api_key: str | None = None
    proxy: str | None = None
    tls_ca: Path | None = None
    insecure: bool = False


@dataclass(frozen=True)
class EngineConfig:
    """One arm: what may be written down, and what only the engine may see."""

    spec: EngineSpec
    secret_env: Mapping[str, str]
    start_timeout_s: float
    access: Access = OPEN
    named: str | None = None
    """Model that the user named for a server of somebody else's."""


def resolve_engines(
    profile: Profile, arms: Sequence[Arm], options: EngineOptions, cache: Path
) -> tuple[EngineConfig, ...]:
    """The engine configuration of every arm, in order.

    Raises:
        InputError: a model, interpreter, port or option value cannot be used.
    """
    return tuple(_one(profile, arm, options, cache) for arm in arms)


def build(config: EngineConfig, log: Path, scratch: Path) -> Engine:
    """The engine of a configuration, not yet launched."""
    spec = config.spec
    if spec.kind == "url":
        return AttachedServer(spec, access=config.access, named=config.named)
    if spec.kind == "fake":
        return fake_server(spec, log, start_timeout_s=config.start_timeout_s)
    return vllm_server(spec, log, scratch, secret_env=config.secret_env, start_timeout_s=config.start_timeout_s)


def _one(profile: Profile, arm: Arm, options: EngineOptions, cache: Path) -> EngineConfig:
    base = arm in BASELINES
    side = options.baseline if base else options.swiftkv
    if arm == "swiftkv-full":
        side = replace(side, url=_full_url(options))
    source = profile.baseline if base else profile.swiftkv
    where = f"{profile.name}.yaml:{'baseline' if base else 'swiftkv'}"
    if side.model is not None:
        source, where = ModelSource(model=side.model), "--baseline-model" if base else "--swiftkv-model"
    env = {**profile.env, **options.env, **side.env}
    secret = {k: v for k, v in env.items() if redaction.is_secret(k)}
    shown = {"env": redaction.redact_mapping(env)}
    if side.url:
        _check_url(side.url, f"--{arm.removesuffix('-repeat')}-url")
        access = _access(side.url, options)
        spec = _attached(profile, arm, side, options, access).model_copy(update=shown)
        return EngineConfig(spec, secret, options.start_timeout_s, access, side.model)
    spec = _owned(profile, arm, side, options, source, where, cache).model_copy(update=shown)
    own_key = credentials.clean_key({**os.environ, **env}.get(API_KEY_VARIABLE), API_KEY_VARIABLE)
    key = own_key or credentials.clean_key(options.api_key, API_KEY_FROM)
    return EngineConfig(spec, secret, options.start_timeout_s, Access(api_key=key))


def _access(url: str, options: EngineOptions) -> Access:
    """How a server of somebody else's is reached.

    Raises:
        InputError: the proxy, the authorities, the key or the address are none.
    """
    # Credentials of a URL are that server's own, and go before a key that is meant for all.
    key = credentials.split_url(url)[1] or credentials.clean_key(options.api_key, API_KEY_FROM)
    ca = None if options.tls_ca is None else str(options.tls_ca)
    access = Access(api_key=key, proxy=options.proxy, ca_file=ca, verify_tls=not options.insecure)
    if options.proxy is not None:
        parse_proxy(options.proxy, "--proxy")
    if options.tls_ca is not None and options.insecure:
        raise InputError("--tls-ca and --insecure exclude each other: one says whom to trust, the other trusts anybody")
    try:
        access.context()
    except OSError as e:
        raise InputError(f"--tls-ca {ca} holds no certificates that can be read ({e}); give a PEM file") from e
    access.route(credentials.split_url(url)[0])
    return access


def _full_url(options: EngineOptions) -> str | None:
    """Where the same weights are served without skipping; None when the engine is this program's own.

    Raises:
        InputError: only the skipping server is known.
    """
    if options.swiftkv.url is not None and options.swiftkv_full_url is None:
        raise InputError(
            "--arms all with --swiftkv-url needs a second server of the same weights that skips nothing; "
            "give it with --swiftkv-full-url"
        )
    return options.swiftkv_full_url


def _owned(
    profile: Profile,
    arm: Arm,
    side: SideOptions,
    options: EngineOptions,
    source: ModelSource,
    where: str,
    cache: Path,
) -> EngineSpec:
    model = resolve(source, cache, where)
    own = profile.baseline_args if arm in BASELINES else profile.swiftkv_args
    args = {**profile.engine_args, **own, **options.args, **side.args}
    if profile.engine == "vllm" and arm in MODES:
        args = with_mode(args, MODES[arm])
    context = options.max_model_len or profile.max_model_len
    _check_context(context, model.config, where)
    # A second engine of a side runs beside the first and cannot have its port.
    port = side.port if arm in ("baseline", "swiftkv") else None
    if port is not None:
        check_port_free(port)
    return EngineSpec(
        arm=arm,
        kind=profile.engine,
        model=model.model,
        revision=source.revision,
        model_config_hash=model.config_hash,
        architecture=model.config,
        tokenizer=options.tokenizer or model.tokenizer,
        python=side.python,
        args=args,
        max_model_len=context,
        port=port,
    )


def _attached(profile: Profile, arm: Arm, side: SideOptions, options: EngineOptions, access: Access) -> EngineSpec:
    name = side.model or (profile.baseline if arm in BASELINES else profile.swiftkv).model
    url = credentials.split_url(str(side.url))[0]
    tokenizer = options.tokenizer or _tokenizer_of(url, arm, side.model, name, access)
    return EngineSpec(
        arm=arm,
        kind="url",
        model=name or UNNAMED,
        tokenizer=tokenizer,
        url=url,
        insecure=options.insecure and urlsplit(url).scheme == "https",
        max_model_len=options.max_model_len or profile.max_model_len,
    )


def _tokenizer_of(url: str, arm: Arm, named: str | None, name: str | None, access: Access) -> str:
    """The tokenizer of a served model whose user named none: what the model is called, here or at the server, where
    that is a folder or a hub id.

    Raises:
        InputError: it is neither, or the server does not serve the model that was named.
    """
    side = "baseline" if arm in BASELINES else arm
    if name is not None and local_tokenizer(name):
        return name
    served = names_served(url, access, named, f"--{side.removesuffix('-full')}-model", name)
    known = [*([] if name is None else [name]), *served]
    here = next((one for one in known if local_tokenizer(one)), None)
    hub_id = next((one for one in known if hub.is_id(one)), None)
    if (found := here or hub_id) is not None:
        return found
    told = f"calls it {' or '.join(served)}, which is not on this machine" if served else "did not say what it serves"
    raise InputError(
        f"--{side}-url needs --tokenizer: a folder or hub id of the served model's tokenizer (the server at {url} "
        f"{told})"
    )


def _check_url(url: str, flag: str) -> None:
    try:
        parts = urlsplit(url)
        good = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        good = False
    if not good or not url.isprintable() or " " in url:
        raise InputError(f"{flag} {credentials.hidden(url)!r} is no address of a server; give http://host:port")


def _check_context(context: int, config: Mapping[str, object] | None, where: str) -> None:
    limit = None if config is None else context_limit(config)
    if limit is not None and context > limit:
        raise InputError(f"--max-model-len {context} is above the {limit} tokens that the model of {where} can take")


def parse_options(pairs: Sequence[str], flag: str) -> dict[str, OptionValue]:
    """`NAME=VALUE` pairs of an engine option flag; a bare `NAME` is true.

    Raises:
        InputError: a pair has no name.
    """
    found: dict[str, OptionValue] = {}
    for pair in pairs:
        name, equals, value = pair.lstrip("-").partition("=")
        if not name:
            raise InputError(f"{flag} {pair!r} has no name; write NAME=VALUE")
        found[name.replace("_", "-")] = _typed(value) if equals else True
    return found


def parse_env(pairs: Sequence[str], flag: str) -> dict[str, str]:
    """`NAME=VALUE` pairs of an environment flag.

    Raises:
        InputError: a pair is not of that form.
    """
    for pair in pairs:
        if not pair.partition("=")[0] or "=" not in pair:
            raise InputError(f"{flag} {pair!r} is not NAME=VALUE")
    return {name: value for name, _, value in (pair.partition("=") for pair in pairs)}


def _typed(text: str) -> OptionValue:
    if text.lower() in ("true", "false"):
        return text.lower() == "true"
    return text
