"""MNIST from its IDX files: found on disk, or fetched; used only if their content is the published one.

LeCun, Cortes, Burges, http://yann.lecun.com/exdb/mnist; CC BY-SA 3.0.
"""

import contextlib
import gzip
import hashlib
import os
import zlib
from pathlib import Path
from typing import TYPE_CHECKING

from ludus.errors import UserError

if TYPE_CHECKING:
    import numpy as np

MIRROR = "https://ossci-datasets.s3.amazonaws.com/mnist/"
FILES = {  # MD5 of the uncompressed bytes, and their shape
    "train-images-idx3-ubyte": ("6bbc9ace898e44ae57da46a324031adb", (60_000, 28, 28)),
    "train-labels-idx1-ubyte": ("a25bea736e30d166cdddb491f175f624", (60_000,)),
    "t10k-images-idx3-ubyte": ("2646ac647ad5339dbf082846283269ea", (10_000, 28, 28)),
    "t10k-labels-idx1-ubyte": ("27ae3e4e09519cfbb04c329615203637", (10_000,)),
}


def name(part: str) -> str:
    """The file that holds a part: "" (training images), "test", "label" or "test:label"."""
    split = "t10k" if part.startswith("test") else "train"
    return f"{split}-labels-idx1-ubyte" if part.endswith("label") else f"{split}-images-idx3-ubyte"


def cache() -> Path:
    return Path("~/.cache/ludus").expanduser()


def folders() -> list[Path]:
    """Where the files are looked for, in this order, each also in its subfolder `mnist`."""
    given = os.environ.get("LUDUS_DATA")
    roots = [Path(given)] if given else []
    roots += [Path("../shared/data"), cache()]
    return [folder for root in roots for folder in (root, root / "mnist")]


def find(file: str) -> Path:
    """The path of an IDX file, plain or .gz. Raises UserError saying how to get it."""
    for folder in folders():
        for path in (folder / file, folder / f"{file}.gz"):
            if path.is_file():
                return path
    raise UserError(
        f"MNIST's {file}.gz is not in $LUDUS_DATA, ../shared/data or {cache()}: fetch it with --download (11 MB in "
        f"all), put it there by hand, or use --data digits, which needs no files"
    )


def read(part: str, download: bool = False) -> "np.ndarray":
    """uint8 images (n, 28, 28) or labels (n,), their content checked. With `download` a missing file is fetched."""
    import numpy as np

    file = name(part)
    try:
        path = find(file)
    except UserError:
        if not download:
            raise
        path = fetch(file)
    _, shape = FILES[file]
    content = unpacked(file, path.read_bytes(), str(path))
    return np.frombuffer(content, np.uint8, offset=4 + 4 * len(shape)).reshape(shape)


def unpacked(file: str, content: bytes, where: str) -> bytes:
    """The uncompressed bytes. Raises UserError unless they are the published ones."""
    md5, shape = FILES[file]
    size = 4 + 4 * len(shape) + shape[0] * (28 * 28 if len(shape) == 3 else 1)
    if content[:2] == b"\x1f\x8b":
        unzip = zlib.decompressobj(wbits=31)
        try:
            content = unzip.decompress(content, size + 1)  # never more than is expected
        except zlib.error as error:
            raise UserError(f"{where} is damaged ({error}): delete it and fetch it again") from error
    if hashlib.md5(content, usedforsecurity=False).hexdigest() != md5:
        raise UserError(f"{where} is not MNIST's {file} (its MD5 is not {md5}): delete it and fetch it again")
    return content


def fetch(file: str) -> Path:
    """Fetches a file from the mirror into the user's cache, if its content is the published one; atomically."""
    from urllib.request import urlopen

    url = f"{MIRROR}{file}.gz"
    try:
        with urlopen(url, timeout=60) as answer:
            content = answer.read(32 << 20)
    except OSError as error:
        raise UserError(f"cannot fetch {url} ({error}): fetch it by hand, into {cache() / 'mnist'}") from error
    plain = unpacked(file, content, url)
    path = cache() / "mnist" / f"{file}.gz"
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        part.write_bytes(gzip.compress(plain, mtime=0))
        os.replace(part, path)
    except OSError as error:
        with contextlib.suppress(OSError):
            part.unlink()
        raise UserError(f"cannot write {path} ({error.strerror}): put MNIST's files into $LUDUS_DATA") from error
    return path
