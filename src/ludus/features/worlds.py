"""What the library's own worlds know of their data: observables with exact values, and curves with physical axes."""

import math
from functools import partial

import numpy as np

from ludus.features.curves import Curve
from ludus.features.observables import Observable

BRIGHTEST = "of the brightest pixel"
EXACT = 0.01  # of the brightest pixel: how far a neutron picture may miss what holds exactly
WAVE = np.round(-2 + np.arange(20) / 10, 1)  # r.l.u.
ENERGY = np.round(4.4 + 4.8 * np.arange(10), 1)  # meV, the middles of the bins


def own(world: str, shape: tuple[int, ...]) -> list[Observable]:
    """The observables that a world declares for rows of a shape: "ins" (20×200 or 240×400 pictures without noise), or
    a mixture of `mixtures.WORLDS`; none for others."""
    from ludus.worlds.mixtures import WORLDS, Mixture  # torch takes a while

    if world == "ins":
        return neutrons(shape)
    here = WORLDS[world]() if world in WORLDS else None
    return mixture(here.means.double().numpy(), here.sd) if isinstance(here, Mixture) else []


def neutrons(shape: tuple[int, ...]) -> list[Observable]:
    """No intensity is negative, and the brightest pixel is 1; of 20×200 pictures the mean of each energy, and the share
    of lit pixels."""
    from ludus.worlds.ins_facts import LIT

    found = [
        Observable("energies", _energies, BRIGHTEST),
        Observable(f"share of pixels above {LIT}", lambda x: _read("observables", x)["lit"][:, 0]),
    ]
    exact = Observable("exact", _exact, BRIGHTEST, exact=0.0, tolerance=EXACT)
    return [*(found if tuple(shape[:2]) == (20, 200) else []), exact]


def _energies(x: np.ndarray) -> dict[str, np.ndarray]:
    found = _read("observables", x)["energy"]
    return {f"mean intensity at {at} meV": values for at, values in zip(ENERGY, found.T)}


def _exact(x: np.ndarray) -> dict[str, np.ndarray]:
    names = {"negative": "lowest intensity below 0", "maximum": "brightest pixel less 1",
             "inversion": "largest |I(Q) - I(-Q)|"}  # fmt: skip
    return {names[key]: values for key, values in _read("residuals", x).items()}


def _read(function: str, x: np.ndarray) -> dict[str, np.ndarray]:
    import torch

    from ludus.worlds import ins_facts

    found = getattr(ins_facts, function)(torch.from_numpy(np.ascontiguousarray(x[..., 0], float)))
    return {name: values.numpy() for name, values in found.items()}


def mixture(means: np.ndarray, sd: float) -> list[Observable]:
    """Of a mixture of K Gaussians in the plane, far from each other: how far the nearest centre is, which it is, and
    whether it lies within 3 sd. True points have the mean distance √(π/2) sd, and 1 − e^(−9/2) = .98889 within 3 sd."""

    def distance(x: np.ndarray) -> np.ndarray:
        return np.linalg.norm(np.asarray(x, float)[:, None] - means, axis=-1) / sd

    def which(x: np.ndarray) -> dict[str, np.ndarray]:
        nearest = distance(x).argmin(1)
        return {f"nearest to centre {k + 1}": (nearest == k).astype(float) for k in range(len(means))}

    return [
        Observable("distance to the nearest centre", lambda x: distance(x).min(1), "sd",
                   expectation=math.sqrt(math.pi / 2)),
        Observable("within 3 sd of a centre", lambda x: (distance(x).min(1) <= 3).astype(float),
                   expectation=1 - math.exp(-4.5)),
        *([Observable("centres", which, expectation=1 / len(means))] if len(means) > 1 else []),
    ]  # fmt: skip


def curves(world: str, shape: tuple[int, ...]) -> list[Curve]:
    """The profiles of 20×200 neutron pictures along H, K and energy; none for other worlds."""
    if world != "ins" or tuple(shape[:2]) != (20, 200):
        return []
    axes = {"energy": (ENERGY, "energy transfer (meV)"), "H": (WAVE, "H (r.l.u.)"), "K": (WAVE, "K (r.l.u.)")}
    return [
        Curve(f"profile along {name}", partial(_profile, name), at, label, f"mean intensity ({BRIGHTEST})")
        for name, (at, label) in axes.items()
    ]


def _profile(name: str, x: np.ndarray) -> np.ndarray:
    return _read("observables", x)[name]
