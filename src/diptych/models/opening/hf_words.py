"""A checkpoint's own tokenizer as a processor of ours: the same tokens, padding and side of it.

The library makes the tokenizer as it would for its own model; what `tokenizers` then runs is its JSON, which
checkpoints of ours keep. Tokenizers that run in Python only are refused.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from diptych.data.processors import TextProcessor, TooLong
from diptych.models.opening.hf_files import kept_file


@dataclass(frozen=True)
class Words:
    """A checkpoint's tokenizer.

    Attributes:
        definition: as the JSON of `tokenizers`.
        size: of its vocabulary.
        length: tokens of a text that it was made for; None if it does not say.
        pad_id: of its padding.
        masked: whether its module is told which tokens are padding.
        padding: on which side.
    """

    definition: str
    size: int
    length: int | None
    pad_id: int
    masked: bool
    padding: Literal["right", "left"]

    def processor(self, max_length: int, *, fill: bool, too_long: TooLong) -> TextProcessor:
        """The processor of its texts."""
        return TextProcessor(
            self.size,
            max_length=max_length,
            definition=self.definition,
            pad_id=self.pad_id,
            fill=fill,
            too_long=too_long,
        )


def words_of(name: str) -> Words:
    """A checkpoint's tokenizer.

    Raises:
        ValueError: if it has none that `tokenizers` can run.
    """
    from transformers import AutoTokenizer, PreTrainedTokenizerFast

    if kept_file(name, "tokenizer.json", "vocab.txt", "vocab.json") is None:
        raise ValueError(
            f"hf:{name} has no tokenizer.json; save its tokenizer there (AutoTokenizer...save_pretrained), or give its "
            "image tower alone"
        )
    try:
        tokenizer: Any = AutoTokenizer.from_pretrained(name, trust_remote_code=False)
    except (OSError, ValueError, ImportError) as error:
        tokenizer, reason = None, error
    else:
        reason = f"{type(tokenizer).__name__} runs in Python"
    if getattr(tokenizer, "backend_tokenizer", None) is None:  # SigLIP's own class wants sentencepiece
        if kept_file(name, "tokenizer.json") is None:
            raise ValueError(f"hf:{name} has no tokenizer.json, and its own tokenizer cannot be used: {reason}")
        tokenizer = PreTrainedTokenizerFast.from_pretrained(name)
    if tokenizer.truncation_side != "right":
        raise ValueError(
            f"the tokenizer of hf:{name} cuts texts on the {tokenizer.truncation_side}; only 'right' can be"
        )
    length = int(tokenizer.model_max_length)
    return Words(
        tokenizer.backend_tokenizer.to_str(),
        len(tokenizer),
        length if length < 10**9 else None,  # a very large number stands for none
        tokenizer.pad_token_id or 0,
        "attention_mask" in tokenizer.model_input_names,
        tokenizer.padding_side,
    )
