"""The checkpoints of one run folder: written whole or not at all, and believed only as far as their hashes agree.

    checkpoints/00000300/tensors.safetensors    named arrays
                         state.json             everything else
                         manifest.json          format version; size and SHA-256 of both files; SHA-256 of itself

Nothing is ever pickled.
"""

import hashlib
import itertools
import json
import os
import re
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import safetensors.numpy
from safetensors import SafetensorError

from ludus.errors import UserError
from ludus.runs import disk, lock
from ludus.runs.disk import StoreError

FORMAT = 1
TENSORS, STATE, MANIFEST = "tensors.safetensors", "state.json", "manifest.json"
_LIMITS = {MANIFEST: 1 << 16, STATE: 1 << 26}  # bytes; numbers belong in the tensors
_DTYPES = {f"{kind}{bits}" for kind in ("int", "uint") for bits in (8, 16, 32, 64)}
_DTYPES |= {"bool", "float16", "float32", "float64", "complex64"}
_CHECKPOINT = re.compile(r"(\d{8})(\.old)?")  # .old: one that is just being replaced by another of the same turn


class Checkpoint(NamedTuple):
    """What a run was at one turn; `skipped` names newer checkpoints that could not be used, and why."""

    turn: int
    tensors: dict[str, np.ndarray]
    state: dict
    skipped: list[str]


class _Bad(Exception):
    """Why a checkpoint cannot be used."""


def save(run: Path, turn: int, tensors: dict[str, np.ndarray], state: dict) -> Path:
    """Write the checkpoint of a turn and return its folder; at any instant of it a kill leaves the others loadable.

    The files are written and synced under a temporary name beside the target, which one rename then puts in place.
    A checkpoint of the same turn is replaced, unless it holds the same. Those of later turns belong to a future that
    the run gave up (it came back from there, or could not read them): they get the suffix `.aside`, and are the
    user's to remove.

    Arguments: `run`, the run folder, which must exist; `turn`, 0 to 99999999; `tensors`, arrays of any shape, of
    bool, integer, float or complex64 type; `state`, what JSON can hold (a tuple comes back as a list; NaN and
    infinities are kept).

    Raises `StoreError` where the disk refuses (full, read-only, vanished): nothing of the attempt is left and older
    checkpoints stay. Raises `TypeError` or `ValueError` for what could not be read back as it was.
    """
    if not 0 <= turn <= 99_999_999:
        raise ValueError(f"turn {turn} is not a number of at most eight digits")
    files = {TENSORS: _pack(tensors), STATE: _dump(state)}
    files[MANIFEST] = _manifest(files)
    target = Path(run) / "checkpoints" / f"{turn:08d}"
    draft = disk.temporary(target)
    try:
        if not target.parent.exists():
            target.parent.mkdir()
            disk.sync(Path(run))
        _tidy(Path(run))
        fresh = not _holds(target, files[MANIFEST])
        if fresh:
            _write(draft, files)
        _give_up(Path(run), turn)
        if fresh:
            _install(draft, target)
    except BaseException as error:
        shutil.rmtree(draft, ignore_errors=True)
        if isinstance(error, OSError):
            size = sum(map(len, files.values())) / 1e6
            what = f"cannot save turn {turn} ({size:.1f} MB) in {run}, earlier checkpoints are kept"
            raise disk.refused(what, error) from error
        raise
    return target


def load(run: Path, turn: int | None = None) -> Checkpoint:
    """Read the newest checkpoint of which every file has its size and SHA-256, or the one of `turn`.

    Raises `UserError` where there is none that can be used, naming each and what is wrong with it, and where the
    newest is of another format version.
    """
    if turn is not None and turn not in turns(run):
        raise UserError(f"{run} has no checkpoint of turn {turn}; it has {', '.join(map(str, turns(run))) or 'none'}")
    skipped = []
    for folder in reversed(_folders(run)):
        if turn is not None and _turn(folder) != turn:
            continue
        try:
            tensors, state = _verified(folder)
        except (_Bad, OSError) as reason:
            skipped.append(f"{folder.name}: {getattr(reason, 'strerror', None) or reason}")
        else:
            return Checkpoint(_turn(folder), tensors, state, skipped)
    if skipped:
        raise UserError(f"no checkpoint of {run} can be used: {'; '.join(skipped)}")
    raise UserError(f"{run} has no checkpoint: it ended before its first one, so it can only be trained anew")


def turns(run: Path) -> list[int]:
    """The turns that have a checkpoint, in their order; whether they can be read shows at `load`."""
    return sorted({_turn(folder) for folder in _folders(run)})


def prune(run: Path, keep: int = 2, spare: int | None = None) -> None:
    """Remove all but the newest `keep` checkpoints, of which there are always at least two, and that of turn `spare`.

    Only what `save` made goes: folders of eight digits that hold nothing but its three files, and no links.
    """
    for folder in [f for f in _folders(run) if not f.name.endswith(".old")][: -max(keep, 2)]:
        if _turn(folder) == spare:
            continue
        try:
            if set(os.listdir(folder)) <= {TENSORS, STATE, MANIFEST} and not folder.is_symlink():
                # Renamed first: a kill in the middle must not leave half a checkpoint under a checkpoint's name.
                draft = disk.temporary(folder)
                os.replace(folder, draft)
                shutil.rmtree(draft)
        except OSError as error:
            raise disk.refused(f"cannot remove the old checkpoint {folder}", error) from error


def _folders(run: Path) -> list[Path]:
    """The checkpoints of a run, oldest first; the one that is being replaced before the one that replaces it."""
    parent = Path(run) / "checkpoints"
    if not Path(run).is_dir():
        raise UserError(f"there is no run folder {run}")
    names = [entry.name for entry in os.scandir(parent) if entry.is_dir()] if parent.is_dir() else []
    found = [name for name in names if _CHECKPOINT.fullmatch(name)]
    return [parent / name for name in sorted(found, key=lambda name: (name[:8], not name.endswith(".old")))]


def _turn(folder: Path) -> int:
    return int(folder.name[:8])


def _pack(tensors: dict[str, np.ndarray]) -> bytes:
    """The bytes of a safetensors file."""
    plain = {}
    for name, array in tensors.items():
        array = np.asarray(array)
        if array.dtype.name not in _DTYPES or name == "__metadata__":
            raise TypeError(f"tensor {name!r} of type {array.dtype} cannot be stored")
        # safetensors copies raw memory: an array with other strides or byte order would be mixed up without an error.
        plain[name] = np.asarray(array, dtype=array.dtype.newbyteorder("="), order="C")
    return safetensors.numpy.save(plain)


def _dump(state: dict) -> bytes:
    """The bytes of state.json."""
    if not isinstance(state, dict):
        raise TypeError(f"the state is a {type(state).__name__}, not a dict")
    for where, key in _odd_keys(state, "state"):
        raise TypeError(f"{where} has the key {key!r}: JSON would give back a text")
    data = json.dumps(state, indent=1).encode()
    if len(data) > _LIMITS[STATE]:
        raise ValueError(f"a state of {len(data):,} bytes is too large for {STATE}: arrays belong in the tensors")
    return data


def _odd_keys(value: object, where: str) -> Iterable[tuple[str, object]]:
    """The keys that are not texts, each with the place where it stands."""
    if isinstance(value, dict):
        for key, inner in value.items():
            if not isinstance(key, str):
                yield where, key
            yield from _odd_keys(inner, f"{where}.{key}")
    elif isinstance(value, list | tuple):
        for i, inner in enumerate(value):
            yield from _odd_keys(inner, f"{where}[{i}]")


def _manifest(files: dict[str, bytes]) -> bytes:
    """The bytes of manifest.json. It is hashed too, or a flipped bit could pass for another format version: keep
    `sha256` and this way of taking it in all versions to come."""
    listed = {name: {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()} for name, data in files.items()}
    manifest = {"format": FORMAT, "files": listed}
    return json.dumps({**manifest, "sha256": _digest(manifest)}, indent=1).encode()


def _digest(manifest: dict) -> str:
    return hashlib.sha256(json.dumps(manifest, sort_keys=True).encode()).hexdigest()


def _tidy(run: Path) -> None:
    """Remove what killed writers of this run left, and finish or undo a replacement that one was at."""
    since = lock.held_since(run)
    disk.tidy(run, since)
    disk.tidy(run / "checkpoints", since)
    for folder in _folders(run):
        if folder.name.endswith(".old"):
            if folder.with_suffix("").exists():
                shutil.rmtree(folder)
            else:
                os.replace(folder, folder.with_suffix(""))


def _holds(target: Path, manifest: bytes) -> bool:
    """Whether a sound checkpoint of this very content is there already."""
    try:
        _verified(target)
        return (target / MANIFEST).read_bytes() == manifest
    except (_Bad, OSError, UserError):
        return False


def _write(draft: Path, files: dict[str, bytes]) -> None:
    draft.mkdir()
    for name, data in files.items():
        disk.put(draft / name, data)
    disk.sync(draft)


def _give_up(run: Path, turn: int) -> None:
    """Set aside the checkpoints of later turns, under a name that is free."""
    for later in _folders(run):
        if _turn(later) > turn:
            names = (f"{later.name}.aside{number or ''}" for number in itertools.count())
            os.replace(later, next(path for path in map(later.with_name, names) if not path.exists()))


def _install(draft: Path, target: Path) -> None:
    """Give a written checkpoint its name; `load` looks at `.old` too, so no instant is without one of the two."""
    old = target.with_name(target.name + ".old")
    if target.exists():
        os.replace(target, old)
    os.replace(draft, target)
    disk.sync(target.parent)
    if old.exists():
        shutil.rmtree(old)


def _verified(folder: Path) -> tuple[dict[str, np.ndarray], dict]:
    """The tensors and the state of a checkpoint; each file is read once, and what was hashed is what is used."""
    manifest = _json(MANIFEST, _read(folder, MANIFEST))
    if manifest.pop("sha256", None) != _digest(manifest):
        raise _Bad(f"{MANIFEST} does not match its SHA-256")
    if manifest.get("format") != FORMAT:
        raise UserError(f"{folder} has format version {manifest.get('format')}, and this ludus reads version {FORMAT}: "
                        "use the ludus that wrote it, or a newer one")
    try:
        listed = {name: (int(manifest["files"][name]["bytes"]), manifest["files"][name]["sha256"])
                  for name in (STATE, TENSORS)}
    except (KeyError, TypeError, ValueError):
        raise _Bad(f"{MANIFEST} does not list {STATE} and {TENSORS}") from None
    state = _json(STATE, _read(folder, STATE, *listed[STATE]))
    data = _read(folder, TENSORS, *listed[TENSORS])
    try:
        return safetensors.numpy.load(data), state
    except (SafetensorError, KeyError, ValueError) as error:
        raise _Bad(f"{TENSORS} is not a safetensors file of arrays ({error})") from None


def _read(folder: Path, name: str, size: int | None = None, sha256: str | None = None) -> bytes:
    """The content of a file, which must have the size and the hash that the manifest states."""
    path = folder / name
    if not path.is_file():
        raise _Bad(f"{name} is missing")
    found = path.stat().st_size
    if size is not None and found != size:
        fault = "is truncated" if found < size else "is too long"
        raise _Bad(f"{name} {fault} ({found:,} of {size:,} bytes)")
    if found > _LIMITS.get(name, found):
        raise _Bad(f"{name} is absurdly large ({found:,} bytes)")
    data = path.read_bytes()
    if sha256 is not None and hashlib.sha256(data).hexdigest() != sha256:
        raise _Bad(f"{name} does not match its SHA-256")
    return data


def _json(name: str, data: bytes) -> dict:
    """The object in a JSON file that need not be ours: no key twice, no nesting beyond Python's own limit."""
    try:
        value = json.loads(data, object_pairs_hook=_unique)
    except (ValueError, RecursionError) as error:
        raise _Bad(f"{name} is not valid JSON ({error})") from None
    if not isinstance(value, dict):
        raise _Bad(f"{name} does not hold a JSON object")
    return value


def _unique(pairs: list[tuple[str, object]]) -> dict:
    value = dict(pairs)
    if len(value) < len(pairs):
        raise ValueError("a key stands twice")
    return value


__all__ = ["FORMAT", "Checkpoint", "StoreError", "load", "prune", "save", "turns"]
