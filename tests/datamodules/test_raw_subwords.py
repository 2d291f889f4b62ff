"""Texts as people have them, read and written by networks that know tokens of a byte-pair encoding."""

from pathlib import Path

import pytest
import torch

import zoo
from datamodules.bpe import END
from datamodules.bpe_text import BPEText
from datamodules.raw_subwords import RawSubwords
from datamodules.translation_files import TranslationFiles
from zoo.errors import DataError, ZooError
from zoo.predictions import Labels
from zoo.preprocessing import describe, rebuild
from zoo.pretrained import Pretrained

SENTENCES = ("the dog sees the cat", "the big house", "the cat sees the house", "a dog")
TRANSLATED = ("das Hund sieht das Katze", "das groß Haus", "das Katze sieht das Haus", "ein Hund")


@pytest.fixture(params=[True, False], ids=["shared", "one each"])
def pairs(request: pytest.FixtureRequest, tmp_path: Path) -> TranslationFiles:
    for split in ("train", "val", "test"):
        for language, lines in (("en", SENTENCES), ("de", TRANSLATED)):
            (tmp_path / f"{split}.{language}").write_text("\n".join(lines), "utf-8")
    data = TranslationFiles(str(tmp_path), batch_size=4, vocabulary_size=280, shared=request.param)
    data.setup("fit")
    return data


def test_raw_sentences_become_what_the_data_module_makes_of_them(pairs: TranslationFiles) -> None:
    made = pairs.preprocessing()
    assert isinstance(made, RawSubwords)
    preprocessing = rebuild(describe(made))
    assert isinstance(preprocessing, RawSubwords)
    x, y, lengths, _ = pairs.splits["test"][torch.arange(4)]
    tokens, counted = preprocessing(list(SENTENCES))
    assert torch.equal(tokens, x)
    assert torch.equal(counted, lengths)
    assert tokens[0, lengths[0] - 1] == END
    assert [preprocessing.text(row) for row in y] == list(TRANSLATED)
    assert len(preprocessing.outputs) == len(pairs.vocabulary)
    with pytest.raises(DataError, match="give a text of one character at least"):
        preprocessing([])


def test_a_loaded_network_translates_sentences(pairs: TranslationFiles) -> None:
    torch.manual_seed(0)
    model = zoo.create(
        "EncoderDecoder", vocabulary_size=pairs.vocabulary_size, source_vocabulary_size=pairs.source_vocabulary_size,
        width=16, layers=1, context=32,
    )  # fmt: skip
    loaded = Pretrained(model, pairs.preprocessing(), "mine", {})
    both = loaded.translate(list(SENTENCES[:2]), beam=2, most=6)
    x, _, lengths, _ = pairs.splits["test"][torch.arange(2)]
    expected = model.translate(x, lengths, 2, most=6)
    assert both == [pairs.vocabulary.decode(row) for row in expected]
    assert loaded.translate(SENTENCES[1], beam=2, most=6) == both[1], "a text alone, as among others"
    with pytest.raises(ZooError, match=r"mine predicts tokens beside those of a target; use translate\(text\)"):
        loaded.predict("a dog")
    with pytest.raises(ZooError, match="mine writes no texts; use translate"):
        loaded.generate("a dog")
    with pytest.raises(ZooError, match="cnn/digits translates nothing; use predict"):
        zoo.load("cnn/digits").translate("a dog")


def test_a_language_model_of_subwords_goes_on_with_a_text() -> None:
    data = BPEText(limit=20_000, vocabulary_size=300, window=16)
    data.setup("fit")
    torch.manual_seed(0)
    model = zoo.create("GPT", vocabulary_size=300, window=16, width=8, layers=1)
    loaded = Pretrained(model, data.preprocessing(), "mine", {})
    tokens, lengths = loaded.inputs("import os")
    assert torch.equal(tokens[0], data.vocabulary.encode("import os"))
    assert lengths is not None
    written = loaded.generate("import os", steps=5, seed=1)
    assert isinstance(written, str)
    assert written.startswith("import os")
    said = loaded.predict(["import os", "def"])
    assert isinstance(said, Labels)
    assert said.probabilities.shape == (2, 300)
