"""What a task file may say here. Whatever else it says is refused by its key, before an engine starts."""

from collections.abc import Mapping
from typing import Any

from swiftkv_bench.errors import InputError

OUTPUT_TYPES = ("generate_until", "loglikelihood", "loglikelihood_rolling", "multiple_choice")
"""What a task may ask of an engine, in lm-eval's words."""

SAMPLING_KEYS = (
    "temperature", "top_p", "top_k", "min_p", "presence_penalty", "frequency_penalty", "repetition_penalty",
    "min_tokens", "ignore_eos", "stop_token_ids", "include_stop_str_in_output", "skip_special_tokens",
    "spaces_between_special_tokens",
)  # fmt: skip
"""`generation_kwargs` that are sent to the engine as they are, beside lengths, stop strings and `do_sample`."""

LENGTH_KEYS = ("max_gen_toks", "max_new_tokens", "max_tokens", "max_completion_tokens")
"""lm-eval's names of the generation limit; the first that is given counts."""

_DROPPED = ("tag", "group_alias", "task_list")
"""Keys of lm-eval's registry, which no task object sees."""

_GREEDY_ALIASES = {"num_beams": 1, "n": 1, "best_of": 1}
"""Keys with a value that changes nothing about one greedy answer."""


def task_keys(config: Mapping[str, Any]) -> dict[str, Any]:
    """The keys of a task's configuration that lm-eval's task object takes.

    Raises:
        InputError: a key that asks for something else than the questions and scores of one task.
    """
    from dataclasses import fields

    from lm_eval.config.task import TaskConfig

    kept = {key: value for key, value in config.items() if key not in (*_DROPPED, "group")}
    known = {field.name for field in fields(TaskConfig)}
    if "class" in kept:
        raise InputError("class: a task that is a Python class asks in a way of its own; only task files are run")
    for key in kept:
        if key not in known:
            raise InputError(f"{key}: {kept[key]!r:.80}: lm-eval's tasks have no such key")
    for key in ("doc_to_image", "doc_to_audio"):
        if kept.get(key) is not None:
            raise InputError(f"{key}: engines are sent text only")
    if kept.get("unsafe_code"):
        raise InputError("unsafe_code: true runs answers as programs on this machine, which is not done here")
    if (output_type := kept.get("output_type", "generate_until")) not in OUTPUT_TYPES:
        raise InputError(f"output_type: {output_type!r} is none of {', '.join(OUTPUT_TYPES)}")
    if kept.get("dataset_path") is None and kept.get("custom_dataset") is None:
        raise InputError("dataset_path: not given, so the task has no documents")
    _require_repeats(kept)
    _require_generation(kept.get("generation_kwargs"))
    return kept


def _require_repeats(config: Mapping[str, Any]) -> None:
    repeats = config.get("repeats", 1)
    if isinstance(repeats, bool) or not isinstance(repeats, int) or repeats < 1:
        raise InputError(f"repeats: {repeats!r} is no number of answers from 1 on")
    for ensemble in config.get("filter_list") or ():
        for step in ensemble.get("filter", ()) if isinstance(ensemble, dict) else ():
            if step.get("function") == "take_first_k" and step.get("k", 1) > repeats:
                raise InputError(
                    f"filter_list: {ensemble.get('name')}: take_first_k: k: {step.get('k')} answers an item are wanted "
                    f"and repeats is {repeats}; set repeats"
                )


def _require_generation(options: Any) -> None:
    if options is None:
        return
    if not isinstance(options, dict):
        raise InputError(f"generation_kwargs: {options!r:.80} is no mapping")
    if options.get("do_sample") is True and options.get("temperature") is None:
        raise InputError(
            "generation_kwargs: do_sample: true without a temperature is another one on every engine; state temperature"
        )
    for key, value in options.items():
        if key in ("until", "do_sample", *SAMPLING_KEYS):
            continue
        if key in LENGTH_KEYS:
            if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < 1):
                raise InputError(f"generation_kwargs: {key}: {value!r} is no number of tokens from 1 on")
        elif _GREEDY_ALIASES.get(key, object()) != value:
            raise InputError(
                f"generation_kwargs: {key}: {value!r:.80}: engines are not asked that way here; known are "
                f"{', '.join(('until', 'do_sample', *LENGTH_KEYS, *SAMPLING_KEYS))}"
            )
