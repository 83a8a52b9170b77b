"""Area, boundary and Euler number of the part of an image above a threshold: the Minkowski functionals of the plane.

Of lit pixels (n, H, W) bool, closed squares, so that two that touch at a corner hang together; (n,) each, per pixel of
the image. Mecke, Buchert, Wagner 1994, astro-ph/9312028.
"""

import numpy as np


def area(lit: np.ndarray) -> np.ndarray:
    """V0: the share of lit pixels."""
    return _count(lit) / lit[0].size


def boundary(lit: np.ndarray) -> np.ndarray:
    """V1: sides between lit and dark pixels, those at the image's edge too."""
    framed = _framed(lit)
    return (_count(framed[:, :-1] ^ framed[:, 1:]) + _count(framed[:, :, :-1] ^ framed[:, :, 1:])) / lit[0].size


def euler(lit: np.ndarray) -> np.ndarray:
    """V2: corners − sides + faces of the union of the lit pixels, which is the number of its pieces less its holes."""
    framed = _framed(lit)
    across, down = framed[:, :, :-1] | framed[:, :, 1:], framed[:, :-1] | framed[:, 1:]
    corners = down[:, :, :-1] | down[:, :, 1:]
    return (_count(corners) - _count(across) - _count(down) + _count(lit)) / lit[0].size


FUNCTIONALS = {  # name: (function, unit)
    "area": (area, "share"),
    "boundary": (boundary, "sides per pixel"),
    "Euler number": (euler, "per pixel"),
}


def _framed(lit: np.ndarray) -> np.ndarray:
    """With a dark frame, one pixel wide."""
    return np.pad(lit, ((0, 0), (1, 1), (1, 1)))


def _count(flags: np.ndarray) -> np.ndarray:
    return flags.sum((1, 2), dtype=np.int32)
