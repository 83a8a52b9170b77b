"""What is exactly known of the neutron pictures, and what a physicist would read off them: for judging samples."""

from typing import Literal

import torch
from torch import Tensor

from ludus.worlds.spin_wave import SPIN, combined, ions_of, layered, matrices, modes, zone

LIT = 0.05  # of the brightest pixel


def observables(images: Tensor) -> dict[str, Tensor]:
    """Pictures (n, 20, 200) -> what is read off each, in units of its brightest pixel.

    "energy" (n, 10): mean over H and K in each energy bin.    "H", "K" (n, 20): mean over energy and the other one.
    "lit" (n, 1): share of the pixels above 0.05.
    """
    panels = images.reshape(-1, 20, 10, 20)
    return {
        "energy": panels.mean((1, 3)),
        "H": panels.mean((2, 3)),
        "K": panels.mean((1, 2)),
        "lit": (panels > LIT).to(panels).mean((1, 2, 3))[:, None],
    }


def residuals(images: Tensor) -> dict[str, Tensor]:
    """By how much pictures (n, H, W) without noise miss what holds exactly; every entry (n,) of a true one is 0.

    "negative": the lowest intensity below 0.    "maximum": the brightest pixel - 1.    "inversion", of 240×400 ones
    only: the largest |I(Q) - I(-Q)|.
    """
    found = {"negative": images.amin((1, 2)).clamp(max=0), "maximum": images.amax((1, 2)) - 1}
    if images.shape[1:] == (240, 400):
        panels = images.reshape(-1, 6, 40, 10, 40)
        found["inversion"] = (panels - panels.flip(2, 4)).abs().amax((1, 2, 3, 4))
    return found


def band_edges(model: str, parameters: Tensor) -> Tensor:
    """The lowest and highest energy (meV) of each of the four branches over the zone: (b, 6) -> (b, 4, 2)."""
    q = zone()
    energy = torch.cat([modes(layered(matrices(model, q), p), parameters, "zz").energy for p in (1, -1)], 1)
    return torch.stack([energy.amin(1), energy.amax(1)], -1)


def first_moment(model: str, parameters: Tensor, q: Tensor, f: Tensor, component: Literal["zz", "xx"]) -> Tensor:
    """Σ_m ω_m I_m at L = 0, without solving for the modes: 2S f†Af (zz, p = 1, at q) or 2S g†Bg (xx, p = -1, at q + κ).

    parameters (b, 6), q (Q, 2) in (H, K), f (Q, 2) of Mn4+ and Mn3+ -> (b, Q). The sum rule of the linear theory.
    """
    zz = component == "zz"
    at = q + q.new_tensor([0.0, 0.0 if zz else 1.0])
    matrix = combined(layered(matrices(model, at), 1 if zz else -1)[:, 0 if zz else 1], parameters)
    g = f.to(matrix) @ ions_of(component)  # (Q, 4)
    return 2 * SPIN * torch.einsum("qi,bqij,qj->bq", g, matrix, g.conj()).real


def mirror(parameters: Tensor) -> Tensor:
    """The dimer parameters (..., 6) that give the same picture: strong and weak, JA1 and JA2 exchanged together.

    Seen in a mirror, x -> 1/2 - x, the weak bonds stand where the strong ones did; the twin and the picture stay.
    """
    return parameters[..., [3, 2, 1, 0, 4, 5]]
