"""Which of a source's columns is the image, which the text, which the id: by name, by type, by the user's word.

A guess is made only where one candidate stands out. Two columns as good as each other are an error
that lists them and names the flag that decides, for a wrong guess costs a day of training.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from difflib import get_close_matches

import datasets

from diptych.data.sources.errors import TableError

IMAGE_NAMES = (
    ("image",),
    ("jpg", "jpeg", "png", "webp", "img", "picture", "photo"),
    ("file_name", "filename", "filepath", "file_path", "image_path", "img_path", "image_file", "image_name", "path"),
    ("*_file_name",),
)
"""Names that speak for an image column, the surest tier first; names of one tier are as good as each other."""

TEXT_NAMES = (
    ("text",),
    ("caption", "captions", "texts", "txt", "sentence", "sentences"),
    ("title", "description", "name", "alt_text", "comment"),
)
"""Names that speak for a text column, in tiers; each may also come numbered: caption_0, caption_1 ..."""

ID_NAMES = ("id", "image_id", "key", "uuid", "uid", "item_id", "sample_id", "product_id")
"""Names that speak for an id column, the surest first."""

_NUMBERED = re.compile(r"(?P<stem>.*?[^\d_-])[_-]?(?P<number>\d+)")


@dataclass(frozen=True)
class Columns:
    """The source's names for the three columns.

    Attributes:
        image: column of images or of paths.
        texts: one column of texts, or the numbered ones in their order; none where there is none and need be none.
        id: None where the source has none.
    """

    image: str
    texts: tuple[str, ...]
    id: str | None


def choose_columns(
    features: datasets.Features,
    name: str,
    *,
    image: str | None,
    text: str | None,
    id: str | None,
    needs_text: bool = True,
) -> Columns:
    """Choose by the user's word (`image`, `text`, `id`) and where it is None by the names and types.

    Parameters
    ----------
    features
        Columns of the source.
    name
        What messages call the source.
    image, text, id
        Column named by the user; `text` may be the common stem of numbered columns.
    needs_text
        Whether it is an error if no column could be the text.

    Raises
    ------
    TableError
        If a column named is absent, or none or several columns could be meant.

    Examples
    --------
    >>> string = datasets.Value("string")
    >>> features = datasets.Features({"file_name": string, "caption_0": string, "caption_1": string})
    >>> choose_columns(features, "a.csv", image=None, text=None, id=None)
    Columns(image='file_name', texts=('caption_0', 'caption_1'), id=None)
    """
    return Columns(
        image=_named(features, name, image, "image") if image else _guess_image(features, name),
        texts=_named_texts(features, name, text) if text else _guess_texts(features, name, needs_text),
        id=_named(features, name, id, "id") if id else _guess_id(features),
    )


def is_text(feature: object) -> bool:
    """Whether a column is of strings or lists of strings; a column of nulls may be either."""
    if isinstance(feature, datasets.List | datasets.LargeList):
        feature = feature.feature
    return isinstance(feature, datasets.Value) and feature.dtype in ("string", "large_string", "null")


def is_image(feature: object) -> bool:
    """Whether a column can hold images: decoded lazily, as bytes, as a path, or as both in a struct."""
    if isinstance(feature, dict):
        return {"bytes", "path"} <= feature.keys()
    if isinstance(feature, datasets.Value):
        return feature.dtype in ("string", "large_string", "binary", "large_binary", "null")
    return isinstance(feature, datasets.Image)


def names_images(column: str) -> bool:
    """Whether a column's name speaks for images or their paths."""
    return any(_is_called(column, name) for tier in IMAGE_NAMES for name in tier)


def string_columns(names: Sequence[str], chosen: Sequence[str | None]) -> list[str]:
    """Of a CSV's columns those that must not be read as numbers: an id 0012, a product called 501."""
    known = {name for tier in (*IMAGE_NAMES, *TEXT_NAMES, ID_NAMES, ("split",)) for name in tier}
    return [
        name
        for name in names
        if name in chosen or _stem(name) in chosen or _stem(name.lower()) in known or _is_called(name, "*_file_name")
    ]


def _stem(name: str) -> str:
    match = _NUMBERED.fullmatch(name)
    return match["stem"] if match else name


def _numbered(names: Sequence[str], stem: str) -> tuple[str, ...]:
    """Of `names` those that are `stem` with a number, by number."""
    matches = [(name, match) for name in names if (match := _NUMBERED.fullmatch(name))]
    found = [(int(match["number"]), name) for name, match in matches if match["stem"].lower() == stem.lower()]
    return tuple(name for _, name in sorted(found))


def _named(features: datasets.Features, name: str, column: str, role: str) -> str:
    if column in features:
        return column
    close = get_close_matches(column, list(features), n=1)
    hint = f" Did you mean {close[0]!r}?" if close else ""
    raise TableError(f"{name} has no column {column!r} (--{role}-column); its columns are: {_listed(features)}.{hint}")


def _named_texts(features: datasets.Features, name: str, column: str) -> tuple[str, ...]:
    numbered = () if column in features else _numbered(list(features), column)
    texts = numbered or (_named(features, name, column, "text"),)
    for text in texts:
        if not is_text(features[text]) and not isinstance(features[text], datasets.ClassLabel):
            raise TableError(
                f"column {text!r} of {name} holds {_kind(features[text])}, not strings or lists of strings; "
                f"give another: --text-column NAME, of: {_listed(features)}"
            )
    return texts


def _guess_image(features: datasets.Features, name: str) -> str:
    found = _first_tier(features, IMAGE_NAMES, is_image)
    if not found and len(lazy := [c for c, feature in features.items() if isinstance(feature, datasets.Image)]) == 1:
        found = lazy
    return _only(found, features, name, "image", "images, bytes or paths")


def _guess_texts(features: datasets.Features, name: str, needed: bool) -> tuple[str, ...]:
    for tier in TEXT_NAMES:
        found = [(column,) for column in _first_tier(features, (tier,), is_text)]
        groups = (_numbered([c for c, feature in features.items() if is_text(feature)], stem) for stem in tier)
        found += [group for group in groups if group]
        if len(found) == 1:
            return found[0]
        if found:
            _only([c for group in found for c in group], features, name, "text", "texts")
    return (_only([], features, name, "text", "strings or lists of strings"),) if needed else ()


def _guess_id(features: datasets.Features) -> str | None:
    by_name = {column.lower(): column for column in reversed(list(features))}
    scalar = (name for name in ID_NAMES if isinstance(features.get(by_name.get(name, "")), datasets.Value))
    return next((by_name[name] for name in scalar), None)


def _first_tier(
    features: datasets.Features, tiers: Sequence[Sequence[str]], fits: Callable[[object], bool]
) -> list[str]:
    """The columns that fit and are named in the surest tier that names any."""
    for tier in tiers:
        found = [c for c, feature in features.items() if fits(feature) and any(_is_called(c, n) for n in tier)]
        if found:
            return found
    return []


def _is_called(column: str, name: str) -> bool:
    """Whether a column has this name, whatever its case; "*" at the start of the name stands for anything."""
    return column.lower().endswith(name[1:]) if name.startswith("*") else column.lower() == name


def _only(found: Sequence[str], features: datasets.Features, name: str, role: str, expected: str) -> str:
    if len(found) == 1:
        return found[0]
    flag = f"say which it is: --{role}-column NAME"
    if found:
        raise TableError(f"several columns of {name} could be the {role}: {', '.join(found)}; {flag}")
    raise TableError(
        f"no column of {name} is known to be the {role} (a column of {expected}); "
        f"its columns are: {_listed(features)}; {flag}"
    )


def _listed(features: datasets.Features) -> str:
    return ", ".join(f"{column} ({_kind(feature)})" for column, feature in features.items()) or "none"


def _kind(feature: object) -> str:
    if isinstance(feature, datasets.Value):
        return feature.dtype
    if isinstance(feature, datasets.List | datasets.LargeList):
        return f"list of {_kind(feature.feature)}"
    return "struct" if isinstance(feature, dict) else type(feature).__name__
