"""Stopping when asked to."""

import contextlib
import os
import signal
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ludus.trainer import Trainer

STOPPING = (signal.SIGTERM, signal.SIGINT, *([signal.SIGUSR1] if hasattr(signal, "SIGUSR1") else []))


@contextlib.contextmanager
def stopping(trainer: "Trainer"):
    """Inside, SIGTERM, SIGUSR1 or Ctrl-C lets the turn end, which saves the run; a second one leaves at once.

    Signals reach the main thread only: in another (a notebook's worker, say) no handler is installed.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def handle(number: int, frame: object) -> None:
        if trainer.stop:
            os._exit(128 + number)
        trainer.stop = True

    with _handled(handle):
        yield


@contextlib.contextmanager
def interrupting():
    """Inside, each of those signals raises KeyboardInterrupt, as Ctrl-C does: for work that is saved as it goes.

    Yields a function to be called between the pieces of the work: it raises where Python dropped the first, as it does
    with whatever is raised while an object is being destroyed.
    """
    asked = False

    def handle(number: int, frame: object) -> None:
        nonlocal asked
        asked = True
        raise KeyboardInterrupt

    def check() -> None:
        if asked:
            raise KeyboardInterrupt

    if threading.current_thread() is not threading.main_thread():
        yield check
        return
    with _handled(handle):
        yield check


@contextlib.contextmanager
def _handled(handle):
    before = {number: signal.signal(number, handle) for number in STOPPING}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
