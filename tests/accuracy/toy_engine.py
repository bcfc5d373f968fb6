"""A completions server whose language model is known: what an engine says, computed a second way.

The next-token distribution after a context is a seeded function of its last tokens, so any way of asking must
give the same log-probabilities, and a test can compute them itself. Faults are planted by argument.
"""

import hashlib
import json
import math
import socket
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self

import numpy as np
import numpy.typing as npt

VOCABULARY = 1100
ALL_WAYS = frozenset({"logprob_token_ids", "allowed_token_ids", "swiftkv_forced_tokens", "prompt_logprobs"})


@lru_cache(maxsize=100_000)
def next_token_logprobs(tail: tuple[int, ...], vocabulary: int = VOCABULARY) -> npt.NDArray[np.float64]:
    """Log-probabilities of the next token, shape (vocabulary,), after a context ending in `tail` (8 tokens)."""
    seed = int.from_bytes(hashlib.sha256(repr(tail).encode()).digest()[:8])
    logits = 2 * np.random.default_rng(seed).standard_normal(vocabulary)
    return np.asarray(logits - np.log(np.exp(logits).sum()))


def logprobs_after(context: Sequence[int], vocabulary: int = VOCABULARY) -> npt.NDArray[np.float64]:
    """The same for a whole context."""
    return next_token_logprobs(tuple(context[-8:]), vocabulary)


def loglikelihood(context: Sequence[int], continuation: Sequence[int]) -> float:
    """Log-likelihood of a continuation, token by token."""
    ids = [*context, *continuation]
    return float(sum(logprobs_after(ids[:i])[ids[i]] for i in range(len(context), len(ids))))


@dataclass
class ToyEngine:
    """The server.

    Attributes:
        ways: request fields it understands; others are ignored, as vLLM does.
        honest: False makes prompt logprobs finite, plausible and wrong.
        masked: `allowed_token_ids` reports probabilities after masking.
        dies_after: answers this many requests, then closes its socket; None never.
        holds_after: answers this many requests and lets later ones wait until `release` is set; None never.
        counts: which requests `holds_after` is about.
        refuses: answers HTTP 400 with this message.
        paths: paths of the requests, as they came.
        hangs_up: closes a connection after its answer without saying so, as servers do after seconds of silence.
        drifts: greedy tokens depend on how many requests came before.
        shallow: greedy tokens are wrong unless a request asks for full depth.
        spoils: which requests get log-probabilities that are no numbers: HTTP 500, as from vLLM.
        metrics: text of the metrics page.
        authorization: headers of that name, as they came.
        reply: text of a generation, from its prompt.
        requests: bodies answered so far.
        max_model_len: context length it claims, tokens.
        vocabulary: number of its tokens.
        admitted: requests that `holds_after` is about and that were not held.
    """

    ways: frozenset[str] = ALL_WAYS
    honest: bool = True
    masked: bool = False
    dies_after: int | None = None
    holds_after: int | None = None
    counts: Callable[[dict[str, Any]], bool] = lambda _: True
    release: threading.Event = field(default_factory=threading.Event)
    holding: threading.Event = field(default_factory=threading.Event)
    reply: Callable[[list[int]], str] = lambda prompt: f"The best answer is {'ABCD'[sum(prompt) % 4]}."
    refuses: str | None = None
    hangs_up: bool = False
    paths: list[str] = field(default_factory=list)
    drifts: bool = False
    shallow: bool = False
    spoils: Callable[[dict[str, Any]], bool] = lambda _: False
    metrics: Callable[["ToyEngine"], str] = lambda _: ""
    authorization: list[str | None] = field(default_factory=list)
    requests: list[dict[str, Any]] = field(default_factory=list)
    max_model_len: int = 16384
    vocabulary: int = VOCABULARY
    admitted: int = 0

    def __enter__(self) -> Self:
        engine = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                if self.path.endswith("/v1/models"):
                    served = {"id": "toy", "max_model_len": engine.max_model_len}
                    self._send(json.dumps({"data": [served]}).encode())
                elif self.path.endswith("/version"):
                    self._send(b'{"version": "0"}')
                else:
                    self._send(engine.metrics(engine).encode())

            def do_POST(self) -> None:
                engine.authorization.append(self.headers["Authorization"])
                engine.paths.append(self.path)
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                with engine._lock:
                    held = engine.holds_after is not None and engine.counts(body)
                    held = held and engine.admitted >= (engine.holds_after or 0)
                    engine.admitted += engine.counts(body) and not held
                if held:
                    engine.holding.set()
                    engine.release.wait()
                    if _gone(self.connection):
                        self.close_connection = True
                        return
                with engine._lock:
                    alive = engine.dies_after is None or len(engine.requests) < engine.dies_after
                    if alive:
                        engine.requests.append(body)
                if not alive:
                    self.connection.shutdown(socket.SHUT_RDWR)
                    self.close_connection = True
                    return
                if engine.refuses is not None:
                    self._send(json.dumps({"error": {"message": engine.refuses}}).encode(), 400)
                    return
                several = isinstance(body["prompt"][0], list)
                prompts = body["prompt"] if several else [body["prompt"]]
                answer = {"choices": [engine._answer(body | {"prompt": p}) for p in prompts]}
                try:
                    self._send(json.dumps(answer, allow_nan=False).encode())
                except ValueError as e:
                    self._send(json.dumps({"error": {"message": str(e)}}).encode(), 500)

            def _send(self, content: bytes, status: int = 200) -> None:
                self.send_response(status)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)
                self.close_connection = self.close_connection or engine.hangs_up

            def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
                pass

            def handle(self) -> None:
                try:
                    super().handle()
                except OSError:  # the client went away
                    return

        self._lock = threading.Lock()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def _answer(self, body: dict[str, Any]) -> dict[str, Any]:
        prompt = body["prompt"]
        choice: dict[str, Any] = {"text": "", "finish_reason": "length"}
        if "prompt_logprobs" in body and "prompt_logprobs" in self.ways:
            choice["prompt_logprobs"] = [None, *(self._prompt_row(prompt, i) for i in range(1, len(prompt)))]
        elif "logprobs" in body:
            choice["logprobs"] = self._sampled(body)
        else:
            choice |= {"text": self.reply(prompt), "finish_reason": "stop"}
        return choice

    def _prompt_row(self, prompt: list[int], i: int) -> dict[str, Any]:
        row = logprobs_after(prompt[:i] if self.honest else prompt[: i // 2], self.vocabulary)
        token = prompt[i]
        return {str(token): {"logprob": row[token], "rank": int((row > row[token]).sum()) + 1}}

    def _sampled(self, body: dict[str, Any]) -> dict[str, Any]:
        forced = (
            body.get("vllm_xargs", {}).get("swiftkv_forced_tokens") if "swiftkv_forced_tokens" in self.ways else None
        )
        allowed = body.get("allowed_token_ids") if "allowed_token_ids" in self.ways else None
        listed = body.get("logprob_token_ids", []) if "logprob_token_ids" in self.ways else []
        context, tokens, values, top = list(body["prompt"]), [], [], []
        for step in range(body["max_tokens"]):
            row = logprobs_after(context, self.vocabulary) * (math.nan if self.spoils(body) else 1.0)
            wrong = self.shallow and not body.get("vllm_xargs")
            best = (int(row.argmax()) + self.drifts * len(self.requests) + wrong) % self.vocabulary
            token = forced[step] if forced else allowed[0] if allowed else best
            if allowed and self.masked:
                row = np.where(np.arange(self.vocabulary) == token, 0.0, -9999.0)
            shown = {token, *(listed or [best])}
            tokens.append(f"token_id:{token}")
            values.append(row[token])
            top.append({f"token_id:{t}": row[t] for t in shown})
            context.append(token)
        return {"tokens": tokens, "token_logprobs": values, "top_logprobs": top}


def _gone(connection: socket.socket) -> bool:
    """Whether the other end was closed."""
    try:
        return not connection.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT)
    except BlockingIOError:
        return False
    except OSError:
        return True
