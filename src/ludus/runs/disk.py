"""Writing that a kill, a full disk or a power cut cannot leave half done, and clearing up after one that tried."""

import errno
import os
import re
import shutil
import socket
from pathlib import Path

from ludus.errors import LudusError

HOST = re.sub(r"[^\w.]", "_", socket.gethostname())
_TEMPORARY = re.compile(r"\.tmp-.+-(?P<host>[\w.]+)-(?P<pid>\d+)")
_CURES = {errno.ENOSPC: "free some space", errno.EDQUOT: "free some of your quota", errno.EFBIG: "raise `ulimit -f`"}


class StoreError(LudusError):
    """The disk refused a write; what was there before is untouched."""


def refused(what: str, error: OSError) -> StoreError:
    """The one-line error for a write that the system refused, with the cure where it is known."""
    cure = f"; {_CURES[error.errno]}" if error.errno in _CURES else ""
    return StoreError(f"{what}: {error.strerror or error}{cure}")


def temporary(target: Path) -> Path:
    """A name beside `target` that tells whose it is: only in the same folder is `os.replace` one atomic step."""
    return target.with_name(f".tmp-{target.name}-{HOST}-{os.getpid()}")


def put(path: Path, data: bytes) -> None:
    """Write a file and wait until the disk has it."""
    with open(path, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def sync(folder: Path) -> None:
    """Wait until the disk has the names in `folder`, else a power cut can undo a rename that was seen to happen."""
    if os.name == "nt":
        return  # Windows cannot open a folder; its file systems log renames themselves
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # some network file systems have no such call
            raise
    finally:
        os.close(descriptor)


def write(path: Path, data: str | bytes) -> None:
    """Write a whole file so that a reader, at any instant and after any crash, sees the old content or the new one.

    Raises `StoreError` where the disk refuses; the old file then stays.
    """
    path = Path(path)
    draft = temporary(path)
    try:
        put(draft, data.encode() if isinstance(data, str) else data)
        os.replace(draft, path)
        sync(path.parent)
    except OSError as error:
        raise refused(f"cannot write {path}", error) from error
    finally:
        draft.unlink(missing_ok=True)  # gone already, unless something above failed


def exists(pid: int) -> bool:
    """Whether a process of that number runs on this host (a zombie does not)."""
    if os.name == "nt":
        return True  # on Windows `os.kill(pid, 0)` would not ask but interrupt
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True  # it belongs to somebody else
    stat = _stat(pid)
    return not stat or stat[0] not in "ZX"


def birth(pid: int) -> str | None:
    """When a process began, in the kernel's ticks since boot: with the number it names one process, since numbers are
    used again. None where there is no /proc."""
    stat = _stat(pid)
    return stat[19] if stat else None


def _stat(pid: int) -> list[str]:
    """The fields of /proc/<pid>/stat from the state on; the name before it may hold spaces and brackets."""
    try:
        return Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()
    except OSError:
        return []


def tidy(folder: Path, since: float | None = None) -> None:
    """Remove what killed writers left in `folder`: only names that `temporary` gives, and only if nobody writes there.

    A writer of this host counts as gone when its process is. Of other hosts that cannot be asked, but whoever holds
    the run's lock is the only writer: `since`, the time of our own lock (s), frees all that is older.
    """
    for entry in os.scandir(folder):
        match = _TEMPORARY.fullmatch(entry.name)
        if not match or entry.is_symlink():
            continue
        pid = int(match["pid"])
        ours = match["host"] == HOST and (pid == os.getpid() or not exists(pid))
        try:
            if ours or (since is not None and entry.stat().st_mtime < since):
                shutil.rmtree(entry.path) if entry.is_dir() else os.unlink(entry.path)
        except OSError:
            continue  # a left-over that cannot be removed is no reason to stop a run
