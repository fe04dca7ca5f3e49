"""A model as the tools of other libraries expect one: open_clip's CLIP, a sentence encoder, a model of MTEB."""

from diptych.faces.open_clip import OpenClipFace, as_open_clip
from diptych.faces.sentence_encoder import SentenceEncoder

__all__ = ["OpenClipFace", "SentenceEncoder", "as_open_clip"]
