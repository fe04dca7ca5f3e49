"""Texts on which tokenizers differ, if they differ at all."""

NASTY = [
    "a photo of a cat",
    "",
    " ",
    "  A  photo\tof\n\na CAT.  ",
    "two dogs, running; on the grass! (isn't it?)",
    "a 🐶 and a 👩‍👩‍👧‍👦 under a 🏳️‍🌈",
    "一只猫坐在垫子上",
    "日本語のテキスト、カタカナ",
    "صورة قطة على السجادة",
    "‏עברית‎ and latin‮ reversed",
    "null\x00 bell\x07 escape\x1b[0m",
    "soft\u00adhyphen zero\u200bwidth nbsp\u00a0here \ufeffbom",
    "cafe\u0301 café ﬁne Ⅳ ｆｕｌｌｗｉｄｔｈ",
    "caf&eacute; &lt;b&gt;bold&lt;/b&gt; &amp;amp; <b>tags</b>",
    "<|startoftext|> <|endoftext|> [CLS] [SEP] [PAD] </s> <pad> <eos>",
    "x" * 300,
    "1234567890 3.14159 1/2 ½ 10²",
    "don't you're we'll I'd they've 's",
    "İstanbul ẞ ß ŉ ﷽",
    "\U0001f3fb\ud7ff\ue000 private",
    "word " * 500,
]
"""Emoji, other scripts, right to left, control characters, entities, special tokens, nothing, and 500 words."""
