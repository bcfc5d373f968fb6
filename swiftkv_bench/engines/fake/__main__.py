"""Starts the fake engine: `python -m swiftkv_bench.engines.fake --port 8000 --ttft 0.1 --itl 0.01`."""

import argparse
import asyncio
import gc
import json
import signal
import ssl
import sys
from pathlib import Path
from typing import get_args

from swiftkv_bench import units
from swiftkv_bench.engines.fake.faults import Fault
from swiftkv_bench.engines.fake.options import Options, PromptLogprobs
from swiftkv_bench.engines.fake.server import FakeEngine
from swiftkv_bench.errors import InputError
from swiftkv_bench.load.worker import event_loop, raise_file_limit

_BACKLOG = 4096


def main() -> int:
    """Serves until SIGTERM or Ctrl-C; then says how late its writes were."""
    try:
        given = _parser().parse_args()
        options = _options(given)
        context = _tls(given)
        raise_file_limit()
        loop, _ = event_loop()
        asyncio.set_event_loop(loop)
        engine = FakeEngine(options, loop)
    except InputError as e:
        print(f"error: {e}", file=sys.stderr)
        return e.exit_code
    try:
        loop.run_until_complete(_serve(loop, engine, given.host, given.port, context))
    except OSError as e:
        print(f"error: cannot listen on {given.host}:{given.port}: {e}; give another --port", file=sys.stderr)
        return InputError.exit_code
    finally:
        late = engine.scheduler.lateness
        engine.close()
        loop.close()
    if late.n:
        shares = ", ".join(
            f"{share:.3g} % within {units.duration(late.below(share / 100))}" for share in (50, 99, 99.9)
        )
        print(f"{late.n} writes: {shares}; latest {units.duration(late.worst_s)}", file=sys.stderr, flush=True)
    return 0


async def _serve(
    loop: asyncio.AbstractEventLoop, engine: FakeEngine, host: str, port: int, context: ssl.SSLContext | None
) -> None:
    server = await loop.create_server(engine.protocol, host, port, ssl=context, backlog=_BACKLOG)
    over = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, over.set)
    scheme = "http" if context is None else "https"
    bound = server.sockets[0].getsockname()[1]
    writer = engine.scheduler.writer
    print(f"fake engine on {scheme}://{host}:{bound} (streams written in {writer})", file=sys.stderr, flush=True)
    # A collection stops all streams for milliseconds; nothing here makes cycles.
    gc.freeze()
    gc.disable()
    await over.wait()
    server.close()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m swiftkv_bench.engines.fake", description=__doc__)
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on")
    parser.add_argument("--port", type=int, default=0, help="port; 0 takes a free one and prints it")
    parser.add_argument("--model", default="fake", help="model name served")
    parser.add_argument("--max-model-len", type=int, default=131_072, help="prompt and output together, tokens")
    parser.add_argument("--vocab", type=int, default=512, help="token ids are 0 ... N - 1")
    parser.add_argument("--ttft", type=float, default=0.0, help="seconds to the first token")
    parser.add_argument("--ttft-per-token", type=float, default=0.0, help="the same, for each uncached prompt token")
    parser.add_argument("--itl", type=float, default=0.0, help="seconds from token to token")
    parser.add_argument("--max-num-seqs", type=int, help="requests served at once; others wait")
    parser.add_argument("--prefix-cache", action="store_true", help="remember prompts in blocks of 16 tokens")
    parser.add_argument("--prompt-logprobs", choices=get_args(PromptLogprobs), default="exact")
    parser.add_argument("--answers", type=Path, help="JSON object: how a prompt ends -> its answer")
    parser.add_argument(
        "--fault", help="what goes wrong with every response, as KIND[:n=2,after=3,delay_s=0.005,reason=abort]"
    )
    parser.add_argument("--writer", choices=("auto", "python"), default="auto", help="auto: C where it can be built")
    parser.add_argument("--log", type=Path, help="JSONL file: when each response was read and each piece written")
    parser.add_argument("--api-key", help="key required of every request to /v1")
    parser.add_argument("--tls-cert", type=Path, help="PEM certificate: serve https")
    parser.add_argument("--tls-key", type=Path, help="PEM key of the certificate")
    return parser


def _options(given: argparse.Namespace) -> Options:
    if given.vocab < 27:
        raise InputError(f"--vocab {given.vocab} is too small; the language has 26 letters, give at least 27")
    for name in ("ttft", "ttft_per_token", "itl"):
        if not 0 <= getattr(given, name) < float("inf"):
            raise InputError(f"--{name.replace('_', '-')} {getattr(given, name)} is no time; give seconds from 0 on")
    return Options(
        model=given.model,
        max_model_len=given.max_model_len,
        vocabulary=given.vocab,
        ttft_s=given.ttft,
        ttft_per_token_s=given.ttft_per_token,
        itl_s=given.itl,
        max_num_seqs=given.max_num_seqs,
        prefix_cache=given.prefix_cache,
        prompt_logprobs=given.prompt_logprobs,
        answers={} if given.answers is None else _answers(given.answers),
        fault=None if given.fault is None else Fault.parse(given.fault),
        api_key=given.api_key,
        log=given.log,
        writer=given.writer,
    )


def _answers(path: Path) -> dict[str, str]:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as e:
        raise InputError(f"cannot read --answers {path}: {e}; give a JSON object") from e
    if not isinstance(value, dict) or not all(isinstance(answer, str) for answer in value.values()):
        raise InputError(f"--answers {path} is no JSON object of texts")
    return value


def _tls(given: argparse.Namespace) -> ssl.SSLContext | None:
    if given.tls_cert is None:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        context.load_cert_chain(given.tls_cert, given.tls_key)
    except (OSError, ssl.SSLError) as e:
        raise InputError(f"cannot use --tls-cert {given.tls_cert}: {e}; give PEM files") from e
    return context


if __name__ == "__main__":
    sys.exit(main())
