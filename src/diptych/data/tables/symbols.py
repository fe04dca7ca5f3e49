"""The built-in table `symbols`: pictures of Unicode characters with their names.

Every assigned, visible character that the twelve DejaVu text fonts can draw is rendered once per
font, black on white, and paired with its Unicode name in lower-case words: the picture of "á"
goes with "latin small letter a with acute". About 45,000 pairs of about 6,500 symbols, with no
download, so that training, search and classification can be tried on real pairs anywhere. The
names are systematic, so a model can learn their words on some symbols and find others by them.

Use it to try Diptych, to test, and to compare methods in minutes. Do not read results on it as
results on photographs: one glyph on white is an easy picture, and names are not captions.

Source: the pictures come from the DejaVu fonts (Bitstream Vera licence, free to use and to
redistribute) inside the installed matplotlib; the names from Python's `unicodedata`. So the exact
rows depend on the versions of both, and the cache's name says which they were.
"""

import unicodedata
from collections.abc import Callable, Collection, Iterator
from hashlib import blake2b
from io import BytesIO
from pathlib import Path

import datasets
import matplotlib
import PIL
from matplotlib.ft2font import FT2Font
from PIL import Image, ImageDraw, ImageFont, ImageOps

from diptych.data.cache import cache_root, cached_table

SIZE = 32
"""Height and width of every picture in pixels."""

FONT_PIXELS = 26
"""Font size all symbols are drawn at, those too large for the picture apart: an "x" stays smaller than an "X"."""

MARGIN = 1
"""White pixels kept free at each edge."""

UNSEEN_SHARE = 0.1
"""Share of the symbols whose pictures are all in the split "test"."""

FONTS = {
    "DejaVu Sans": "DejaVuSans.ttf",
    "DejaVu Sans Bold": "DejaVuSans-Bold.ttf",
    "DejaVu Sans Oblique": "DejaVuSans-Oblique.ttf",
    "DejaVu Sans Bold Oblique": "DejaVuSans-BoldOblique.ttf",
    "DejaVu Sans Mono": "DejaVuSansMono.ttf",
    "DejaVu Sans Mono Bold": "DejaVuSansMono-Bold.ttf",
    "DejaVu Sans Mono Oblique": "DejaVuSansMono-Oblique.ttf",
    "DejaVu Sans Mono Bold Oblique": "DejaVuSansMono-BoldOblique.ttf",
    "DejaVu Serif": "DejaVuSerif.ttf",
    "DejaVu Serif Bold": "DejaVuSerif-Bold.ttf",
    "DejaVu Serif Italic": "DejaVuSerif-Italic.ttf",
    "DejaVu Serif Bold Italic": "DejaVuSerif-BoldItalic.ttf",
}
"""Font name -> file, in the order of the rows. The display fonts add no symbol and are left out."""

UNSEEN_FONTS = frozenset({"DejaVu Sans Mono Bold", "DejaVu Serif"})
"""Fonts never trained on: their pictures of trained symbols are the split "test_fonts".

One with serifs and one monospaced; chosen because hardly a symbol is in these two alone."""

CATEGORIES = {
    "Lu": "uppercase letter",
    "Ll": "lowercase letter",
    "Lt": "titlecase letter",
    "Lm": "modifier letter",
    "Lo": "other letter",
    "Nd": "decimal digit",
    "Nl": "letter number",
    "No": "other number",
    "Pc": "connector punctuation",
    "Pd": "dash punctuation",
    "Ps": "open punctuation",
    "Pe": "close punctuation",
    "Pi": "initial quote",
    "Pf": "final quote",
    "Po": "other punctuation",
    "Sm": "math symbol",
    "Sc": "currency symbol",
    "Sk": "modifier symbol",
    "So": "other symbol",
}
"""Unicode general category -> its words. Marks (M*), separators (Z*) and others (C*) are not in the table."""

FEATURES = datasets.Features(
    {
        "image": datasets.Image(decode=False),
        "text": datasets.List(datasets.Value("string")),
        "id": datasets.Value("string"),
        "split": datasets.Value("string"),
        "font": datasets.Value("string"),
        "symbol": datasets.Value("string"),
        "category": datasets.Value("string"),
    }
)

_CANVAS = 8 * FONT_PIXELS
_REPORT_EVERY = 500


def load(cache: Path | None = None, *, progress: Callable[[int, int], None] | None = None) -> datasets.Dataset:
    """Load the table, rendering it first if it is not in the cache (a few seconds, once).

    Parameters
    ----------
    cache
        Root of the cache; `diptych.data.cache.cache_root()` if None. The table lies in
        `tables/symbols-<version>` under it and takes about 20 MB.
    progress
        Called with (pictures done, pictures in all) while rendering; not called on a cache hit.

    Returns
    -------
    datasets.Dataset
        About 45,000 rows, ordered by font and then by code point, with the columns

        - `image`: `{"bytes": PNG, "path": None}`, 32 x 32 greyscale, black on white, not decoded;
        - `text`: a list of one string, the name in lower-case words;
        - `id`: the code point, "U+00E1": the views of one symbol in several fonts share it;
        - `split`: "train"; "test": symbols that "train" shows in no font, a tenth of them;
          "test_fonts": trained symbols in the two fonts that "train" lacks;
        - `font`: such as "DejaVu Sans Bold"; `symbol`: the character itself;
        - `category`: its general category in words, such as "lowercase letter".

    Raises
    ------
    FileNotFoundError
        If the installed matplotlib lacks one of the DejaVu fonts.
    OSError
        If the cache cannot be written.

    Examples
    --------
    >>> table = load()  # doctest: +SKIP
    >>> table[0]["id"], table[0]["text"]  # doctest: +SKIP
    ('U+0021', ['exclamation mark'])
    """
    folder = (cache_root() if cache is None else cache) / "tables" / f"symbols-{_version()}"
    return cached_table(folder, lambda: _render_table(progress=progress))


def split_of(symbol: str, font: str) -> str:
    """The split of one picture: "train", "test" (unseen symbol) or "test_fonts" (unseen font).

    Depends on nothing but the code point and the font's name, so it is the same on every machine
    and in every version. `load` says "test" as well of the one or two symbols that only fonts of
    `UNSEEN_FONTS` have, for they too are never trained on.

    >>> split_of("a", "DejaVu Sans"), split_of("a", "DejaVu Serif")
    ('train', 'test_fonts')
    """
    digest = blake2b(f"U+{ord(symbol):04X}".encode(), digest_size=8).digest()
    if int.from_bytes(digest) < UNSEEN_SHARE * 2**64:
        return "test"
    return "test_fonts" if font in UNSEEN_FONTS else "train"


def _font_path(font: str) -> Path:
    path = Path(matplotlib.get_data_path()) / "fonts" / "ttf" / FONTS[font]
    if not path.is_file():
        raise FileNotFoundError(
            f"the font {font!r} of the table 'symbols' was not found at {path}. matplotlib brings it along; "
            "some Linux distributions take it out: pip install --force-reinstall matplotlib"
        )
    return path


def _version() -> str:
    """A digest of all that the rows depend on: settings, font files, Unicode data, renderer."""
    settings = (SIZE, FONT_PIXELS, MARGIN, UNSEEN_SHARE, sorted(UNSEEN_FONTS), sorted(CATEGORIES.items()))
    digest = blake2b(repr((settings, unicodedata.unidata_version, PIL.__version__)).encode(), digest_size=8)
    for font in FONTS:
        digest.update(_font_path(font).read_bytes())
    return digest.hexdigest()


def _symbols_of(font: str) -> list[str]:
    """The characters `font` has a glyph for that are named, and letters, numbers, punctuation or symbols."""
    characters = (chr(code) for code in sorted(FT2Font(str(_font_path(font))).get_charmap()))
    return [
        c
        for c in characters
        if unicodedata.category(c) in CATEGORIES and not unicodedata.combining(c) and unicodedata.name(c, "")
    ]


def _render_table(
    symbols: Collection[str] | None = None, *, progress: Callable[[int, int], None] | None = None
) -> datasets.Dataset:
    """Render all symbols, or those of `symbols` alone, in every font that has them."""
    plan = [(font, c) for font in FONTS for c in _symbols_of(font) if symbols is None or c in symbols]
    columns: dict[str, list[object]] = {name: [] for name in FEATURES}
    for row in _rows(plan, progress):
        for name, value in row.items():
            columns[name].append(value)
    return datasets.Dataset.from_dict(columns, features=FEATURES)


def _rows(plan: list[tuple[str, str]], progress: Callable[[int, int], None] | None) -> Iterator[dict[str, object]]:
    """One row for each (font, symbol) of `plan` that leaves ink; a glyph without any shows nothing to learn."""
    draw = _Draughtsman()
    trained = {symbol for font, symbol in plan if split_of(symbol, font) == "train"}
    for done, (font, symbol) in enumerate(plan, start=1):
        png = draw(font, symbol)
        if png is not None:
            yield {
                "image": {"bytes": png, "path": None},
                "text": [unicodedata.name(symbol).lower()],
                "id": f"U+{ord(symbol):04X}",
                "split": split_of(symbol, font) if symbol in trained else "test",
                "font": font,
                "symbol": symbol,
                "category": CATEGORIES[unicodedata.category(symbol)],
            }
        if progress is not None and (done % _REPORT_EVERY == 0 or done == len(plan)):
            progress(done, len(plan))


class _Draughtsman:
    """Draws symbols on one reused canvas, with each font opened once per size."""

    def __init__(self) -> None:
        self._fonts: dict[tuple[str, int], ImageFont.FreeTypeFont] = {}
        self._canvas = Image.new("L", (_CANVAS, _CANVAS))
        self._pen = ImageDraw.Draw(self._canvas)

    def __call__(self, font: str, symbol: str) -> bytes | None:
        """The PNG of `symbol`, centred by its ink and shrunk if it must be; None if it has no ink."""
        room = SIZE - 2 * MARGIN
        pixels = FONT_PIXELS
        ink = self._ink(font, pixels, symbol)
        while ink is not None and max(ink.size) > room and pixels > 1:
            pixels = max(1, min(pixels - 1, pixels * room // max(ink.size)))
            ink = self._ink(font, pixels, symbol)
        if ink is None:
            return None
        picture = Image.new("L", (SIZE, SIZE))
        picture.paste(ink, ((SIZE - ink.width) // 2, (SIZE - ink.height) // 2))
        stream = BytesIO()
        ImageOps.invert(picture).save(stream, "PNG", compress_level=1)
        return stream.getvalue()

    def _ink(self, font: str, pixels: int, symbol: str) -> Image.Image | None:
        """White on black, cropped to what is not black; None if nothing is left."""
        if (font, pixels) not in self._fonts:
            self._fonts[font, pixels] = ImageFont.truetype(
                str(_font_path(font)), pixels, layout_engine=ImageFont.Layout.BASIC
            )
        self._canvas.paste(0, (0, 0, _CANVAS, _CANVAS))
        self._pen.text((_CANVAS // 2, _CANVAS // 2), symbol, fill=255, font=self._fonts[font, pixels], anchor="ms")
        box = self._canvas.getbbox()
        return None if box is None else self._canvas.crop(box)
