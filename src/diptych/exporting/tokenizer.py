"""A text processor as the tokenizer files that `transformers` and open_clip read."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from diptych.data.open_clip_text import OpenClipTokenizer, open_clip_library
from diptych.data.processors import TextProcessor

Words = TextProcessor | OpenClipTokenizer


def definition_of(words: Words) -> str:
    """The tokenizer as the JSON of `tokenizers`; CLIP's own vocabulary, which comes with open_clip, too.

    Raises:
        ValueError: if it is not fitted.
    """
    if words.definition is not None:
        return words.definition
    if isinstance(words, TextProcessor):
        raise ValueError("the text processor has no vocabulary yet: train the model first")
    from transformers import CLIPTokenizer

    theirs: Any = open_clip_library().tokenizer.SimpleTokenizer()
    marks = {"<start_of_text>": "<|startoftext|>", "<end_of_text>": "<|endoftext|>"}
    vocab = {str(marks.get(piece, piece)): int(number) for piece, number in theirs.encoder.items()}
    made: Any = CLIPTokenizer(vocab=vocab, merges=list(theirs.bpe_ranks))
    return made.backend_tokenizer.to_str()


def save_tokenizer(
    words: Words,
    folder: Path,
    *,
    end: int | None = None,
    masked: bool = True,
    padding: str = "right",
) -> int:
    """Write `tokenizer.json` and `tokenizer_config.json`.

    Args:
        words: fitted.
        folder: to write into.
        end: id of the token that ends every text, if there is one.
        masked: whether the model is told which tokens are padding.
        padding: the side of the padding, `"right"` or `"left"`.

    Returns:
        The id that fills up shorter rows. It is the processor's own where that is a token apart; a word of the
        vocabulary (CLIP's "!") is not taken for it, since it would then be cut out of texts: `end` fills instead, or
        any token apart. Models that are told which tokens are padding, and causal ones pooled at the first `end`, do
        not see the difference.
    """
    from transformers import PreTrainedTokenizerFast

    definition = definition_of(words)
    tokenizer = Tokenizer.from_str(definition)
    tokenizer.no_padding()
    tokenizer.no_truncation()
    apart = [one["id"] for one in json.loads(definition)["added_tokens"] if one["special"]]
    others = [*([] if end is None else [end]), *apart, words.pad_id]
    pad = words.pad_id if words.pad_id in apart else others[0]
    named = {"pad_token": pad, "eos_token": end, "sep_token": getattr(words, "zeroed", None)}
    made: Any = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        model_max_length=words.max_length,
        padding_side=padding,
        model_input_names=["input_ids", "attention_mask"] if masked else ["input_ids"],
        clean_up_tokenization_spaces=False,
        **{name: tokenizer.id_to_token(number) for name, number in named.items() if number is not None},  # type: ignore[arg-type]
    )
    made.save_pretrained(folder)
    return pad
