"""From a source to an array that can be read by rows."""

import contextlib
import importlib
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from ludus.data import labelled, mnist
from ludus.data.locate import Source
from ludus.data.raw import Raw, in_memory
from ludus.errors import UserError

DRAWS = 50_000  # of a world, unless the user says how many


@contextlib.contextmanager
def opened(
    source: Source, n: int | None = None, seed: int = 0, download: bool = False,
    done: Callable[[Raw], Raw] = lambda raw: raw,
) -> Iterator[Raw]:  # fmt: skip
    """The array of a source, open while it is read. Worlds draw n rows by the seed.

    done: what is made of it, such as its rows cut; of several files of arrays, what is made of each, before their rows
    follow one another.
    """
    if source.kind == "files":
        with reader(source).opened(source.path, source.part, done) as raw:
            yield raw
    elif source.is_file:
        with reader(source).opened(source.path, source.part) as raw:
            yield done(raw)
    elif source.kind == "mnist":
        yield done(in_memory(source.text, mnist.read(source.part, download), "IDX"))
    elif source.kind == "digits":
        yield done(in_memory(source.text, digits(source.part), "scikit-learn's"))
    else:
        drawn = in_memory(source.text, world(source.path, source.part, DRAWS if n is None else n, seed), "drawn")
        if done(drawn) is not drawn:
            raise UserError(f"{source.text} are points: there is nothing to cut, leave out --panels and --tiles")
        yield drawn


def reader(source: Source) -> Any:
    """The file of `readers` for a source: it has `opened(path, part)` and `contents(path)`."""
    return importlib.import_module(f"ludus.data.readers.{source.kind}")


def digits(part: str) -> np.ndarray:
    """scikit-learn's handwritten digits: uint8 (1797, 8, 8), 0 to 16, or their labels (1797,)."""
    from sklearn.datasets import load_digits

    kept = load_digits()
    return kept.target if part == "label" else kept.images.astype(np.uint8)


def world(name: str, part: str, n: int, seed: int) -> np.ndarray:
    """n draws of a world, or the labels of the same draws: the component, or what its condition is."""
    import torch

    from ludus.worlds.mixtures import WORLDS, Mixture

    here = WORLDS[name]()
    batch = here.sample(n, torch.Generator().manual_seed(seed))
    if part != "label":
        return batch.x.numpy()
    return batch.c.argmax(1).numpy() if isinstance(here, Mixture) else batch.c.numpy()


def array(given: Any, name: str = "the array") -> Raw:
    """An array in memory, or what can become one; masked entries become NaN. Raises UserError for mixed shapes."""
    if labelled.kind(given):
        return labelled.raw_of(given, name)
    if isinstance(given, (list, tuple)) or (isinstance(given, np.ndarray) and given.dtype == object):
        given = stacked(given, name)
    if isinstance(given, np.ma.MaskedArray):
        floating = given.astype(np.promote_types(given.dtype, np.float32))
        given = floating.filled(np.nan) if np.ma.is_masked(given) else given.data
    try:
        return in_memory(name, np.asarray(given))
    except (TypeError, ValueError, RuntimeError) as error:  # e.g. a tensor on another device
        raise UserError(f"{name} cannot be read as an array ({str(error).splitlines()[0]})") from error


def stacked(given: Any, name: str) -> np.ndarray:
    """A list of rows of one shape as an array. Raises UserError naming the first odd one."""
    shapes = []
    for i, row in enumerate(given):
        try:
            shapes.append(np.asarray(row).shape)
        except ValueError as error:
            raise UserError(f"{name}: row {i} has parts of different lengths") from error
        if shapes[i] != shapes[0]:
            raise UserError(f"{name} mixes shapes: row {i} is {shapes[i]}, the rows before it are {shapes[0]}")
    if not shapes:
        return np.empty(0)
    rows = np.stack([np.asarray(row) for row in given])
    if rows.dtype.hasobject:
        kind = type(np.ravel(rows)[0]).__name__
        raise UserError(f"{name} holds Python objects ({kind}): make it an array of numbers")
    return rows


def check_numbers(raw: Raw) -> None:
    """Raises UserError unless the array holds real numbers and is not empty."""
    why = {
        "c": "complex numbers: store the real and imaginary part, or the magnitude, as channels",
        "O": "Python objects, which only pickle can keep: make it an array of numbers",
        "U": "text, not numbers",
        "S": "text, not numbers",
        "M": f"{raw.dtype}: convert times to seconds, as floats",
        "m": f"{raw.dtype}: convert times to seconds, as floats",
        "V": "records: name one field of them, as an array of its own",
    }
    if raw.dtype.kind not in "buif":
        raise UserError(f"{raw.name} holds {why.get(raw.dtype.kind, f'{raw.dtype}, not numbers')}")
    if raw.dtype.kind == "f" and raw.dtype.itemsize > 8:
        raise UserError(f"{raw.name} holds {raw.dtype}, which few programs read: convert it to float64")
    if len(raw.shape) == 0:
        raise UserError(f"{raw.name} is a single number, not rows of data")
    if 0 in raw.shape:
        raise UserError(f"{raw.name} is empty: its shape is {raw.shape}")
