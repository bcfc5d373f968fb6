"""The fake engine: an OpenAI-compatible server whose latencies, answers and log-probabilities are known exactly.

It is what the load client is checked against, and lets every command be tried without vLLM. One process;
`python -m swiftkv_bench.engines.fake --help` lists what it can be told. Nothing here imports vLLM.

    options.py    what it can be told
    language.py   its tokens, and the distribution of the next one
    asked.py      request bodies, checked
    replies.py    response bodies as timed scripts of events
    faults.py     how a script goes wrong
    scheduler.py  places in the batch, due times
    player.py     the thread that writes streams, in C (player.c)
    lateness.py   how late writes were
    counters.py   the /metrics page
    server.py     HTTP
"""
