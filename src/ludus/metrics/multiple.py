"""p-values: of several tests together, and in words.

Those of Benjamini and Hochberg, which bound the share of false alarms in place of their chance, are
scipy.stats.false_discovery_control.
"""

import numpy as np

LEAST = 1e-300  # of a p-value: none is 0


def holm(p: np.ndarray) -> np.ndarray:
    """p-values (m,) adjusted for all of them together (Holm 1979): at most α exactly where Holm rejects at level α."""
    order = np.argsort(p, kind="stable")
    adjusted = np.empty(len(p))
    adjusted[order] = np.minimum(np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1)), 1)
    return adjusted


def shown(p: float) -> str:
    """A p-value as it is printed."""
    return "< 1e-10" if p < 1e-10 else f"{p:.1e}" if p < 1e-3 else f"{p:.3f}"


def said(p: float) -> str:
    """The same in a sentence."""
    return f"p {shown(p)}" if p < 1e-10 else f"p = {shown(p)}"
