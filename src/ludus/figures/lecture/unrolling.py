"""Mode collapse over time, and what looking ahead does about it: the ring, with and without unrolling."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from ludus import seeds
from ludus.data.sampler import Sampler
from ludus.figures.save import COLOURS, FAINT, INK, blank
from ludus.methods.unrolled_gan import UnrolledGAN
from ludus.networks.mlp import MlpDiscriminator, MlpGenerator
from ludus.networks.priors import Gaussian
from ludus.terminal import counting
from ludus.trainer import Trainer
from ludus.worlds.mixtures import ring

if TYPE_CHECKING:
    from matplotlib.figure import Figure

TURNS, SHOTS, POINTS = 18_000, 6, 1024
K, RATE = 10, 0.1  # of the unrolled game


def frames(unroll: int) -> dict[int, np.ndarray]:
    """Samples (POINTS, 2) of a game on the ring by the turn at which they were drawn, SHOTS of them, evenly spaced.

    G has two hidden layers, D one, of 128 units; both learn at 1e-4 as in the paper's appendix.
    """
    rows = ring().sample(20_000, torch.Generator().manual_seed(0)).x
    width = rows.std()
    with seeds.forked(torch.device("cpu"), 0):
        prior = Gaussian(dimension=32)
        generator = MlpGenerator((2,), 32, width=128, depth=2, activation="relu")
        discriminator = MlpDiscriminator((2,), width=128, depth=1, activation="relu")
    game = UnrolledGAN(generator, discriminator, prior, unroll=unroll, rate=RATE)
    trainer = Trainer(game, Sampler(rows / width, batch=128), steps=TURNS, lr=1e-4, betas=(0.5, 0.999))
    found = {}
    with counting(TURNS, "turns") as count:
        while trainer.turn < TURNS:
            trainer.step()
            count(trainer.turn)
            if trainer.turn % (TURNS // SHOTS) == 0:
                with seeds.measuring(game, seed=0):
                    found[trainer.turn] = (width * game.sample(POINTS)).numpy()
    return found


def unrolling() -> Figure:
    """Mode collapse on the ring of eight modes over time, without unrolling and with it.

    After the figure of Metz et al. 2017: a row a game, a column a moment; grey: the eight modes. It plays both games,
    which takes a few minutes.
    """
    shots = {"GAN\n(K = 0)": frames(0), f"unrolled\nK = {K}": frames(K)}
    side, left = 300, 150
    width = left + SHOTS * side
    figure = blank(width, len(shots) * (side + 40))
    axes = figure.subplots(len(shots), SHOTS, sharex=True, sharey=True, squeeze=False)
    modes = ring().means.numpy()
    for row, (title, found) in zip(axes, shots.items()):
        row[0].set_ylabel(title, fontsize=8, color=INK, weight="bold", rotation=0, ha="right", va="center")
        for place, (turn, x) in zip(row, found.items()):
            place.scatter(*modes.T, s=60, color="#d9dce0", linewidths=0)
            place.scatter(*x.T, s=1.5, color=COLOURS[0], linewidths=0, alpha=0.6)
            place.set(xlim=(-1.8, 1.8), ylim=(-1.8, 1.8), aspect="equal", xticks=[], yticks=[])
            place.spines[:].set(color=FAINT, linewidth=0.4)
            place.set_title(f"{turn:,} turns", fontsize=8, color=INK)
    figure.subplots_adjust(left=left / width, right=0.995, bottom=0.02, top=0.94, wspace=0.04, hspace=0.14)
    return figure
