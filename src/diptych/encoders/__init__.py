"""Encoders: one modality a file; heads beside them."""

from diptych.encoders.bag import BagHead, WithBag
from diptych.encoders.convnet import ConvNet
from diptych.encoders.heads import Projection, UnitLength
from diptych.encoders.hub_image import HubImage
from diptych.encoders.hub_text import HubText
from diptych.encoders.lexical import LexicalHead, words_of
from diptych.encoders.timm_image import TimmImage
from diptych.encoders.transformer import TextTransformer
from diptych.encoders.vit import VisionTransformer

__all__ = [
    "BagHead",
    "ConvNet",
    "HubImage",
    "HubText",
    "LexicalHead",
    "Projection",
    "TextTransformer",
    "TimmImage",
    "UnitLength",
    "VisionTransformer",
    "WithBag",
    "words_of",
]
