"""What a Zarr store in a folder declares, read and checked without zarr: one of its codecs is pickle, which can run any
code, and a link in it may lead anywhere."""

import base64
import contextlib
import json
import math
import os
import re
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from ludus.data.raw import check_budget, size
from ludus.errors import UserError

PLAIN = re.compile(r"[<>|][biufcSU][1-9]\d{0,5}")  # types of a fixed number of bytes, and no objects
NUMBERS = re.compile(r"bool|u?int(8|16|32|64)|float(16|32|64)|complex(64|128)")
TEXTS = {"fixed_length_utf32": ("U", 4), "null_terminated_bytes": ("S", 1)}
LAYOUT = {"bytes", "transpose", "sharding_indexed"}
PACKING = {"blosc", "bz2", "gzip", "lz4", "lzma", "zlib", "zstd", "bitround", "delta", "fixedscaleoffset", "quantize",
           "shuffle", "adler32", "crc32", "crc32c", "fletcher32", "jenkins_lookup3"}  # fmt: skip
SCALED = ("scale_factor", "add_offset", "_Unsigned")
CHUNK = re.compile(r"(c\.)?\d+(\.\d+)*")  # the name of a file that is a chunk
GIVEN = ("chunk_grid", "data_type", "codecs")  # in format 3
MOST = 64 << 20  # bytes of metadata


class Array(NamedTuple):
    """What an array declares."""

    name: str  # as the user may write it
    folder: str
    format: int
    shape: tuple[int, ...]
    chunks: tuple[int, ...]  # of what is one file; with shards, a shard
    dtype: np.dtype
    codecs: list[Any]
    fill: Any
    dims: tuple[str, ...]  # the names of the axes, or nothing
    attributes: dict[str, Any]


def metadata(folder: str) -> dict[str, Any]:
    """What a folder of a store says of itself, with its attributes; nothing where it is neither array nor group.

    The format is that of the file it is said in: of a folder with both, zarr is told to read the same one.
    """
    if kept := document(folder, "zarr.json"):
        return {**kept, "zarr_format": 3}
    array, group = document(folder, ".zarray"), document(folder, ".zgroup")
    if not array and not group:
        return {}
    attributes = document(folder, ".zattrs")
    return {**array, "zarr_format": 2, "node_type": "array" if array else "group", "attributes": attributes}


def document(folder: str, name: str) -> dict[str, Any]:
    """A JSON file of a store; nothing where there is none."""
    path = os.path.join(folder, name)
    if not os.path.lexists(path):
        return {}
    if os.path.islink(path) or not os.path.isfile(path) or os.path.getsize(path) > MOST:
        raise UserError(f"{path} is a link, or larger than {size(MOST)}: it is not read")
    try:
        with open(path, "rb") as file:
            kept = json.loads(file.read())
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path} is damaged ({str(error).splitlines()[0]}). Was the copy finished?") from error
    except OSError as error:
        raise UserError(f"cannot read {path} ({error.strerror or error})") from error
    if not isinstance(kept, dict):
        raise UserError(f"{path} is damaged: it holds {type(kept).__name__}, not an object")
    return kept


def declared(folder: str, name: str) -> Array:
    """What an array says of itself. Raises UserError unless it is of plain numbers or text, in chunks of one shape."""
    kept = metadata(folder)
    try:
        if kept["zarr_format"] == 2:
            chunks, dtype, dims = kept["chunks"], kept["dtype"], None
            kinds = [{**each, "name": each["id"]} for each in (*(kept["filters"] or ()), kept["compressor"]) if each]
        else:
            grid, dtype, kinds, dims = *(kept[each] for each in GIVEN), kept.get("dimension_names")
            if grid["name"] != "regular" or kept.get("storage_transformers"):
                raise UserError(f"{name} has chunks of several shapes, or a storage transformer: it cannot be read")
            chunks = grid["configuration"]["chunk_shape"]
        shape, chunks, attributes = whole(kept["shape"]), whole(chunks), kept.get("attributes") or {}
        dims = [each if isinstance(each, str) else "" for each in dims or attributes.get("_ARRAY_DIMENSIONS") or ()]
        if len(chunks) != len(shape) or 0 in chunks or len(dims) not in (0, len(shape)):
            raise ValueError(f"{shape} in chunks of {chunks}, axes {dims}")
        if not isinstance(attributes, dict) or not isinstance(kinds, list):
            raise TypeError("attributes or codecs")
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise UserError(f"the metadata of {name} are damaged ({type(error).__name__}: {error})") from error
    fill, format = kept.get("fill_value"), kept["zarr_format"]
    return Array(name, folder, format, shape, chunks, plain(dtype, name), kinds, fill, tuple(dims), attributes)


def whole(values: Any) -> tuple[int, ...]:
    if not all(type(each) is int and each >= 0 for each in values):
        raise ValueError(f"{values} are not lengths")
    return tuple(values)


def plain(kept: Any, name: str) -> np.dtype:
    """A type of numbers, or of text of fixed length. Raises UserError for Python's objects and all else."""
    with contextlib.suppress(KeyError, TypeError, ValueError):
        if isinstance(kept, str) and (PLAIN.fullmatch(kept) or NUMBERS.fullmatch(kept)):
            return np.dtype(kept)
        if isinstance(kept, dict):
            letter, width = TEXTS[kept["name"]]
            return np.dtype(f"{letter}{whole([kept['configuration']['length_bytes']])[0] // width}")
    shown = json.dumps(kept)[:60]
    if "datetime" in shown or (isinstance(kept, str) and kept[1:2] == "M"):
        raise UserError(f"{name} holds times ({shown}): it is not opened, convert them to seconds, as floats")
    raise UserError(f"{name} has the type {shown}, neither plain numbers nor text of a fixed length: it is not opened, "
                    f"as objects may be pickled; save it as numbers")  # fmt: skip


def check(array: Array) -> None:
    """Raises UserError for codecs that are not known to be safe, chunks that do not fit, and packed values."""
    for codec in codecs(array.codecs, array.name):
        if codec.removeprefix("numcodecs.") not in LAYOUT | PACKING:
            raise UserError(f"{array.name} has the codec {codec!r}, which is not known to be safe: it is not opened. "
                            f"Known are {', '.join(sorted(PACKING))}")  # fmt: skip
    check_budget(f"{array.name} (one chunk)", array.chunks, array.dtype.itemsize)
    scaled = [each for each in SCALED if each in array.attributes]
    scaled += [each for each in ("_FillValue", "missing_value") if not is_nan(array.attributes.get(each))]
    if scaled:
        raise UserError(f"{array.name} is packed ({', '.join(scaled)}), and its numbers are not its values: open it "
                        f"with xarray, or unpack it, and hand the array to ludus.train")  # fmt: skip


def codecs(kept: list[Any], name: str, depth: int = 0) -> Iterator[str]:
    """The names of all codecs, those within shards too. Raises UserError for one that says something else than that."""
    for each in kept:
        told = {"name": each} if isinstance(each, str) else each
        inner = told.get("configuration") or {} if isinstance(told, dict) else None
        if not isinstance(inner, dict) or not isinstance(told.get("name"), str) or "id" in inner or depth > 3:
            raise UserError(f"{name} has the codec {str(each)[:60]!r}, which is none: it is not opened")
        yield told["name"]
        for key in ("dtype", "astype"):  # of filters
            plain({**told, **inner}.get(key, "bool"), f"{name}, codec {told['name']},")
        for key in ("codecs", "index_codecs"):  # of shards
            yield from codecs(list(inner.get(key) or ()), name, depth + 1)


def is_nan(fill: Any) -> bool:
    """Whether a fill value is none, or NaN: also as xarray writes it, the bytes of a float64 in base 64."""
    if fill is None or fill == "NaN":
        return True
    with contextlib.suppress(ValueError, TypeError):
        fill = np.frombuffer(base64.b64decode(fill, validate=True), "<f8")[0] if isinstance(fill, str) else fill
        return math.isnan(fill)
    return False


def files(array: Array) -> Iterator[os.DirEntry]:
    """The files of its chunks. Raises UserError for a link."""
    folders = [array.folder]
    while folders:
        with os.scandir(folders.pop()) as entries:
            for each in entries:
                if each.is_dir(follow_symlinks=False):
                    folders.append(each.path)
                elif not each.is_file(follow_symlinks=False):
                    raise UserError(f"{array.name} holds a link ({each.path}), which is refused: put the file there")
                elif CHUNK.fullmatch(each.name):
                    yield each


def stored(array: Array) -> tuple[int, int]:
    """How many files of chunks are there, and their bytes. Raises UserError for a link."""
    sizes = [each.stat(follow_symlinks=False).st_size for each in files(array)]
    return len(sizes), sum(sizes)


def inner(array: Array) -> tuple[int, int] | None:
    """How many chunks within shards are missing, and of how many: by the index of each shard, with the place and the
    length of each chunk in it, 2⁶⁴ - 1 for one that is not there. Nothing where there are no shards, or the index is of
    another kind."""
    each = array.codecs[0] if len(array.codecs) == 1 and isinstance(array.codecs[0], dict) else {}
    told = each.get("configuration") if each.get("name") == "sharding_indexed" else None
    with contextlib.suppress(KeyError, TypeError, ValueError, ZeroDivisionError, OSError):
        small = whole(told["chunk_shape"])
        n = math.prod(big // part for big, part in zip(array.chunks, small, strict=True))
        names = [codec["name"] for codec in told["index_codecs"]]
        if names not in (["bytes"], ["bytes", "crc32c"]) or told["index_codecs"][0]["configuration"]["endian"] == "big":
            return None
        start, check = told.get("index_location") == "start", 4 * (len(names) - 1)
        there = sum(indexed(file.path, n, None if start else check) for file in files(array))
        expected = math.prod(-(-length // part) for length, part in zip(array.shape, small, strict=True))
        return max(0, expected - there), expected
    return None


def indexed(path: str, n: int, after: int | None) -> int:
    """How many of the n chunks of a shard its index has; after: bytes behind it, or it stands at the start."""
    check_budget(path, (n,), 16)
    with open(path, "rb") as file:
        if after is not None:
            file.seek(-16 * n - after, os.SEEK_END)
        index = np.frombuffer(file.read(16 * n), "<u8").reshape(n, 2)
    return int((index[:, 0] != 2**64 - 1).sum())
