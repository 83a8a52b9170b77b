"""HDF5 files that are filled over minutes or hours, and survive whatever stops that."""

import contextlib
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from ludus.data.raw import size
from ludus.errors import Interrupted, UserError
from ludus.runs.disk import StoreError, refused, sync

if TYPE_CHECKING:
    import h5py


@contextlib.contextmanager
def becoming(out: Path) -> Iterator[Path]:
    """Gives the name under which a file is filled inside; at the end it is called `out`.

    Raises UserError where `out` exists, Interrupted on Ctrl-C or SIGTERM, StoreError where the disk refuses.
    """
    if out.exists():
        raise UserError(f"{out} exists: remove it, or choose another --out")
    partial = out.with_name(out.name + ".partial")
    try:
        yield partial
        os.replace(partial, out)
        sync(out.parent)
    except KeyboardInterrupt:
        raise Interrupted(f"stopped; what is done is in {partial}, and the same command goes on with it") from None
    except OSError as error:
        raise refused(f"cannot write {partial}", error) from error


def begun(
    partial: Path, recorded: str, needed: int, lay_out: Callable[["h5py.File"], None], what: str, advice: str
) -> "h5py.File":
    """The unfinished file, begun or found. `lay_out` gives it all its places at once: later writes change no structure.

    recorded: what it is made of, kept in it, so that nobody goes on with another.    what, advice: for the messages.
    Raises UserError for another's or a damaged file, StoreError where there is no room for `needed` bytes.
    """
    import h5py

    if partial.exists():
        try:
            file = h5py.File(partial, "r+")
            found = file.attrs.get("recipe")
        except OSError as error:
            raise UserError(f"{partial} cannot be gone on with ({str(error).splitlines()[0]}): remove it") from None
        if found != recorded:
            file.close()
            raise UserError(f"{partial} is of another {what}, {found}: finish that one, or remove the file")
        return file
    free = shutil.disk_usage(partial.parent).free
    if needed > free:
        raise StoreError(f"{partial} needs {size(needed)}, and {size(free)} are free: free some space, or {advice}")
    laid_out(partial, recorded, needed, lay_out)
    return h5py.File(partial, "r+")


def laid_out(path: Path, recorded: str, needed: int, fill: Callable[["h5py.File"], None]) -> None:
    """Puts a file that `fill` writes, of about so many bytes, in its place when it is whole."""
    import h5py

    draft = path.with_name(path.name + ".new")
    try:
        reserve(draft, needed)  # HDF5 takes a full disk badly, so it never meets one
        with h5py.File(draft, "w") as file:
            file.attrs["recipe"] = recorded
            fill(file)
        reserve(draft, draft.stat().st_size)
        os.replace(draft, path)
    finally:
        draft.unlink(missing_ok=True)


def reserve(path: Path, bytes_: int) -> None:
    """Makes sure of the room on the disk for a whole file, whatever it holds already."""
    with open(path, "ab") as file:
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(file.fileno(), 0, bytes_)
