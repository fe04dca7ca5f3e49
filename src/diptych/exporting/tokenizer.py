"""A text processor as the tokenizer files that `transformers` and open_clip read."""

from __future__ import annotations

import json
from pathlib import Path

from tokenizers import Tokenizer

from diptych.data.processors import TextProcessor


def save_tokenizer(words: TextProcessor, folder: Path, *, end: int) -> int:
    """Write `tokenizer.json` and `tokenizer_config.json`.

    Args:
        words: fitted.
        folder: to write into.
        end: id of the token that ends every text.

    Returns:
        The id that fills up shorter rows. It is the processor's own where that is a token apart; a word of the
        vocabulary (CLIP's "!") is not taken for it, since it would then be cut out of texts, and `end` fills instead.
        Causal towers, pooled at the first `end`, do not see the difference.
    """
    from transformers import PreTrainedTokenizerFast

    assert words.definition is not None
    tokenizer = Tokenizer.from_str(words.definition)
    tokenizer.no_padding()
    tokenizer.no_truncation()
    special = {one["id"] for one in json.loads(words.definition)["added_tokens"] if one["special"]}
    pad = words.pad_id if words.pad_id in special else end
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token=tokenizer.id_to_token(end),
        pad_token=tokenizer.id_to_token(pad),
        model_max_length=words.max_length,
        clean_up_tokenization_spaces=False,
    ).save_pretrained(folder)
    return pad
