"""Where what long work says goes to."""

import sys
import types

from ludus.terminal import FRAMES_EVERY, LINES_EVERY, display


def test_no_notebook_because_something_imported_its_kernel(monkeypatch):
    """A program may import ipykernel, as one that executes notebooks does, and is none itself."""
    monkeypatch.setitem(sys.modules, "ipykernel", types.ModuleType("ipykernel"))
    show, stop, period = display()
    show("a line")
    stop()
    assert period == LINES_EVERY


def test_notebook(monkeypatch, capsys):
    """In a kernel one display is updated."""
    shell = types.SimpleNamespace(kernel=object())
    told = []
    handle = types.SimpleNamespace(update=lambda data, raw: told.append(data["text/plain"]))
    module = types.ModuleType("IPython")
    module.get_ipython = lambda: shell
    inner = types.ModuleType("IPython.display")
    inner.display = lambda data, raw, display_id: handle
    monkeypatch.setitem(sys.modules, "IPython", module)
    monkeypatch.setitem(sys.modules, "IPython.display", inner)
    show, _, period = display()
    show("turn 3")
    assert told == ["turn 3"] and period == FRAMES_EVERY and capsys.readouterr().err == ""
