#!/usr/bin/env bash
# The twins of docs/results-smollm2.md from a GGUF file to weights, on one GPU without network, part by part.
#
#   benchmarks/smollm2_train.sh PART IN OUT [SECONDS]
#
# PART     smoke    trains and samples with random weights of the same sizes: compiles, shows speed and memory
#          sample   makes the model from the GGUF file and has it write rows for SECONDS
#          train    distils the twins of 22, 15 and 8 layers on them and on the text rows for SECONDS; goes on where an
#                   earlier call was cut off
# IN       folder of what was carried here; collected in $WORK/in over all calls
# OUT      folder for what is to be kept: at most 8 files of 15 MB
# WORK     scratch folder that stays between calls (default /tmp/smollm2)
#
# Files of IN over the calls: small.tar.xz (tokenizer and config of the model), *.whl, SmolLM2.gguf.xz.aa, .ab,
# seeds.tar.xz (seeds.jsonl and items.jsonl, of `model seeds` and `model items`), *.npz (text rows, of `model rows`).
# LIMIT seconds after its start a training is interrupted, and what it has is brought back (default 565).
# DEVICE_ROWS, BATCH_ROWS, ROW_TOKENS and COMPILE make it small enough to rehearse on a CPU.
set -euo pipefail
part=$1 in=$2 out=$3 seconds=${4:-60}
work=${WORK:-/tmp/smollm2} row_tokens=${ROW_TOKENS:-1024} batch_rows=${BATCH_ROWS:-32} device_rows=${DEVICE_ROWS:-2048}
mkdir -p "$work/in" "$work/site" "$out"
cp "$in"/* "$work/in/"
cd "$(dirname "$0")/.."
export PYTHONPATH=$work/site:$PWD PYTHONUNBUFFERED=1 HF_HUB_OFFLINE=1 TORCHINDUCTOR_CACHE_DIR=$work/inductor TRITON_CACHE_DIR=$work/triton
python=${PYTHON:-python3}
if [ ! -e "$work/site/done" ]; then
    $python -m pip install -q --no-index --no-deps --no-compile --no-cache-dir --target "$work/site" "$work"/in/*.whl
    touch "$work/site/done"
fi
bench() { echo "+ $*" >&2; $python -m swiftkv_bench "$@"; }

case $part in
smoke)
    tar -xJf "$work/in/small.tar.xz" -C "$work"
    $python - "$work" "$row_tokens" <<'PY'
import sys, numpy, torch
from transformers import LlamaConfig, LlamaForCausalLM
from swiftkv_bench.embedded.row_file import write_rows
from pathlib import Path
work, tokens = Path(sys.argv[1]), int(sys.argv[2])
folder = work / "small"
LlamaForCausalLM(LlamaConfig.from_pretrained(folder)).bfloat16().save_pretrained(work / "random")
for path in folder.iterdir():
    (work / "random" / path.name).write_bytes(path.read_bytes())
random = numpy.random.default_rng(0)
for name, length in (("short", tokens), ("long", 2 * tokens)):
    write_rows(work / f"{name}.npz", random.integers(0, 49152, (256 if tokens > 512 else 8, length)))
if torch.cuda.is_available():
    print(torch.__version__, torch.cuda.get_device_name(), torch.cuda.get_device_properties(0).total_memory)
PY
    bench distill "$work/random" --layers 22,15,8 --data "$work/short.npz" --data "$work/long.npz" --row-tokens "$row_tokens" \
        --batch-rows "$batch_rows" --learning-rate 1e-3 --budget-s "$seconds" --out "$work/smoke" ${COMPILE:---compile}
    printf '%s\n' '{"messages": []}' '{"text": "Once upon a time"}' >"$work/two.jsonl"
    bench model sample "$work/random" --seeds "$work/two.jsonl" --rows "$device_rows" --batch-rows "$device_rows" \
        --row-tokens "$row_tokens" --out "$work/random.npz"
    cp "$work"/smoke/training/{log.jsonl,curves.csv,record.json} "$out/"
    ;;
sample)
    tar -xJf "$work/in/seeds.tar.xz" -C "$work"
    [ -e "$work/model/source.json" ] || {
        cat "$work"/in/SmolLM2.gguf.xz.* | xz -dc >"$work/SmolLM2-135M-Instruct.Q4_1.gguf"
        bench model fetch smollm2-135m --from-gguf "$work/SmolLM2-135M-Instruct.Q4_1.gguf" --out "$work/model"
    }
    bench model sample "$work/model" --seeds "$work/seeds.jsonl" --exclude "$work/items.jsonl" --rows 61440 \
        --batch-rows "$device_rows" --row-tokens "$row_tokens" --budget-s "$seconds" --out "$work/own.npz" | tee "$out/sample.txt"
    cp "$work"/own*.npz "$work/model/source.json" "$out/"
    ;;
train)
    data=() && for rows in "$work"/own*.npz "$work"/in/*.npz; do data+=(--data "$rows"); done
    code=0
    timeout -s INT "${LIMIT:-565}" $python -m swiftkv_bench distill "$work/model" --layers 22,15,8 "${data[@]}" --row-tokens "$row_tokens" --batch-rows "$batch_rows" \
        --learning-rate "${RATE:-1e-3}" --budget-s "$seconds" --out "$work/twins" ${COMPILE:---compile} || code=$?
    for kept in log.jsonl curves.csv record.json; do
        cp "$work/twins/training/$kept" "$out/" || echo "no $kept yet: the same call goes on"
    done
    for depth in 22 15 8; do
        added=$work/twins/n$depth/model-swiftkv.safetensors
        [ -e "$added" ] || added=$work/twins/training/n$depth.safetensors
        [ ! -e "$added" ] || split -b 15m "$added" "$out/n$depth."
    done
    exit "$code"
    ;;
*) echo "there is no part $part; see the head of $0" >&2 && exit 2 ;;
esac
