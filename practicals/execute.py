"""The notebooks of the practicals, made from their scripts and executed:  python practicals/execute.py [NAME.py ...]

The script is what one edits. Each notebook is its cells with their outputs, without what was said on the way.
"""

import sys
from pathlib import Path

import jupytext
from nbclient import NotebookClient
from nbformat import NotebookNode, write

HERE = Path(__file__).parent


def notebook(script: Path) -> NotebookNode:
    """The cells of a script in the percent format, without outputs; the same script gives the same bytes."""
    found = jupytext.read(script)
    found.metadata = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    for number, cell in enumerate(found.cells):
        cell.id = f"cell-{number}"
    return found


def execute(book: NotebookNode, timeout: int = 900) -> NotebookNode:
    """Runs all cells in a new kernel, in place; a CellExecutionError names the one that fails."""
    here = {"metadata": {"path": str(HERE)}}
    NotebookClient(book, timeout=timeout, kernel_name="python3", resources=here, record_timing=False).execute()
    for cell in book.cells:
        if cell.cell_type == "code":
            cell.outputs = [output for output in cell.outputs if not _passing(output)]
    return book


def _passing(output: NotebookNode) -> bool:
    """Whether an output tells how far a run is: lines on standard error, and the bar that is redrawn."""
    data = output.get("data", {})
    bar = list(data) == ["text/plain"] and (not data["text/plain"] or data["text/plain"][0] in "█░")
    return bar or output.get("name") == "stderr"


if __name__ == "__main__":
    for script in [Path(name) for name in sys.argv[1:]] or sorted(HERE.glob("[0-9]*.py")):
        write(execute(notebook(script)), script.with_suffix(".ipynb"))
