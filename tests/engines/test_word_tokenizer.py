"""Every id of a model without weights has a text of its own, and a server's decoder moves on at every token."""

import json
from pathlib import Path

import numpy as np
import pytest
from tokenizers import Tokenizer
from tokenizers.decoders import DecodeStream

from swiftkv_bench.engines.models import resolve, vocabulary
from swiftkv_bench.errors import InputError
from swiftkv_bench.schema.engine import ModelSource

CONFIG = {"model_type": "llama", "vocab_size": 5000, "max_position_embeddings": 4096}


def test_a_model_without_weights_has_a_word_for_every_id(tmp_path: Path) -> None:
    model = resolve(ModelSource(config=dict(CONFIG)), tmp_path, "here")
    assert vocabulary(model.tokenizer) == ((0, 5000),)
    tokenizer = Tokenizer.from_file(str(Path(model.tokenizer) / "tokenizer.json"))
    assert tokenizer.encode("t17 t4999").ids == [17, 4999]
    assert tokenizer.decode([17, 4999]) == "t17 t4999"


def test_every_token_of_an_answer_adds_text_after_a_random_prompt(tmp_path: Path) -> None:
    model = resolve(ModelSource(config=dict(CONFIG)), tmp_path, "here")
    tokenizer = Tokenizer.from_file(str(Path(model.tokenizer) / "tokenizer.json"))
    ids = np.random.default_rng(0).integers(0, 5000, 300).tolist()
    stream = DecodeStream(ids=ids[:250], skip_special_tokens=True)
    assert [stream.step(tokenizer, i) for i in ids[250:]] == [f" t{i}" for i in ids[250:]]


def test_transformers_loads_it(tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    model = resolve(ModelSource(config=dict(CONFIG)), tmp_path, "here")
    assert json.loads((Path(model.model) / "config.json").read_text()) == CONFIG
    loaded = transformers.PreTrainedTokenizerFast.from_pretrained(model.tokenizer)
    assert (len(loaded), loaded.model_max_length) == (5000, 4096)


def test_a_config_without_vocabulary_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="here: config has no vocab_size"):
        resolve(ModelSource(config={"model_type": "llama"}), tmp_path, "here")
    assert not list(tmp_path.glob("*/*"))
