"""A real second engine: llama.cpp's server, where one runs."""

import os

import pytest

from swiftkv_bench.engines.client import Client
from swiftkv_bench.engines.served import asked_model
from swiftkv_bench.load.target import Target
from swiftkv_bench.schema.perf import STATUS
from tests.load.scripted import job, prompts, run

URL = os.environ.get("SWIFTKV_BENCH_TEST_LLAMA_CPP")


@pytest.mark.skipif(URL is None, reason="SWIFTKV_BENCH_TEST_LLAMA_CPP names no llama.cpp server that runs")
def test_llama_cpp_answers_as_long_as_it_is_asked_and_counts_its_tokens() -> None:
    assert URL is not None
    with Client(URL) as client:
        served = asked_model(client, None, "--baseline-model")
    assert served.max_model_len is not None
    found = run(job(Target(URL, served.name), of=prompts(3, 12)))
    assert [STATUS[code] for code in found.status] == ["ok"] * 3
    assert (found.prompt_tokens.tolist(), found.output_tokens.tolist()) == ([4] * 3, [12] * 3)
    # Tokens that end no character have no chunk of their own.
    assert ((found.chunk_count >= 2) & (found.chunk_count <= 12)).all()
