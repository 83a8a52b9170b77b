"""Walks through a latent space, as arrays of z."""

from statistics import NormalDist

import numpy as np
from numpy.typing import ArrayLike

from ludus.errors import UserError, at_least, unknown


def interpolate(a: ArrayLike, b: ArrayLike, steps: int = 8, path: str = "linear") -> np.ndarray:
    """z from a (d,) to b (d,), both ends included, (steps, d).

    linear: (1 − t) a + t b;  slerp: along the great circle, the length changing evenly (Shoemake 1985), which stays
    where a Gaussian prior has its mass: the middle of a line between two draws is shorter than nearly all draws are.
    """
    at_least("steps", steps, 2)
    a, b = np.asarray(a, float), np.asarray(b, float)
    if a.ndim != 1 or a.shape != b.shape:
        raise UserError(f"the ends are {a.shape} and {b.shape}: two latents (d,) of one length")
    t = np.linspace(0, 1, steps)[:, None]
    if path == "linear":
        return (1 - t) * a + t * b
    if path != "slerp":
        raise unknown("path", path, ["linear", "slerp"])
    lengths = np.linalg.norm(a), np.linalg.norm(b)
    cosine = np.dot(a, b) / max(lengths[0] * lengths[1], 1e-12)
    angle = np.arccos(np.clip(cosine, -1, 1))
    if np.sin(angle) < 1e-6:  # one direction, or two opposite ones, between which no circle is the shortest
        return (1 - t) * a + t * b
    ends = a / lengths[0], b / lengths[1]
    direction = (np.sin((1 - t) * angle) * ends[0] + np.sin(t * angle) * ends[1]) / np.sin(angle)
    return ((1 - t) * lengths[0] + t * lengths[1]) * direction


def traverse(z: ArrayLike, latents: ArrayLike, steps: int = 9, width: ArrayLike = 2.0) -> np.ndarray:
    """z (d,) with one latent at a time moved from −width to +width: (len(latents), steps, d).

    latents: their numbers; or directions (k, d), along each of which z · v / |v| is moved, all that is at right angles
    to it staying: a direction along one latent is that latent.    width: one for all, or one for each.
    """
    at_least("steps", steps, 2)
    z, latents = np.asarray(z, float), np.atleast_1d(latents)
    if z.ndim != 1 or not len(latents):
        raise UserError(f"z is {z.shape}, and {len(latents)} latents are to be moved: one z (d,), and at least one")
    vectors = _directions(latents, len(z)) if latents.ndim == 2 else _axes(latents, len(z))
    try:
        width = np.asarray(width, float)
    except (TypeError, ValueError):
        raise UserError(f"width = {width!r}: a number, or one for each direction") from None
    if width.shape not in ((), (len(vectors),)) or not np.isfinite(width).all():
        raise UserError(f"width is {width.shape}: one finite number for all, or one for each of {len(vectors)}")
    t = np.linspace(-1, 1, steps)[:, None] * np.broadcast_to(width, len(vectors))[:, None, None]  # (k, steps, 1)
    return (z - (vectors @ z)[:, None] * vectors)[:, None] + t * vectors[:, None]


def _axes(latents: np.ndarray, d: int) -> np.ndarray:
    for j in latents.tolist():
        if not isinstance(j, int) or not 0 <= j < d:
            raise UserError(f"latent {j}: there are {d}, from 0")
    return np.eye(d)[latents]


def _directions(vectors: np.ndarray, d: int) -> np.ndarray:
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    if vectors.shape[1] != d or not (np.isfinite(lengths) & (lengths > 0)).all():
        raise UserError(f"directions {vectors.shape}: each is {d} numbers, not all of them 0")
    return vectors / lengths


def attribute_vector(z: ArrayLike, has: ArrayLike) -> np.ndarray:
    """The direction of an attribute, (d,): mean z (n, d) of the rows that have it minus that of the others.

    Larsen et al. 2016, arXiv:1512.09300, section 4.2.
    """
    z, has = np.asarray(z), np.asarray(has).astype(bool)
    if has.shape != (len(z),):
        raise UserError(f"the attribute is {has.shape}: one yes or no for each of {len(z)} rows")
    if has.all() or not has.any():
        raise UserError("the attribute is the same for all rows: there is nothing to tell apart")
    return z[has].mean(0) - z[~has].mean(0)


def sheet(side: int = 20, draws: ArrayLike | None = None) -> np.ndarray:
    """z over the plane of two latents, (side², 2), row by row from the upper left: at equal steps of each one's
    probability, under a standard Gaussian (Kingma & Welling 2014, figure 4) or among draws (n, 2) of another prior."""
    at_least("side", side, 1)
    steps = (np.arange(side) + 0.5) / side
    first = second = np.array([NormalDist().inv_cdf(step) for step in steps])
    if draws is not None:
        first, second = np.quantile(np.asarray(draws), steps, axis=0).T
    across, up = np.meshgrid(first, second[::-1])
    return np.stack([across.ravel(), up.ravel()], 1)
