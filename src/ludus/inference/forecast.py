"""What linear theory says of a run before it begins."""

import torch
from torch import Tensor

from ludus.methods.vae import VAE
from ludus.worlds.linear_gaussian import kept

ROWS = 1000  # that the covariance is taken from


def forecast(game: torch.nn.Module, x: Tensor, beta: float | None = None) -> str:
    """How many latents a linear VAE of this β and σ would keep of the data (n, *shape), where that is not all; or "".

    A network that is not linear may use a few more, but β and σ act on it in the same way: what varies by less than
    β σ² along every direction is not worth its nats. beta: where β ends, if it is annealed.
    """
    if not isinstance(game, VAE) or game.decoder.likelihood != "gaussian":
        return ""
    if game.decoder.sigma in ("predicted", "given") or game.capacity:
        return ""
    beta, d = game.beta if beta is None else beta, game.prior.dimension
    rows = x[torch.randperm(len(x), generator=torch.Generator().manual_seed(0))[:ROWS].to(x.device)].double()
    mask = game.decoder.mask
    rows = rows.flatten(1) if mask is None else rows[:, mask.to(rows.device)]
    rows = rows - rows.mean(0)
    gram = rows @ rows.mT if len(rows) < rows.shape[1] else rows.mT @ rows  # the smaller has the same eigenvalues
    spread = torch.linalg.eigvalsh(gram / len(rows)).clamp_min(0)
    eigenvalues = torch.cat([spread, spread.new_zeros(max(0, rows.shape[1] - len(spread)))])
    learned = game.decoder.sigma in ("shared", "pixels")
    k = kept(eigenvalues, d, None if learned else float(game.decoder.fixed), beta)
    if k == d:
        return ""
    width, lower = ("a learned σ", "") if learned else (f"σ = {game.decoder.sigma:g}", " or decoder.sigma")
    fewer = f", or set prior.dimension={k}" if k else ""
    kept_are = f"of {d} latents a linear model would keep {k} at β = {beta:g} and {width}"
    return f"{kept_are}: lower method.beta{lower} for more{fewer}"
