"""Tiny checkpoints of `transformers`: random weights, with tokenizer and image processor, as it saves them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import transformers
from nasty import NASTY
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors, trainers

hf: Any = transformers  # its configurations take anything by name, which no type checker follows
CORPUS = ["a photo of a cat", "two dogs running on the grass", "cafe menu", "1234567890", "isn't it fine"] * 3 + NASTY[
    :14
]
SIZE, PATCH, WIDTH = 32, 8, 24
VISION = {
    "hidden_size": WIDTH,
    "intermediate_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "image_size": SIZE,
    "patch_size": PATCH,
}
TEXT = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
MEAN, STD = [0.48, 0.46, 0.41], [0.27, 0.26, 0.28]


def trained(model: Any, trainer: Any, pre: Any) -> dict[str, Any]:
    """The `model` part of a tokenizer trained on the corpus."""
    tokenizer = Tokenizer(model)
    tokenizer.normalizer, tokenizer.pre_tokenizer = normalizers.Lowercase(), pre
    tokenizer.train_from_iterator(CORPUS, trainer)
    return json.loads(tokenizer.to_str())["model"]


def clip_tokenizer() -> Any:
    trainer = trainers.BpeTrainer(
        vocab_size=500,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        end_of_word_suffix="</w>",
        show_progress=False,
    )
    said = trained(models.BPE(end_of_word_suffix="</w>"), trainer, pre_tokenizers.ByteLevel(add_prefix_space=False))
    vocab = dict(said["vocab"])
    for letter in pre_tokenizers.ByteLevel.alphabet():
        vocab.setdefault(f"{letter}</w>", len(vocab))
    for special in ("<|startoftext|>", "<|endoftext|>"):
        vocab[special] = len(vocab)
    return hf.CLIPTokenizer(vocab=vocab, merges=[tuple(pair) for pair in said["merges"]], model_max_length=40)


def bert_tokenizer() -> Any:
    specials = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    trainer = trainers.WordPieceTrainer(vocab_size=400, special_tokens=specials, show_progress=False)
    pre = pre_tokenizers.BertPreTokenizer()
    vocab = trained(models.WordPiece(unk_token="[UNK]"), trainer, pre)["vocab"]
    return hf.BertTokenizer(vocab=vocab, model_max_length=40)


def xlmr_tokenizer() -> Any:
    specials = ["<s>", "<pad>", "</s>", "<unk>"]
    trainer = trainers.UnigramTrainer(vocab_size=300, special_tokens=specials, unk_token="<unk>", show_progress=False)
    vocab = trained(models.Unigram(), trainer, pre_tokenizers.Metaspace())["vocab"]
    return hf.XLMRobertaTokenizer(vocab=[(piece, score) for piece, score in vocab], model_max_length=40)


def siglip_tokenizer() -> Any:
    """As Google saves it: T5's pieces, an end, no mask, 64 places (here fewer)."""
    specials = ["<pad>", "</s>", "<unk>"]
    trainer = trainers.UnigramTrainer(vocab_size=300, special_tokens=specials, unk_token="<unk>", show_progress=False)
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.train_from_iterator(CORPUS, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    return hf.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="</s>",
        eos_token="</s>",
        unk_token="<unk>",
        model_max_length=24,
        model_input_names=["input_ids"],
    )


def siglip2_tokenizer() -> Any:
    specials = ["<pad>", "<eos>", "<bos>", "<unk>", "<mask>", *(f"<0x{byte:02X}>" for byte in range(256))]
    trainer = trainers.BpeTrainer(vocab_size=500, special_tokens=specials, show_progress=False)
    said = trained(models.BPE(byte_fallback=True, unk_token="<unk>"), trainer, pre_tokenizers.Metaspace())
    return hf.Siglip2Tokenizer(vocab=said["vocab"], merges=[tuple(m) for m in said["merges"]], model_max_length=24)


def clip_images(**changed: Any) -> Any:
    said = {"size": {"shortest_edge": 36}, "crop_size": {"height": SIZE, "width": SIZE}}
    return hf.CLIPImageProcessor(**{**said, "image_mean": MEAN, "image_std": STD, **changed})


def square(cls: Any, **changed: Any) -> Any:
    return cls(**{"size": {"height": SIZE, "width": SIZE}, "image_mean": MEAN, "image_std": STD, **changed})


def words(tokenizer: Any, **changed: Any) -> dict[str, Any]:
    ids = {name: getattr(tokenizer, f"{name}_token_id") for name in ("bos", "eos", "pad")}
    said = {f"{name}_token_id": value for name, value in ids.items() if value is not None}
    return {"vocab_size": len(tokenizer), "max_position_embeddings": 40, **TEXT, **said, **changed}


def clip() -> tuple[Any, Any, Any]:
    tokenizer = clip_tokenizer()
    config = hf.CLIPConfig(text_config=words(tokenizer), vision_config=VISION, projection_dim=20)
    return hf.CLIPModel(config), tokenizer, clip_images()


def clipseg() -> tuple[Any, Any, Any]:
    tokenizer = clip_tokenizer()
    config = hf.CLIPSegConfig(
        text_config=words(tokenizer),
        vision_config=VISION,
        projection_dim=20,
        extract_layers=[0, 1],
        reduce_dim=8,
        decoder_num_attention_heads=2,
    )
    larger = {"height": SIZE + 2 * PATCH, "width": SIZE + 2 * PATCH}  # than its places, as in the real ones
    return hf.CLIPSegForImageSegmentation(config), tokenizer, square(hf.ViTImageProcessor, size=larger)


def siglip() -> tuple[Any, Any, Any]:
    tokenizer = siglip_tokenizer()
    text = words(tokenizer, max_position_embeddings=24, projection_size=WIDTH)
    config = hf.SiglipConfig(text_config=text, vision_config=VISION)
    return hf.SiglipModel(config), tokenizer, square(hf.SiglipImageProcessor)


def siglip2() -> tuple[Any, Any, Any]:
    tokenizer = siglip2_tokenizer()
    text = words(tokenizer, max_position_embeddings=24, projection_size=WIDTH)
    vision = {name: value for name, value in VISION.items() if name != "image_size"} | {"num_patches": 16}
    config = hf.Siglip2Config(text_config=text, vision_config=vision)
    images = hf.Siglip2ImageProcessor(patch_size=PATCH, max_num_patches=17)
    return hf.Siglip2Model(config), tokenizer, images


def altclip() -> tuple[Any, Any, Any]:
    tokenizer = xlmr_tokenizer()
    text = words(tokenizer, max_position_embeddings=42, project_dim=28, type_vocab_size=1)
    config = hf.AltCLIPConfig(text_config=text, vision_config=VISION, projection_dim=20)
    return hf.AltCLIPModel(config), tokenizer, clip_images()


def chinese_clip() -> tuple[Any, Any, Any]:
    tokenizer = bert_tokenizer()
    config = hf.ChineseCLIPConfig(text_config=words(tokenizer), vision_config=VISION, projection_dim=20)
    return hf.ChineseCLIPModel(config), tokenizer, square(hf.ChineseCLIPImageProcessor, do_center_crop=False)


def align() -> tuple[Any, Any, Any]:
    tokenizer = bert_tokenizer()
    vision = hf.AlignVisionConfig(
        image_size=SIZE,
        kernel_sizes=[3, 5],
        in_channels=[32, 16],
        out_channels=[16, 20],
        strides=[2, 2],
        num_block_repeats=[1, 1],
        expand_ratios=[1, 6],
        depthwise_padding=[],
        hidden_dim=32,
        width_coefficient=1.0,
        depth_coefficient=1.0,
        pooling_type="mean",
    )
    config = hf.AlignConfig(
        text_config=words(tokenizer), vision_config=vision.to_dict(), projection_dim=24, temperature_init_value=0.05
    )
    images = hf.EfficientNetImageProcessor(
        size={"height": 41, "width": 41},
        crop_size={"height": SIZE, "width": SIZE},
        do_center_crop=True,
        do_normalize=False,
        rescale_factor=1 / 127.5,
        rescale_offset=True,
        include_top=False,
        resample=2,
    )
    return hf.AlignModel(config), tokenizer, images


def blip_config(tokenizer: Any) -> Any:
    text = words(tokenizer, encoder_hidden_size=WIDTH, sep_token_id=tokenizer.sep_token_id)
    return hf.BlipConfig(text_config=text, vision_config=VISION, projection_dim=20, image_text_hidden_size=18)


def blip() -> tuple[Any, Any, Any]:
    tokenizer = bert_tokenizer()
    return hf.BlipForImageTextRetrieval(blip_config(tokenizer)), tokenizer, square(hf.BlipImageProcessor)


def blip_model() -> tuple[Any, Any, Any]:
    tokenizer = bert_tokenizer()
    return hf.BlipModel(blip_config(tokenizer)), tokenizer, square(hf.BlipImageProcessor, resample=2)


def dual_encoder() -> tuple[Any, Any, Any]:
    tokenizer = bert_tokenizer()
    vision, text = hf.ViTModel(hf.ViTConfig(**VISION)), hf.BertModel(hf.BertConfig(**words(tokenizer)))
    config = hf.VisionTextDualEncoderConfig.from_vision_text_configs(vision.config, text.config, projection_dim=20)
    model = hf.VisionTextDualEncoderModel(config=config, vision_model=vision, text_model=text)
    return model, tokenizer, square(hf.ViTImageProcessor)


FAMILIES: dict[str, Callable[[], tuple[Any, Any, Any]]] = {
    "clip": clip,
    "clipseg": clipseg,
    "siglip": siglip,
    "siglip2": siglip2,
    "altclip": altclip,
    "chinese_clip": chinese_clip,
    "align": align,
    "blip": blip,
    "blip_model": blip_model,
    "vision-text-dual-encoder": dual_encoder,
}


def saved(folder: Path, parts: tuple[Any, ...], *, seed: int = 0) -> Path:
    """A model, its tokenizer and its image processor in a folder; the weights drawn so widely that answers differ."""
    draw = torch.Generator().manual_seed(seed)
    model, *others = parts
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if weight.dim() > 1:
                weight.normal_(0, 0.2, generator=draw)
            elif "bias" in name:
                weight.normal_(0, 0.1, generator=draw)
        for name, value in (("logit_scale", 2.3), ("logit_bias", -1.5)):
            if hasattr(model, name):
                getattr(model, name).fill_(value)
    for part in (model, *others):
        part.save_pretrained(folder)
    return folder
