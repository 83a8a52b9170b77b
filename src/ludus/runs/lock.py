"""One writer for each run folder."""

import contextlib
import datetime
import json
import os
import time
from pathlib import Path
from typing import BinaryIO

from ludus.errors import UserError
from ludus.runs.disk import HOST, birth, exists, refused

try:
    import fcntl
except ImportError:  # Windows: no lock is ever taken over there, see `disk.exists`
    fcntl = None


class Lock:
    """`with Lock(run): ...` makes this process the only writer of a run folder.

    The file `lock` holds host, process number and since when. One that a dead process of this host left behind is
    taken over, which `message` then says (else it is empty).

    Raises `UserError` where another process holds the run, or may hold it: of another host, or of another container
    of this one, it cannot be known whether the process still lives.
    """

    def __init__(self, run: Path):
        self.path = Path(run) / "lock"
        self.message = ""
        self._record: dict | None = None

    def __enter__(self) -> "Lock":
        while not self._create():
            self._clear()
        return self

    def __exit__(self, *_) -> None:
        # A copy of this object in a forked child, or one whose file was removed by hand, must not free another's run.
        if self._record is not None and self._record["pid"] == os.getpid() and holder(self.path.parent) == self._record:
            with contextlib.suppress(FileNotFoundError):
                self.path.unlink()
        self._record = None

    def _create(self) -> bool:
        """Make the file, which succeeds for one process only; False where it exists."""
        record = _myself()
        try:
            descriptor = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
        except FileExistsError:
            return False
        except OSError as error:
            raise UserError(f"cannot lock the run folder {self.path.parent}: {error.strerror}") from error
        try:
            with open(descriptor, "w") as file:
                file.write(json.dumps(record))
                file.flush()
                os.fsync(descriptor)
        except OSError as error:
            self.path.unlink(missing_ok=True)
            raise refused(f"cannot write {self.path}", error) from error
        self._record = record
        return True

    def _clear(self) -> None:
        """Remove a stale lock, or explain the one that is in force.

        Two processes may find the same stale lock. Each takes the kernel's lock on the very file that it has read, and
        then looks whether the folder still holds that file: the second finds another one, or none, and starts again.
        """
        record = None
        try:
            with open(self.path, "rb") as file:
                record = _read(file, patience=0.3)
                if record is not None and alive(record) is False:
                    self._remove(file, record)
                elif self._is(file):
                    raise UserError(self._why(record))
        except FileNotFoundError:
            return
        except OSError as error:
            raise UserError(f"{self._why(record)} ({error.strerror})") from error

    def _remove(self, stale: BinaryIO, record: dict) -> None:
        with contextlib.suppress(FileNotFoundError), open(self.path, "r+b") as file:  # NFS locks only what is writable
            fcntl.flock(file, fcntl.LOCK_EX)
            if self._is(file) and self._is(stale):
                self.path.unlink()
                self.message = (f"took over the lock of process {record['pid']}, which held {self.path.parent} since "
                                f"{record['started']} and no longer runs")

    def _is(self, file: BinaryIO) -> bool:
        """Whether an open file is still the one that bears the lock's name."""
        return self.path.exists() and os.path.samestat(os.fstat(file.fileno()), os.stat(self.path))

    def _why(self, record: dict | None) -> str:
        run = self.path.parent
        if record is None:
            return f"{run} has a lock that cannot be read; if no other process uses this run, remove {self.path}"
        who = f"{run} is in use by process {record['pid']} on {record['host']} since {record['started']}"
        if alive(record) is False:
            return f"{who}; it no longer runs, but its lock cannot be taken over: remove {self.path}"
        if alive(record):
            return f"{who}; stop that process first, or choose another folder with --run"
        return f"{who}; whether it still runs cannot be seen from here: if it does not, remove {self.path}"


def holder(run: Path) -> dict | None:
    """The record of the lock of a run folder: host, pid, started; None without one that can be read."""
    try:
        with open(Path(run) / "lock", "rb") as file:
            return _read(file)
    except OSError:
        return None


def alive(record: dict) -> bool | None:
    """Whether the process that wrote a lock still runs; None where that cannot be seen from here."""
    if (record["host"], record.get("namespace")) != (HOST, _namespace()):
        return None
    if not exists(record["pid"]):
        return False
    return record.get("birth") is None or record["birth"] == birth(record["pid"])


def held_since(run: Path) -> float | None:
    """The time (s, by the clock of the file system) at which this process locked the run; None if it did not."""
    record = holder(run)
    if record is None or record["pid"] != os.getpid() or not alive(record):
        return None
    with contextlib.suppress(FileNotFoundError):
        return (Path(run) / "lock").stat().st_mtime


def _myself() -> dict:
    now = datetime.datetime.now().astimezone().isoformat(timespec="seconds")
    return {"host": HOST, "pid": os.getpid(), "started": now, "birth": birth(os.getpid()), "namespace": _namespace()}


def _namespace() -> str | None:
    """Which numbering of processes we live in: containers may share a host's name but not its process numbers."""
    try:
        return os.readlink("/proc/self/ns/pid")
    except OSError:
        return None


def _read(file: BinaryIO, patience: float = 0.0) -> dict | None:
    """The record in a lock, or None; waits up to `patience` (s) for one that is just being written."""
    end = time.monotonic() + patience
    while True:
        file.seek(0)
        with contextlib.suppress(ValueError, KeyError, TypeError, RecursionError):
            record = json.loads(file.read(10_000))
            if isinstance(record["host"], str) and isinstance(record["pid"], int) and 0 < record["pid"] < 2**31:
                return {"started": "an unknown time", **record}
        if time.monotonic() >= end:
            return None
        time.sleep(0.02)
