"""What is measured of a game in motion: about as much work as one turn."""

import torch
from torch import Tensor, nn
from torch.nn.functional import adaptive_avg_pool2d

from ludus import seeds
from ludus.game import Batch, Game, HasLikelihood
from ludus.networks.laws import DiagonalGaussian

ROWS = 128  # looked at, in whole batches (so that packing divides them); one batch if that is more
PAIRS = 256  # rows at most whose distances are taken
CELLS, KNOWN = 20, 2048  # into which the data are divided; rows of them from which that is known
FEWEST = 32  # held-out rows that say anything
ACTIVE = 0.01
SIDE = 16  # larger pictures are averaged down to this before distances are taken


class Gauge:
    """Measures a game against fixed rows of its data, with the same latents each time; the game is left as it was.

    With R = E|y − y'| of the data, a the discriminator's logit and L the generator's loss, `measure` gives

        energy     (2 E|x̃ − y| − E|x̃ − x̃'|) / R − 1    0 where x̃ and y have one law (Székely, Rizzo 2013)
        spread     E|x̃ − x̃'| / R
        cells      the share of y in each of 20 cells of the data (k-means)      visits    the share of x̃ in each
        told       P(a(y) > a(x̃)), y held out: 1 where the discriminator is sure, ½ where it cannot tell
        memory     P(a(y) > a(y')), y trained on and y' held out: ½, unless they are known by heart
        logit      the largest |a(x̃)|, per R where that is above 1: a critic's value grows with the units of its data
        slope      E|∂L/∂a|      force    R E|∂L/∂x̃|    what reaches the generator, per sample
        response   E|G(z, c) − G(z, c')| / R, c' another row's condition
        within     E|G(z, c) − G(z', c)| / E|y − y'| of data with equal or neighbouring c
        kl         E KL(q(z|y) ‖ p(z)) of each latent in nats, of a Gaussian encoder       nats    their sum
        active     the latents whose mean under q(z|y) has a variance above 0.01 over y (Burda et al. 2016)

    a is taken with the sign that is high on real data, whichever the game's is. Energy is an unbiased estimate, and so
    may be below 0.

    Args:
        real: the training data.    held: rows that are never trained on, perhaps none.    batch: rows of a turn.
    """

    def __init__(self, real: Batch, held: Batch, batch: int):
        n = batch * max(1, ROWS // batch)
        draws = torch.Generator().manual_seed(0)
        order = torch.randperm(len(real.x), generator=draws).to(real.x.device)
        self.real = _rows(real, order[torch.arange(n) % len(order)])
        self.held = _rows(held, torch.arange(n) % len(held.x)) if len(held.x) >= FEWEST else None
        distinct = min(n, len(order), PAIRS)  # rows before the first that comes again
        known = features(real.x[order[:KNOWN]])
        self.middle = known.mean(0)  # distances are more exact near 0
        self.features = features(self.real.x[:distinct]) - self.middle
        self.distance = _apart(self.features)
        known = known - self.middle
        self.centres = centres(known, min(CELLS, len(known)), draws)
        self.cells = _histogram(known, self.centres)
        if real.c is not None:
            self.near, self.tells = alike(self.features, self.real.c[:distinct])

    def measure(self, game: Game) -> dict:
        """The numbers above, as far as the game has them."""
        with seeds.measuring(game, seed=0):
            found, x = {}, None
            if {"generator", "discriminator"} <= game.players.keys():
                x, found = self._contest(game)
            x = features(game.sample(len(self.real.x), self.real.c) if x is None else x) - self.middle
            if self.real.c is not None:
                found |= self._conditions(game)
            q = game.posterior(self.real.x, self.real.c) if isinstance(game, HasLikelihood) else None
        visits, near = _histogram(x, self.centres), x[:PAIRS]
        between, spread = torch.cdist(near, self.features).mean(), _apart(near)
        found |= {"energy": (2 * between - spread) / self.distance - 1, "spread": spread / self.distance}
        numbers = {name: float(f"{float(value):.4g}") for name, value in found.items()}
        if isinstance(q, DiagonalGaussian):
            kl, active = q.kl().mean(0), q.mean.var(0) > ACTIVE
            numbers |= {"nats": float(f"{float(kl.sum()):.4g}"), "active": int(active.sum()), "kl": _rounded(kl)}
        return numbers | {"cells": _rounded(self.cells), "visits": _rounded(visits)}

    def _contest(self, game: Game) -> tuple[Tensor, dict[str, Tensor]]:
        """x̃, what reaches the generator through it, and what the discriminator thinks of it."""
        x, loss, a, alone = contested(game, self.real)
        by_x = torch.autograd.grad(loss, x, retain_graph=a is not None)[0]
        found, better = {"force": self.distance * by_x.flatten(1).norm(dim=1).sum()}, 1 if game.real_is_high else -1
        if a is not None:
            by_a = torch.autograd.grad(loss, a)[0]
            found |= {"slope": by_a.abs().sum(), "logit": a.abs().max() / self.distance.clamp(min=1)}
        if alone:
            fake, real = (better * game.discriminator(each, c=self.real.c) for each in (x, self.real.x))
            told = real
            if self.held is not None:
                told = better * game.discriminator(self.held.x, c=self.held.c)
                found["memory"] = _above(real, told)
            found["told"] = _above(told, fake)
        return x.detach(), found

    def _conditions(self, game: Game) -> dict[str, Tensor]:
        c = self.real.c[:PAIRS]
        draws = []
        for seed, given in [(1, c), (1, c.roll(1, 0)), (2, c)]:
            with seeds.measuring(game, seed):
                draws.append(features(game.sample(len(c), given)) - self.middle)
        other_c, other_z = ((draws[0] - draw).norm(dim=1).mean() for draw in draws[1:])
        return {"response": other_c / self.distance, "within": other_z / self.near, "tells": self.tells}


def contested(game: Game, batch: Batch) -> tuple[Tensor, Tensor, Tensor | None, bool]:
    """x̃ as a leaf of the graph, the generator's loss, which the game's own code computes, and the logits a(x̃) in it.

    There are none where the loss depends on features only. The last is whether the discriminator sees x and the batch's
    c and no more: in a game of pairs it also sees z.
    """
    caught = {}

    def generated(module: nn.Module, given: tuple, out: Tensor) -> Tensor | None:
        if "x" not in caught:
            caught["x"] = out.detach().requires_grad_()
            return caught["x"]

    def judged(module: nn.Module, given: tuple, more: dict, out: Tensor) -> None:
        if given[0] is caught.get("x"):  # an unrolled game judges it several times: the last one counts
            caught["a"], caught["alone"] = out, more.get("c") is batch.c

    hooks = [
        game.generator.register_forward_hook(generated),
        game.discriminator.register_forward_hook(judged, with_kwargs=True),
    ]
    try:
        with torch.enable_grad():
            loss = game.players["generator"].loss(batch).total
    finally:
        for hook in hooks:
            hook.remove()
    return caught["x"], loss, caught.get("a"), caught.get("alone", True)


def features(x: Tensor) -> Tensor:
    """Rows (n, D) whose distances are taken: the data themselves, pictures of more than 16×16 averaged down."""
    if x.dim() == 4 and max(x.shape[2:]) > SIDE:
        x = adaptive_avg_pool2d(x, [min(side, SIDE) for side in x.shape[2:]])
    return x.flatten(1).float()


def centres(x: Tensor, k: int, draws: torch.Generator) -> Tensor:
    """k centres of the rows x (n, D): k-means++ (Arthur, Vassilvitskii 2007), then ten of Lloyd's steps."""
    found = x[:1]
    while len(found) < k:
        far = torch.cdist(x, found).min(1).values.square().clamp(min=1e-12).cpu()
        found = torch.cat([found, x[torch.multinomial(far, 1, generator=draws).to(x.device)]])
    for _ in range(10):
        mine = nn.functional.one_hot(torch.cdist(x, found).argmin(1), k).to(x)
        filled = mine.sum(0) > 0
        found = torch.where(filled[:, None], mine.T @ x / mine.sum(0).clamp(min=1)[:, None], found)
    return found


def alike(x: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
    """E|y − y'| of rows with equal or neighbouring c, and by which share this is less than that of any two rows."""
    c = c.nan_to_num().float()
    apart = torch.cdist(c, c).fill_diagonal_(torch.inf)
    nearest = apart == apart.min(1, keepdim=True).values
    near = torch.cdist(x, x)[nearest].mean()
    return near, 1 - near / _apart(x)


def _rows(batch: Batch, rows: Tensor) -> Batch:
    return Batch(batch.x[rows], None if batch.c is None else batch.c[rows])


def _apart(x: Tensor) -> Tensor:
    """E|x − x'| over distinct rows."""
    return torch.cdist(x, x).sum() / (len(x) * (len(x) - 1))


def _above(a: Tensor, b: Tensor) -> Tensor:
    """P(a > b), ties counted half (Mann, Whitney 1947)."""
    return ((a[:, None] - b).sign().mean() + 1) / 2


def _histogram(x: Tensor, centres: Tensor) -> Tensor:
    return nn.functional.one_hot(torch.cdist(x, centres).argmin(1), len(centres)).float().mean(0)


def _rounded(shares: Tensor) -> list[float]:
    return [round(share, 3) for share in shares.tolist()]
