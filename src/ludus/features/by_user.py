"""Functions of the user's own, `my_file.py:function`: features of a network with local weights, or observables."""

import hashlib
import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from ludus.errors import UserError, unknown
from ludus.features.extractor import Extractor
from ludus.features.observables import Observable


def features(text: str) -> Extractor:
    """The function as an extractor: (b, H, W, C) in the user's units, or points (b, D) -> (b, d).

    It is called with blocks of rows, copies that it may change. This is how Inception or DINO come in: the function
    loads its network from a file of the user's; nothing is downloaded.
    """
    function, path = load(text)

    def of(block: np.ndarray) -> np.ndarray:
        found = numbers(text, called(text, function, block))
        if found.ndim != 2 or len(found) != len(block) or not found.shape[1]:
            raise UserError(f"{text} gave {found.shape} for rows {block.shape}: features are ({len(block)}, d)")
        return found

    identity = {"name": text, "sha256": sha(path), "preprocessing": "the function's own"}
    return Extractor(text, identity, of)


def observable(text: str) -> Observable:
    """The function as an observable: (b, H, W, C) or (b, D) -> (b,), or a dict of such; one made by `@observable` keeps
    its name, unit and exact value."""
    function, _ = load(text)
    made = function if isinstance(function, Observable) else Observable(text.rsplit(":", 1)[1], function)

    def of(block: np.ndarray) -> Any:
        return called(text, made.function, block)

    return Observable(made.name, of, made.unit, made.exact, made.tolerance, made.expectation)


def load(text: str) -> tuple[Callable, Path]:
    """The function that `my_file.py:function` names, its file run once, and the file.

    Raises UserError where there is no such file or function, or the file does not run.
    """
    file, _, name = text.rpartition(":")
    path = Path(file).expanduser()
    if not file or not name:
        raise UserError(f"{text!r} names no function of a file: say my_file.py:function")
    if not path.is_file():
        raise UserError(f"{text}: there is no file {path}")
    module_name = f"ludus_by_user_{hashlib.sha256(str(path.resolve()).encode()).hexdigest()[:16]}"
    spec = importlib.util.spec_from_file_location(module_name, path)
    if spec is None:
        raise UserError(f"{text}: {path.name} is not a Python file, name.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[module_name] = module  # dataclasses of that file look themselves up here
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        raise UserError(f"{text}: {path.name} does not run: {_said(error)}") from error
    if not hasattr(module, name):
        known = [key for key, value in vars(module).items() if callable(value) and not key.startswith("_")]
        raise unknown(f"function of {path.name}", name, known)
    if not callable(getattr(module, name)):
        raise UserError(f"{text}: {name} is a {type(getattr(module, name)).__name__}, not a function")
    return getattr(module, name), path


def called(text: str, function: Callable, block: np.ndarray) -> Any:
    """function(a copy of the block); what it raises becomes one line."""
    try:
        return function(np.array(block))
    except UserError:
        raise
    except (Exception, SystemExit) as error:
        raise UserError(f"{text} raised {_said(error)}, for rows {block.shape} {block.dtype}") from error


def numbers(text: str, given: Any) -> np.ndarray:
    """As float64. Raises UserError for what is no array of numbers, or not finite."""
    try:
        found = np.asarray(given, float)
    except (TypeError, ValueError, RuntimeError) as error:  # RuntimeError: a tensor that requires a gradient
        raise UserError(f"{text} gave a {type(given).__name__}, not an array of numbers ({_said(error)})") from error
    if not np.isfinite(found).all():
        raise UserError(f"{text} gave {int((~np.isfinite(found)).sum()):,} values that are not finite")
    return found


def sha(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _said(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__
