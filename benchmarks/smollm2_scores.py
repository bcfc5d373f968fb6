"""Log-likelihood columns of docs/results-smollm2.md on all items, in plain PyTorch on one GPU.

The questions are the harness's own token ids, so the GPU machine needs neither data nor lm-eval:

    python benchmarks/smollm2_scores.py questions --model MODEL --data-dir DATA --out questions.npz --columns COLUMN ...
    python benchmarks/smollm2_scores.py score --model MODEL --twins OUT --questions questions.npz --out scores.npz
    python benchmarks/smollm2_scores.py table --model MODEL --data-dir DATA --scores scores.npz COLUMN ...

A COLUMN is SUITE:COLUMN as for `accuracy`. TWINS is the folder that `distill` wrote. The models are the base, its twins
and the undistilled twin of 15 layers, which share the base's early layers.
"""

import argparse
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

DEPTHS = (22, 15, 8)
BATCH_TOKENS = 65_536


def items_of(request: str, model: Path, data_dir: Path) -> list[Any]:
    """All items of a column, as `accuracy` asks them."""
    from swiftkv_bench.accuracy.items import build_items, sample
    from swiftkv_bench.accuracy.prompts import Prompter
    from swiftkv_bench.accuracy.suites import plan_accuracy, select_columns, selected_file
    from swiftkv_bench.accuracy.tasks import load_column

    suite = select_columns([request])
    plan = plan_accuracy(suite, ("baseline",), file=selected_file([request]))
    tasks = load_column(plan, suite.columns[0], data_dir)
    chosen = sample(tasks, None, 0)
    return build_items(tasks, chosen, Prompter(str(model)), max_model_len=8192, max_gen_tokens=64)


def write_questions(given: argparse.Namespace) -> None:
    """Sequences with the places whose tokens are asked about; one for all one-token answers to a context."""
    arrays: dict[str, Any] = {}
    for request in given.columns:
        contexts: dict[tuple[int, ...], int] = {}
        which, tails = [], []
        for item in items_of(request, given.model, given.data_dir):
            for question in item.questions:
                which.append(contexts.setdefault(question.context, len(contexts)))
                tails.append(question.tokens)
        name = request.rsplit(":", 1)[-1]
        arrays[f"{name}.contexts"] = np.concatenate([np.array(ids, np.uint16) for ids in contexts])
        arrays[f"{name}.lengths"] = np.array([len(ids) for ids in contexts], np.int32)
        arrays[f"{name}.which"] = np.array(which, np.int32)
        arrays[f"{name}.tails"] = np.concatenate([np.array(ids, np.uint16) for ids in tails])
        arrays[f"{name}.tail_lengths"] = np.array([len(ids) for ids in tails], np.int32)
        print(f"{name}: {len(which):,} questions, {arrays[f'{name}.lengths'].sum():,} tokens of contexts", flush=True)
        np.savez_compressed(given.out, **arrays)


def batches(lengths: Sequence[int]) -> Iterator[list[int]]:
    """Sequences of like length together, padded tokens bounded."""
    batch: list[int] = []
    for index in sorted(range(len(lengths)), key=lambda i: -lengths[i]):
        if batch and lengths[batch[0]] * (len(batch) + 1) > BATCH_TOKENS:
            yield batch
            batch = []
        batch.append(index)
    if batch:
        yield batch


def score(given: argparse.Namespace) -> None:
    """Log-likelihood of each question's tokens and whether they are the greedy choice, for every model."""
    import torch

    from swiftkv_bench.embedded.depths import Depths
    from swiftkv_bench.embedded.llama_folder import ADDED_FILE, LlamaFolder
    from swiftkv_bench.embedded.weights_io import load_weights

    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    torch.backends.cuda.enable_cudnn_sdp(False)
    source = LlamaFolder(given.model)
    weights, dtype = source.weights(), torch.bfloat16 if device.type == "cuda" else torch.float32
    depths = Depths(source.shape, weights, DEPTHS, device, dtype)
    raw = Depths(source.shape, weights, (15,), device, dtype)
    for depth in DEPTHS:
        depths.load(depth, load_weights(given.twins / f"n{depth}" / ADDED_FILE))
    questions, out = np.load(given.questions), {}
    norm, head = depths.base.model.norm, depths.head
    names = ("base", *(f"n{depth}" for depth in DEPTHS), "undistilled")
    for column in sorted({key.split(".")[0] for key in questions}):
        begun = time.perf_counter()
        contexts = np.split(questions[f"{column}.contexts"], np.cumsum(questions[f"{column}.lengths"])[:-1])
        tails = np.split(questions[f"{column}.tails"], np.cumsum(questions[f"{column}.tail_lengths"])[:-1])
        which = questions[f"{column}.which"]
        rows: dict[tuple[int, bytes], list[int]] = {}  # one sequence for all questions that differ in the last token
        for number, tail in enumerate(tails):
            rows.setdefault((int(which[number]), tail[:-1].tobytes()), []).append(number)
        asked = list(rows.values())
        ids = [np.concatenate([contexts[which[own[0]]], tails[own[0]][:-1]]).astype(np.int64) for own in asked]
        found = np.zeros((len(names), len(tails)), np.float32)
        greedy = np.ones((len(names), len(tails)), bool)
        for batch in batches([len(row) for row in ids]):
            width = -(-len(ids[batch[0]]) // 64) * 64
            padded = np.zeros((len(batch), width), np.int64)
            places, targets, owners = [], [], []
            for place, index in enumerate(batch):
                padded[place, : len(ids[index])] = ids[index]
                for number in asked[index]:
                    tail = tails[number]
                    first = len(ids[index]) - len(tail)
                    places += [place * width + first + offset for offset in range(len(tail))]
                    targets += tail.tolist()
                    owners += [number] * len(tail)
            at, wanted = torch.tensor(places, device=device), torch.tensor(targets, device=device)
            with torch.no_grad():
                taught = depths.taught(torch.from_numpy(padded).to(device))
                states = [taught.last, *(depths.learned(d, taught).detach() for d in DEPTHS), raw.learned(15, taught)]
                for model, state in enumerate(states):
                    picked = norm(state.detach().flatten(0, 1)[at])
                    for begin in range(0, len(places), 8192):
                        part = slice(begin, begin + 8192)
                        logits = (picked[part] @ head.T).float()
                        own = logits.gather(1, wanted[part, None]).squeeze(1)
                        np.add.at(found[model], owners[part], (own - logits.logsumexp(-1)).cpu().numpy())
                        np.logical_and.at(greedy[model], owners[part], (own >= logits.amax(-1)).cpu().numpy())
        for model, name in enumerate(names):
            out[f"{column}.{name}"], out[f"{column}.{name}.greedy"] = found[model], greedy[model]
        np.savez_compressed(given.out, **out)
        print(f"{column}: {len(asked):,} sequences in {time.perf_counter() - begun:.0f} s", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=("questions", "score"))
    parser.add_argument("--columns", nargs="+", default=[])
    for name in ("model", "data-dir", "twins", "questions", "scores", "out"):
        parser.add_argument(f"--{name}", type=Path)
    given = parser.parse_args()
    {"questions": write_questions, "score": score}[given.part](given)


if __name__ == "__main__":
    main()
