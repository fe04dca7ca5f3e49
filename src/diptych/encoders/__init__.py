"""Encoders: one modality a file; heads beside them."""

from diptych.encoders.convnet import ConvNet
from diptych.encoders.hashing import HashHead, pack, unpack
from diptych.encoders.heads import Projection, TokenProjection, UnitLength
from diptych.encoders.hub_image import HubImage
from diptych.encoders.hub_text import HubText
from diptych.encoders.timm_image import TimmImage
from diptych.encoders.transformer import TextTransformer
from diptych.encoders.vit import VisionTransformer

__all__ = [
    "ConvNet",
    "HashHead",
    "HubImage",
    "HubText",
    "Projection",
    "TextTransformer",
    "TimmImage",
    "TokenProjection",
    "UnitLength",
    "VisionTransformer",
    "pack",
    "unpack",
]
