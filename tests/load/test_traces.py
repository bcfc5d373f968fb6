"""Recorded traffic: four formats, what they share, and what is no trace."""

import json
import os
from pathlib import Path
from typing import Any

import pytest

from swiftkv_bench.errors import InputError
from swiftkv_bench.load.traces import read_trace

AZURE = """TIMESTAMP,ContextTokens,GeneratedTokens
2023-11-16 18:15:46.6805900,374,44
2023-11-16 18:15:50.9951690,396,109
2023-11-16 18:16:46.6805900,879,55
"""
BURST = """Timestamp,Model,Request tokens,Response tokens,Total tokens,Log Type
5,ChatGPT,472,18,490,Conversation log
45,ChatGPT,1087,0,1087,API log
118,GPT-4,417,276,693,Conversation log
"""


def write(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def row(stamp_ms: Any = 1, inputs: Any = 10, outputs: Any = 3, **more: Any) -> str:
    return json.dumps({"timestamp": stamp_ms, "input_length": inputs, "output_length": outputs, **more})


def test_mooncake_has_milliseconds_and_block_ids(tmp_path: Path) -> None:
    lines = [
        row(27_000, 1000, 500, hash_ids=[0, 1]), "", row(27_482, 1100, 490, hash_ids=[0, 1, 2]),
        row(30_482.5, 600, 1, hash_ids=[0, 9]), row(30_483, 512, 1, hash_ids=[9]),
    ]  # fmt: skip
    found = read_trace(write(tmp_path / "t.jsonl", "\n".join(lines)))
    assert found.at_s.tolist() == pytest.approx([0.0, 0.482, 3.4825, 3.483])
    assert found.input_tokens.tolist() == [1000, 1100, 600, 512]
    assert found.output_tokens.tolist() == [500, 490, 1, 1]
    assert (found.format, found.unit) == ("Mooncake", "milliseconds")
    # The second finds two blocks, the third one; 9 stood behind 0 before, so the fourth finds none.
    assert found.expected_hits == pytest.approx((1024 + 512) / (1000 + 1100 + 600 + 512))
    assert found.first(1).expected_hits == 0.0


def test_a_prompt_that_came_before_finds_all_but_its_last_token(tmp_path: Path) -> None:
    lines = [row(0, 700, hash_ids=[4, 5]), row(1, 700, hash_ids=[4, 5])]
    assert read_trace(write(tmp_path / "t.jsonl", "\n".join(lines))).expected_hits == pytest.approx(699 / 1400)


def test_azure_has_dates_with_seven_digits(tmp_path: Path) -> None:
    found = read_trace(write(tmp_path / "t.csv", AZURE))
    assert found.at_s.tolist() == pytest.approx([0.0, 4.314579, 60.0], abs=1e-6)
    assert found.input_tokens.tolist() == [374, 396, 879]
    assert found.output_tokens.tolist() == [44, 109, 55]
    assert (found.format, found.unit, found.hash_ids) == ("Azure LLM inference", "date and time", None)


def test_azure_of_2024_has_its_zone(tmp_path: Path) -> None:
    rows = "2024-05-10 00:00:00.009930+00:00,2162,5\r\n2024-05-10 00:00:01.509930+00:00,2399,6\r\n"
    found = read_trace(write(tmp_path / "t.csv", "TIMESTAMP,ContextTokens,GeneratedTokens\r\n" + rows))
    assert found.at_s.tolist() == pytest.approx([0.0, 1.5], abs=1e-6)


def test_burstgpt_has_seconds_and_its_failures_are_left_out(tmp_path: Path) -> None:
    found = read_trace(write(tmp_path / "t.csv", BURST))
    assert found.at_s.tolist() == [0.0, 113.0]
    assert (found.input_tokens.tolist(), found.output_tokens.tolist()) == ([472, 417], [18, 276])
    assert (found.format, found.unit, found.left_out) == ("BurstGPT", "seconds", 1)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (row() + "\n{oops", r"t:2:2 is no JSON \(.*\); mend or delete the line"),
        (row() + '\n{"timestamp": 2, "input_length": 4}', r"t:2:1 has no output_length; a line needs timestamp, "),
        ("[1, 2, 3]", r"t:1:1 begins a JSON array, which no trace does; conversations without times go to --prompts"),
        ('{"a":' * 100_000, r"t:1:1 is no request \(it nests too deep\)"),
        (row(inputs=0), r"t:1:18 has 0 prompt and 3 output tokens, a length that no model takes; mend or delete"),
        ('{"timestamp": NaN, "input_length": 1, "output_length": 1}', r"t:1:2 has timestamp nan, which is no number"),
        ('{"timestamp": 1, "input_length": 1e999, "output_length": 1}', r"t:1:18 has input_length inf, which is no"),
        (row(inputs=1e30), r"t:1:18 has 1e\+30 prompt and 3 output tokens, a length that no model takes"),
        (row(inputs=10**400), r"t:1:18 has input_length 10+, which is no number"),
        ('{"timestamp": ' + "1" * 5000 + "}", r"t:1:1 is no request \(it has a number of too many digits\); mend or"),
        (row("27"), r"t:1:2 has timestamp '27', which is no number; mend or delete the line"),
        (row(5) + "\n" + row(4), r"t:2 goes back in time; sort the trace by its times"),
        ("", r"the trace .*t is empty, which is none of Mooncake JSON lines, Azure LLM inference CSV or"),
        (row(outputs=0), r"the trace .*t has no requests; give a file with at least one that was answered"),
        (row(inputs=600, hash_ids=[1]), r"t:1:\d+ has 1 hash_ids for 600 prompt tokens; one is meant for"),
        (row(hash_ids=["a"]), r"t:1:\d+ has hash_ids that are no list of whole numbers"),
        (row(hash_ids=[1]) + "\n" + row(), r"the trace .*t has hash_ids in 1 of 2 lines; give them in all or none"),
        ("time,in,out\n1,2,3\n", r"the trace .*t has the columns time, in, out, which is none of"),
        (AZURE.replace("396", "many"), r"t:3:2 \(line, column\) has ContextTokens 'many', not a number of tokens"),
        (AZURE.replace("18:15:50", "noon"), r"t:3:1 \(line, column\) has TIMESTAMP '.*', not a time \(date and time\)"),
        (BURST.replace("472,18", "472,"), r"t:2:4 \(line, column\) has Response tokens '', not a number of tokens"),
        (BURST.replace("472", "inf"), r"t:2:3 has Request tokens inf, which is no number"),
    ],
)  # fmt: skip
def test_what_is_no_trace_is_one_sentence_with_line_and_column(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(InputError, match=message) as raised:
        read_trace(write(tmp_path / "t", text))
    assert "\n" not in str(raised.value)


def test_a_trace_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"cannot read the trace .*none.jsonl: .*; give Mooncake JSON lines"):
        read_trace(tmp_path / "none.jsonl")


def test_a_trace_is_read_again_once_it_has_changed_and_not_before(tmp_path: Path) -> None:
    path = write(tmp_path / "t.jsonl", row(0, 700))
    found = read_trace(path)
    assert read_trace(path) is found
    os.utime(write(path, row(0, 800)), ns=(0, path.stat().st_mtime_ns + 1))
    assert read_trace(path).input_tokens.tolist() == [800]
