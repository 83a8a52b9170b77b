"""What long work says while it goes on: on a terminal, in a notebook, or in a log file."""

import contextlib
import sys
import time
from collections.abc import Callable

LINES_EVERY = 5.0  # seconds, in a log file
FRAMES_EVERY = 0.2  # on a screen


def display() -> tuple[Callable[[str], None], Callable[[], None], float]:
    """(show a line, stop, seconds between lines) for where standard error leads."""
    if _in_notebook():
        from IPython.display import display

        handle = display({"text/plain": ""}, raw=True, display_id=True)
        return lambda text: handle.update({"text/plain": text}, raw=True), lambda: None, FRAMES_EVERY
    if sys.stderr.isatty():
        from rich.console import Console
        from rich.live import Live
        from rich.text import Text

        live = Live(console=Console(stderr=True), auto_refresh=False)
        live.start()
        return lambda text: live.update(Text(text), refresh=True), live.stop, FRAMES_EVERY
    return say, lambda: None, LINES_EVERY


def _in_notebook() -> bool:
    """Whether a kernel runs this; that something has imported ipykernel does not say so."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython else None
    return getattr(shell, "kernel", None) is not None


def say(text: str) -> None:
    """A line to whoever is watching standard error; they may be gone, and the work goes on."""
    if not text:
        return
    with contextlib.suppress(OSError):
        print(text, file=sys.stderr, flush=True)


def bar(done: int, of: int) -> str:
    filled = round(20 * done / of)
    return f"{'█' * filled}{'░' * (20 - filled)} {done:,}/{of:,}"


def duration(seconds: float) -> str:
    """12 s, 3.4 min, 2.1 h."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.1f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"


@contextlib.contextmanager
def counting(of: int, what: str, done: int = 0):
    """Inside, call with how many are done: a bar, the pace per second and the time left."""
    show, stop, period = display()
    first, began, shown = done, time.monotonic(), [time.monotonic()]

    def count(done: int, note: str = "") -> None:
        now = time.monotonic()
        if now - shown[0] < period and done < of:
            return
        shown[0] = now
        pace = max(done - first, 1e-9) / max(now - began, 1e-9)
        show(f"{bar(done, of)}  {pace:.3g} {what}/s, {duration((of - done) / pace)} left  {note}")

    try:
        yield count
    finally:
        stop()
