#!/usr/bin/env bash
# The protocol of docs/results-h200.md at 8B dimensions with random weights, part by part.
#
#   benchmarks/gpu_protocol.sh PART OUT SECONDS
#
# PART     correctness  plug-in against a float32 reference
#          gains        what SwiftKV gains under the model runner RUNNER (v1 or v2; default: vLLM's choice)
#          profile      where the time of a mixed step and of a decode step goes, both arms
#          throughput   figure 4, max_num_batched_tokens 8192
#          small-steps  figure 4, max_num_batched_tokens 2048
#          latency      figure 6 at 2,000 and 8,000 tokens, short windows, max_num_batched_tokens 8192
#          latency-long the same at 32,000 tokens
#          acrosskv     figure 4 at 32,000 tokens, later layers share K/V in groups of 4
# OUT      folder for results; the same call goes on where an earlier one stopped
# SECONDS  time budget of the part
#
# python3 must import vllm; CUDA_VISIBLE_DEVICES picks one card, which holds both engines at once. KV_BYTES is the K/V
# cache of each engine (default: what 12 requests of 32,000 + 256 tokens need; an 80 GB card has room for 20e9).
set -euo pipefail
cd "$(dirname "$0")/.."
part=$1 out=$2 seconds=$3
mkdir -p "$out"
export PYTHONPATH=$PWD${PYTHONPATH:+:$PYTHONPATH} PYTHONUNBUFFERED=1

perf() {
    python3 -m swiftkv_bench perf --budget "${seconds}s" --out "$out/$part" \
        --engine-arg "kv-cache-memory-bytes=${KV_BYTES:-50800000000}" \
        --engine-env VLLM_USE_DEEP_GEMM=0 --engine-env VLLM_USE_FLASHINFER_SAMPLER=0 "$@"
}

case $part in
# A case takes up to 40 s, so none begins later than that before the end.
correctness) python3 benchmarks/gpu_correctness.py --seconds $((seconds - 40)) --json "$out/correctness.jsonl" ;;
gains) python3 benchmarks/gpu_gains.py ${RUNNER:+--runner "$RUNNER"} --seconds $((seconds - 40)) --json "$out/gains.jsonl" ;;
profile) timeout "$seconds" python3 benchmarks/gpu_profile.py --json "$out/profile.json" ;;
throughput) perf --profile llama-3.1-8b-dummy --suite figure4 ;;
small-steps) perf --profile llama-3.1-8b-dummy --suite figure4 --engine-arg max-num-batched-tokens=2048 ;;
latency) perf --profile llama-3.1-8b-dummy --suite benchmarks/suites/gpu_latency.yaml --input-len 2000 --input-len 8000 ;;
latency-long) perf --profile llama-3.1-8b-dummy --suite benchmarks/suites/gpu_latency.yaml --input-len 32000 ;;
acrosskv) perf --profile llama-3.1-8b-acrosskv-dummy --suite figure4 --input-len 32000 ;;
*) echo "there is no part $part; see the head of $0" >&2 && exit 2 ;;
esac
