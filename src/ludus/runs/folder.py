"""The run folder itself: making one, testing it, and listing those that there are."""

import datetime
import os
import re
import tempfile
import time
import tomllib
from pathlib import Path
from typing import Any

import numpy as np

from ludus.errors import UserError
from ludus.runs import journal, lock, store
from ludus.runs.disk import write

__all__ = ["listing", "new", "plain", "probe", "write"]


def new(base: Path, name: str) -> Path:
    """Make a new folder in `base`, named by the day and `name`, with a number behind it where that one is taken.

    Two processes never get the same folder. Raises `UserError` where `base` cannot hold folders.
    """
    words = re.sub(r"[^\w.]+", "-", name).strip("-.")[:80]  # a data source may hold slashes and colons
    stem = f"{datetime.date.today():%Y-%m-%d}-{words}"
    number = 1
    while True:
        folder = Path(base) / (stem if number == 1 else f"{stem}-{number}")
        try:
            Path(base).mkdir(parents=True, exist_ok=True)
            folder.mkdir()
            return folder
        except FileExistsError:
            if not Path(base).is_dir():
                raise UserError(f"{base} is not a folder; choose another one with --run") from None
            number += 1
        except OSError as error:
            raise UserError(f"cannot make a run folder in {base}: {error.strerror}; use another --run") from error


def probe(run: Path) -> None:
    """Write and remove a small file, so that a folder that cannot be written to is known before hours are spent.

    Raises `UserError` where the run folder is missing, read-only, full or no folder.
    """
    if not Path(run).is_dir():
        fault = "not a folder" if Path(run).exists() else "missing"
        raise UserError(f"the run folder {run} is {fault}; choose another with --run")
    try:
        with tempfile.NamedTemporaryFile(dir=run, prefix=".probe-") as file:
            file.write(b"ludus")
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise UserError(f"cannot write in the run folder {run}: {error.strerror}; choose another with --run") from error


def listing(base: Path) -> list[dict]:
    """One dict for each run in `base`, newest change first; folders without a recipe are passed over.

    Keys: `name`; `path`; `method`, `data` and `steps` from the recipe, None where it does not say; `turn`, the last
    one that was measured while it runs, else the one that `ludus resume` would go on from; `state`, "running",
    "complete" (a checkpoint at `steps`), "diverged" (the last row of metrics has a true `diverged`) or "stopped";
    `age`, the time since the last change in s.
    """
    folders = [path.parent for path in Path(base).glob("*/recipe.toml")]
    return sorted((_describe(folder) for folder in folders), key=lambda run: run["age"])


def _describe(run: Path) -> dict:
    recipe, row, held = _recipe(run), journal.last(run / "metrics.jsonl") or {}, lock.holder(run)
    steps = recipe.get("trainer.steps")
    turn = max(store.turns(run), default=0)
    if held is not None and lock.alive(held) is not False:  # whether it lives on another host cannot be seen from here
        state, turn = "running", max(turn, row.get("turn", 0))
    elif row.get("diverged"):
        state = "diverged"
    else:
        state = "complete" if isinstance(steps, int) and turn >= steps else "stopped"
    return {"name": run.name, "path": run, "method": recipe.get("method.name"), "data": recipe.get("data.source"),
            "turn": turn, "steps": steps, "state": state, "age": _age(run)}


def _recipe(run: Path) -> dict:
    """The recipe's entries as {"table.key": value}; empty where it cannot be read."""
    try:
        tables = tomllib.loads((run / "recipe.toml").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return {f"{name}.{key}": value for name, table in tables.items() if isinstance(table, dict)
            for key, value in table.items()}


def _age(run: Path) -> float:
    """The time (s) since a run last wrote anything; never negative, for clocks differ between hosts."""
    times = [0.0]
    for name in ("recipe.toml", "metrics.jsonl", "checkpoints"):
        if (run / name).exists():
            times.append((run / name).stat().st_mtime)
    return max(0.0, time.time() - max(times))

def plain(value: Any) -> Any:
    """What JSON can hold: lists for arrays, null for what is no number."""
    if isinstance(value, dict):
        return {key: plain(each) for key, each in value.items()}
    if isinstance(value, (list, tuple, np.ndarray)):
        return [plain(each) for each in value]
    if isinstance(value, np.generic):
        value = value.item()
    return None if isinstance(value, float) and not np.isfinite(value) else value
