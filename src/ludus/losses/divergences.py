"""Divergences between samples."""

from torch import Tensor

from ludus.errors import UserError

SCALES = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)


def mmd(z: Tensor, other: Tensor, width: float) -> Tensor:
    """The squared maximum mean discrepancy of two samples (n, d), n ≥ 2: E k(z, z') − 2 E k(z, y) + E k(y, y'), i ≠ i'.

    k(z, y) = Σ_s C_s / (C_s + |z − y|²), C_s = `width` s, s from 0.1 to 10: inverse multiquadrics, whose tails reach
    codes that are far off; Gaussian kernels lose them (Tolstikhin et al. 2018, the authors' code). Unbiased, so it may
    be below 0.
    """
    n = len(z)
    if n < 2:
        raise UserError(f"batch {n}: a discrepancy of samples needs two rows at least; give a larger --batch")

    def kernels(a: Tensor, b: Tensor) -> Tensor:
        # torch.cdist's squares are rooted; here it is their square that is wanted
        squares = (a.square().sum(1)[:, None] + b.square().sum(1) - 2 * a @ b.mT).clamp_min(0)
        return sum((width * s) / (width * s + squares) for s in SCALES)

    alone = sum((k.sum() - k.diagonal().sum()) / (n * (n - 1)) for k in (kernels(z, z), kernels(other, other)))
    return alone - 2 * kernels(z, other).mean()
