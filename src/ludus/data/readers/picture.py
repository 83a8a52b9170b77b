"""One picture file, PNG, JPEG, TIFF, BMP or GIF: its shape and type from its header, and its values, exactly.

What it is shows in its content, not in its name. Pillow would make 8 bits of 16-bit colours without a word, so the bit
depth is read from the file itself.
"""

import contextlib
import struct
import warnings
from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from ludus.data.raw import times
from ludus.errors import UserError

if TYPE_CHECKING:
    from PIL import Image

FORMATS = ("PNG", "JPEG", "TIFF", "BMP", "GIF")  # others, of which some start programs, are not tried
FAULTS = (
    OSError, ValueError, SyntaxError, LookupError, TypeError, ArithmeticError, AttributeError, RuntimeError,
    MemoryError, EOFError, struct.error,
)  # fmt: skip  (what Pillow raises on files that are damaged, or made to be)
GREY = {"1": bool, "L": np.uint8, "LA": np.uint8, "I;16": np.uint16, "I;16B": np.uint16}
COLOUR = ("RGB", "RGBA", "P")
BITS, PHOTOMETRIC, ORIENTATION, SAMPLE_FORMAT = 258, 262, 274, 339  # tags of TIFF and EXIF


class Head(NamedTuple):
    """What a picture's header says."""

    shape: tuple[int, ...]  # (H, W) or (H, W, 3), as the picture is seen
    dtype: np.dtype
    format: str
    done: tuple[str, ...]  # what is done to its values


@contextlib.contextmanager
def file_of(path: str) -> "Iterator[tuple[Image.Image, bytes]]":
    """A picture, not decoded yet, and how its file begins. Raises UserError for what is none, or damaged."""
    from PIL import Image, UnidentifiedImageError

    begin = b""
    try:
        with open(path, "rb") as file:
            begin = file.read(26)
            file.seek(0)
            with Image.open(file, formats=FORMATS) as image:
                yield image, begin
    except UnidentifiedImageError as error:
        raise UserError(f"{path} is no picture ({', '.join(FORMATS)}): it begins with {begin[:12]!r}") from error
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise UserError(f"{path} is too large for a picture ({error}): save it as NPY") from error
    except FAULTS as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise UserError(f"{path} cannot be read ({reason}). Was the copy finished?") from error


def head(path: str) -> Head:
    """What the header of a picture says. Raises UserError for 89 million pixels or more (Pillow's limit), and where it
    would not be read exactly."""
    from PIL import Image

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        with file_of(path) as (image, begin):
            return told(image, begin, path)


def told(image: "Image.Image", begin: bytes, path: str) -> Head:
    check(image, begin, path)
    turn = orientation(image)
    size = image.size if turn >= 5 else image.size[::-1]
    done = ["turned as its EXIF tag says"] if turn != 1 else []
    done += ["colours of its palette looked up"] if image.mode == "P" else []
    done += ["opaque alpha channel left out"] if has_alpha(image) else []
    shape, dtype = (size, GREY[image.mode]) if image.mode in GREY else ((*size, 3), np.uint8)
    return Head(shape, np.dtype(dtype), image.format, tuple(done))


def values(path: str, head: Head) -> np.ndarray:
    """The values of a picture, of the shape and type that its header told."""
    from PIL import ImageOps

    with file_of(path) as (image, _):
        alpha, turn = has_alpha(image), orientation(image)
        if alpha or image.mode == "P":
            image = image.convert("LA" if image.mode in GREY else "RGBA")
        array = np.asarray(ImageOps.exif_transpose(image) if turn != 1 else image)
    if image.mode in ("LA", "RGBA"):
        if array[..., -1].min() < 255:
            raise UserError(f"{path} is transparent in parts: save it without its alpha channel")
        array = array[..., 0] if image.mode == "LA" else array[..., :3]
    if array.shape != head.shape:
        raise UserError(f"{path} is {times(array.shape)} now, and was {times(head.shape)}: do not change data in use")
    return array.astype(head.dtype, copy=False)


def check(image: "Image.Image", begin: bytes, path: str) -> None:
    """Raises UserError for a picture whose values Pillow would change, and for one that moves."""
    depth = 8
    if image.format == "PNG":
        depth = begin[24]  # of its header, IHDR
    elif image.format == "TIFF" and not is_plain(image):
        raise UserError(f"{path} is a TIFF of several pages, or of a type beside 8 and 16 bits: "
                        f"name it alone, or a folder or pattern of TIFF only")  # fmt: skip
    if image.mode not in (*GREY, *COLOUR):
        raise UserError(f"{path} has the colours {image.mode}: save it as grey or RGB")
    if depth == 16 and image.mode != "I;16":
        raise UserError(f"{path} has 16 bits in each of several channels, which Pillow makes 8: save it as TIFF or NPY")
    if image.mode == "I;16" and has_alpha(image):
        raise UserError(f"{path} has 16 bits and a transparent value: save it without")
    if image.format in ("PNG", "GIF") and getattr(image, "is_animated", False):
        raise UserError(f"{path} is a film of {image.n_frames} pictures: save each as a file, or all as a TIFF stack")


def is_plain(image: "Image.Image") -> bool:
    """Whether Pillow gives what a TIFF file holds: one page of 8 bits, or of 16 and grey, not inverted nor turned."""
    tags = image.tag_v2
    bits = tags.get(BITS, (1,))
    simple = (set(bits) == {8} or bits == (16,)) and set(tags.get(SAMPLE_FORMAT, (1,))) == {1}
    return simple and tags.get(PHOTOMETRIC) in (1, 2) and tags.get(ORIENTATION, 1) == 1 and not image.is_animated


def is_stack(path: str) -> bool:
    """Whether a TIFF file is to be read as an array, of one page or of several."""
    try:
        with file_of(path) as (image, _):
            return not (image.format == "TIFF" and is_plain(image))
    except UserError:
        return True


def orientation(image: "Image.Image") -> int:
    """EXIF's, 1 to 8; a PNG's is not looked for beyond its header."""
    found = image.getexif().get(ORIENTATION, 1) if image.format != "TIFF" and "exif" in image.info else 1
    return found if found in range(1, 9) else 1


def has_alpha(image: "Image.Image") -> bool:
    return image.mode in ("LA", "RGBA") or "transparency" in image.info
