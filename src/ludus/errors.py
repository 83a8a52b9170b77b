"""What `ludus` raises on purpose. Each message is one line: what was wrong, where, and what to do."""

import difflib
from collections.abc import Iterable


class LudusError(Exception):
    """Base of all; the command line prints the message and exits with `exit_code`."""

    exit_code = 1


class UserError(LudusError):
    """An input that cannot be used: a name, a file, an array, an option."""

    exit_code = 2


class Lost(UserError):
    """Data that can be read no longer, in the middle of a run: its state is saved."""


class Diverged(LudusError):
    """A loss or a parameter became NaN or infinite."""

    exit_code = 4


class Interrupted(LudusError):
    """A signal asked the run to stop; its state is saved and `ludus resume` goes on from it."""

    exit_code = 75


def at_least(name: str, value: object, least: int) -> None:
    """Raises UserError unless a value is a whole number, and large enough."""
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise UserError(f"{name} = {value!r}: a whole number, at least {least}")


def unknown(what: str, word: str, known: Iterable[str]) -> UserError:
    """The error for a misspelt name: names it, its nearest valid neighbour, and all that there are."""
    known = sorted(known)
    near = difflib.get_close_matches(word, known, n=1)
    guess = f" Did you mean {near[0]!r}?" if near else ""
    return UserError(f"unknown {what} {word!r}.{guess} Known: {', '.join(known)}")
