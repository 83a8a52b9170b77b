"""The practicals run as notebooks, at a hundredth of their budget, and each notebook is its script."""

import sys
from pathlib import Path

import jupytext
import nbformat
import pytest

PRACTICALS = Path(__file__).parents[1] / "practicals"
sys.path.insert(0, str(PRACTICALS))
from execute import execute, notebook  # noqa: E402

SCRIPTS = sorted(PRACTICALS.glob("[0-9]*.py"))
ids = [script.stem for script in SCRIPTS]
PICTURES = {"01_gan_mnist": 12, "02_gan_ins": 9}


def pictures(book) -> int:
    outputs = [output for cell in book.cells if cell.cell_type == "code" for output in cell.outputs]
    return sum("image/png" in output.get("data", {}) for output in outputs)


@pytest.mark.parametrize("script", SCRIPTS, ids=ids)
def test_runs(script, monkeypatch):
    """No cell fails, and as many pictures come out as in the notebook that is shown."""
    monkeypatch.setenv("LUDUS_BUDGET", "0.01")
    assert pictures(execute(notebook(script))) >= PICTURES[script.stem]


@pytest.mark.parametrize("script", SCRIPTS, ids=ids)
def test_notebook_is_its_script(script):
    book = nbformat.read(script.with_suffix(".ipynb"), as_version=4)
    assert [(cell.cell_type, cell.source) for cell in book.cells] == [
        (cell.cell_type, cell.source) for cell in notebook(script).cells
    ]
    assert body(jupytext.writes(book, "py:percent")) == body(script.read_text(encoding="utf-8"))


def body(text: str) -> str:
    """A script without its header."""
    return text.split("# ---\n", 2)[-1].strip()


@pytest.mark.parametrize("script", SCRIPTS, ids=ids)
def test_notebook_as_committed(script):
    """Executed to the end, small, and without anybody's paths or progress bars."""
    text = script.with_suffix(".ipynb").read_text(encoding="utf-8")
    book = nbformat.reads(text, as_version=4)
    assert all(cell.execution_count for cell in book.cells if cell.cell_type == "code")
    assert pictures(book) >= PICTURES[script.stem]
    assert len(text.encode()) < 1_500_000
    assert not [sign for sign in ("/home/", "/root/", "/tmp/", "/work/", "█", "turns/s", "Traceback") if sign in text]
