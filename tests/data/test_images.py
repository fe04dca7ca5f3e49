"""Every kind of image comes out upright, opaque and with 8 bits, or is refused with its reason."""

from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from diptych.data.images import BadImage, Header, decode_image, read_header


def encoded(image: Image.Image, format: str = "PNG", **options: object) -> bytes:
    stream = BytesIO()
    image.save(stream, format, **options)
    return stream.getvalue()


def quarters(width: int = 64, height: int = 32) -> Image.Image:
    """Red in the top left quarter, black elsewhere: shows where the top left went."""
    image = Image.new("RGB", (width, height))
    image.paste((255, 0, 0), (0, 0, width // 2, height // 2))
    return image


def noise(width: int = 64, height: int = 64) -> Image.Image:
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8))


def test_all_ways_to_name_an_image_give_the_same_pixels(tmp_path: Path):
    image, path = noise(), tmp_path / "a.png"
    path.write_bytes(encoded(image))
    ways = [path.read_bytes(), path, str(path), image, {"bytes": path.read_bytes(), "path": "gone.png"}]
    for value in [*ways, {"bytes": None, "path": str(path)}]:
        assert decode_image(value).tobytes() == image.tobytes()


# Where EXIF orientation n, by its definition, has put the stored top left corner once upright.
@pytest.mark.parametrize(
    ("orientation", "corner"),
    [
        (1, (0, 0)), (2, (1, 0)), (3, (1, 1)), (4, (0, 1)),
        (5, (0, 0)), (6, (1, 0)), (7, (1, 1)), (8, (0, 1)),
    ],
)  # fmt: skip
@pytest.mark.parametrize("draft", [None, (16, 8)])
def test_exif_orientation_is_undone(orientation: int, corner: tuple[int, int], draft: tuple[int, int] | None):
    exif = Image.Exif()
    exif[0x0112] = orientation
    image = decode_image(encoded(quarters(), "JPEG", exif=exif, quality=95), draft=draft)
    width, height = image.size
    assert (width > height) == (orientation < 5)
    for x, y in [(0, 0), (1, 0), (0, 1), (1, 1)]:
        red = np.asarray(image)[height // 4 + y * height // 2, width // 4 + x * width // 2, 0]
        assert (red > 128) == ((x, y) == corner)


def test_an_upright_image_is_not_turned_twice():
    exif = Image.Exif()
    exif[0x0112] = 6
    once = decode_image(encoded(quarters(), "JPEG", exif=exif))
    assert decode_image(once).size == once.size == (32, 64)


def test_garbage_in_exif_does_not_cost_the_pixels():
    data = encoded(quarters(), "JPEG", exif=b"Exif\0\0II*\0\xff\xff\xff\x7fgarbage")
    assert decode_image(data).size == (64, 32)


def test_cmyk_becomes_rgb():
    data = encoded(Image.new("CMYK", (16, 16), (0, 255, 255, 0)), "JPEG", quality=95)
    assert read_header(data).mode == "CMYK"
    red, green, blue = decode_image(data).getpixel((8, 8))  # pyright: ignore[reportGeneralTypeIssues]
    assert red > 245  # full magenta and yellow, no cyan, is red; JPEG may be a few levels off
    assert green < 10
    assert blue < 10


@pytest.mark.parametrize(
    ("brightest", "middle"),
    # The middle grey is brightest // 2; 255 is the brightest of its depth.
    [(65535, 127), (4095, 127), (1023, 127), (255, 127)],
)
def test_16_bit_grey_is_scaled_by_its_depth_not_clipped(brightest: int, middle: int):
    levels = np.array([[0, brightest // 2, brightest]], np.uint16)
    image = decode_image(encoded(Image.fromarray(levels)), mode="L")
    assert np.asarray(image).tolist() == [[0, middle, 255]]


def test_32_bit_integers_and_negative_ones_are_scaled():
    # A CT scan in Hounsfield units: 4,095 steps, so 12 bits, from -1000 on.
    image = Image.fromarray(np.array([[-1000, 3095]], np.int32))
    assert np.asarray(decode_image(image, mode="L")).tolist() == [[0, 255]]


def test_floating_point_grey_is_read_as_0_to_1_or_by_its_range():
    for values in ([[0.0, 0.5, 1.0]], [[-10.0, 0.0, 10.0]]):
        image = decode_image(Image.fromarray(np.array(values, np.float32)))
        assert np.asarray(image)[0, :, 0].tolist() == [0, 128, 255]
    with pytest.raises(BadImage, match="not finite"):
        decode_image(Image.fromarray(np.array([[np.nan]], np.float32)))


def test_one_bit_and_palette():
    assert decode_image(encoded(Image.new("1", (2, 2), 1))).getpixel((0, 0)) == (255, 255, 255)
    palette = quarters().convert("P", palette=Image.Palette.ADAPTIVE)
    assert decode_image(encoded(palette)).tobytes() == quarters().tobytes()


def test_transparency_is_laid_on_white():
    clear, half = (255, 0, 0, 0), (0, 0, 0, 128)
    image = Image.new("RGBA", (2, 1), clear)
    image.putpixel((1, 0), half)
    white, grey = np.asarray(decode_image(encoded(image)))[0]
    assert white.tolist() == [255, 255, 255]
    assert grey.tolist() == [127, 127, 127]  # 255 * (1 - 128 / 255)
    assert decode_image(encoded(Image.new("LA", (1, 1), (0, 0))), mode="L").getpixel((0, 0)) == 255
    palette = Image.new("P", (1, 1), 3)
    palette.putpalette([0] * 768)
    assert decode_image(encoded(palette, transparency=3)).getpixel((0, 0)) == (255, 255, 255)
    assert decode_image(encoded(palette)).getpixel((0, 0)) == (0, 0, 0)
    key = encoded(Image.new("RGB", (1, 1), (9, 9, 9)), transparency=(9, 9, 9))
    assert decode_image(key).getpixel((0, 0)) == (255, 255, 255)


@pytest.mark.parametrize("format", ["GIF", "WEBP"])
def test_of_an_animation_the_first_frame_is_taken(format: str):
    frames = [Image.new("RGB", (8, 8), color) for color in ("white", "black")]
    data = encoded(frames[0], format, save_all=True, append_images=frames[1:])
    assert decode_image(data).getpixel((4, 4)) == (255, 255, 255)


@pytest.mark.parametrize("format", ["JPEG", "PNG"])
def test_a_cut_file_is_refused_not_half_grey(format: str):
    data = encoded(noise(), format)
    with pytest.raises(BadImage) as caught:
        decode_image(data[: len(data) // 2])
    assert caught.value.reason == "truncated image"
    assert read_header(data[: len(data) // 2]).width == 64


@settings(max_examples=60, deadline=None)
@given(st.binary(max_size=64), st.sampled_from(["JPEG", "PNG", "GIF", "WEBP", "TIFF", "BMP"]), st.integers(0, 400))
def test_no_damage_raises_anything_but_bad_image(garbage: bytes, format: str, at: int):
    data = bytearray(encoded(noise(16, 16), format))
    data[at : at + len(garbage)] = garbage
    try:
        image = decode_image(bytes(data), max_pixels=1_000_000)
    except BadImage as error:
        assert error.reason
    else:
        assert image.mode == "RGB"


def test_what_is_no_image_says_so(tmp_path: Path):
    (tmp_path / "page.jpg").write_text("<html>404</html>")
    (tmp_path / "empty.jpg").touch()
    reasons = {
        "page.jpg": "not an image",
        "empty.jpg": "empty file",
        "gone.jpg": "missing file",
        "page.jpg/x.jpg": "missing file",
        "": "unreadable file",
    }
    for name, reason in reasons.items():
        with pytest.raises(BadImage) as caught:
            decode_image(tmp_path / name)
        assert caught.value.reason == reason
        assert str(tmp_path / name) in str(caught.value)
    for value in ({"bytes": None, "path": None}, {"bytes": b"", "path": None}, b""):
        with pytest.raises(BadImage, match=r"no image|empty file"):
            decode_image(value)


def test_a_bomb_is_refused_by_its_header_before_any_pixel_is_read():
    data = encoded(Image.new("1", (5000, 4000)))
    cut = data[:60]  # the pixels are not even there
    with pytest.raises(BadImage, match=r"5000 x 4000 = 20,000,000 > 1,000,000") as caught:
        decode_image(cut, max_pixels=1_000_000)
    assert caught.value.reason == "too many pixels"


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_pillows_own_ceiling_is_a_bad_image_too(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    with pytest.raises(BadImage) as caught:
        decode_image(encoded(Image.new("L", (100, 100))))
    assert caught.value.reason == "too many pixels"


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 300), st.integers(1, 300))
def test_draft_is_never_smaller_than_asked_for(width: int, height: int):
    data = encoded(Image.new("RGB", (400, 240)), "JPEG")
    image = decode_image(data, draft=(width, height))
    assert image.width >= min(width, 400)
    assert image.height >= min(height, 240)


def test_draft_reads_a_large_jpeg_at_a_fraction_of_its_size():
    data = encoded(Image.new("RGB", (1600, 1200)), "JPEG")
    assert decode_image(data, draft=(200, 150)).size == (200, 150)
    assert decode_image(data, draft=(201, 150)).size == (400, 300)


def test_a_pillow_image_is_left_as_it_was():
    image = Image.new("RGBA", (4, 4), (0, 0, 0, 0))
    decode_image(image, draft=(1, 1)).putpixel((0, 0), (1, 2, 3))
    assert (image.mode, image.getpixel((0, 0))) == ("RGBA", (0, 0, 0, 0))
    same = Image.new("RGB", (4, 4))
    decode_image(same).putpixel((0, 0), (1, 2, 3))
    assert same.getpixel((0, 0)) == (0, 0, 0)


def test_header_is_as_stored():
    exif = Image.Exif()
    exif[0x0112] = 6
    assert read_header(encoded(quarters(), "JPEG", exif=exif)) == Header(64, 32, "RGB", "JPEG")
    assert read_header(Image.new("L", (3, 2))) == Header(3, 2, "L", "")
