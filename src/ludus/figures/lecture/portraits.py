"""The Dirac-GAN's phase portraits: where every method leads under every way of playing."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from ludus.data.sampler import Sampler
from ludus.figures.save import COLOURS, FAINT, INK, blank
from ludus.game import Game
from ludus.play import PLAYS
from ludus.recipe import METHODS, load_object, roles
from ludus.trainer import Trainer
from ludus.worlds.dirac import Dirac, dirac

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Options = dict[str, Any]
START, RATE, TURNS, REACH = (1.0, 1.0), 0.2, 500, 3.2  # Mescheder et al. 2018
GAMES: dict[str, tuple[str, Options]] = {
    "gan\nminimax": ("gan", {"cost": "minimax"}),
    "gan\nheuristic": ("gan", {"cost": "heuristic"}),
    "gan\nmaximum\nlikelihood": ("gan", {"cost": "maximum_likelihood"}),
    "gan\nminimax\nR1, γ = 0.3": ("gan", {"cost": "minimax", "penalties": {"r1": 0.3}}),
    "gan\nminimax\nR1, γ = 1": ("gan", {"cost": "minimax", "penalties": {"r1": 1.0}}),
    "gan\nheuristic\nR1, γ = 0.3": ("gan", {"cost": "heuristic", "penalties": {"r1": 0.3}}),
    "wgan\nclip = 1": ("wgan", {"clip": 1.0}),
    "wgan_gp\nλ = 0.35": ("wgan_gp", {"weight": 0.35}),
    "r3gan\nγ = 0.15": ("r3gan", {"gamma": 0.15}),
}


def games() -> dict[str, tuple[str, Options]]:
    """The rows: these, and every other method that is made of a generator, a discriminator and a prior."""
    shown = {method for method, _ in GAMES.values()}
    alike = [name for name in METHODS if set(roles(name)) == {"generator", "discriminator", "prior"}]
    return GAMES | {name: (name, {}) for name in alike if name not in shown}


def schedules() -> dict[str, tuple[Options, int]]:
    """The columns: every way of playing with one move each, consensus, and alternate play with 5 moves of D."""
    plays = {name: ({"play": name}, 1) for name in PLAYS}
    more = {"consensus, 1": ({"play": "simultaneous", "consensus": 1.0}, 1), "alternate, 1 : 5": ({}, 5)}
    return plays | more


def _trainer(method: str, options: Options, theta: float, psi: float, way: Options) -> Trainer:
    game = load_object(METHODS[method].path)(*dirac(), **options).double()
    sign = _sign(game)
    with torch.no_grad():
        game.generator.theta.fill_(theta)
        game.discriminator.psi.fill_(sign * psi)
    return Trainer(game, Sampler(Dirac().sample(1).x.double(), batch=1), lr=RATE, optimiser="sgd", **way)


def _sign(game: Game) -> int:
    """Of ψ against the paper's, whose logit is high on generated data."""
    return -1 if game.real_is_high else 1


def orbit(method: str, options: Options, way: Options, moves: int = 1, turns: int = TURNS) -> np.ndarray:
    """(θ, ψ) in the paper's signs, before the first turn and after each, (turns + 1, 2).

    way: options of the trainer.    moves: of the discriminator to one of the generator, which is the first.
    """
    trainer = _trainer(method, options, *START, way)
    trainer.schedule = lambda trainer: ["generator"] + moves * ["discriminator"]
    theta, psi = trainer.game.generator.theta, trainer.game.discriminator.psi
    points = [(theta.item(), psi.item())]
    for _ in range(turns):
        trainer.step()
        points.append((theta.item(), psi.item()))
    return np.array(points) * np.sign([1, points[0][1]])


def velocity(method: str, options: Options, points: np.ndarray) -> np.ndarray:
    """(θ′, ψ′) = −(∂J⁽ᴳ⁾/∂θ, ∂J⁽ᴰ⁾/∂ψ) at (θ, ψ), (n, 2), in the paper's signs: what small steps would follow."""
    found = []
    for theta, psi in points.tolist():
        trainer = _trainer(method, options, theta, psi, {})
        batch = next(trainer.sampler)
        for name in ("generator", "discriminator"):
            trainer.gradient(name, batch)
        sign = _sign(trainer.game)
        found.append((-trainer.gradients["generator"][0].item(), -sign * trainer.gradients["discriminator"][0].item()))
    return np.array(found)


def portraits() -> Figure:
    """Phase portraits of the Dirac-GAN for every method under every way of playing.

    Data at 0, generated point θ, logit ψ x: 500 turns of plain gradient steps of 0.2 from (1, 1), and the field that
    they follow. At the centre both are at rest; the distance to it after 500 turns stands over each panel.
    """
    rows, columns, side = games(), schedules(), 260
    line = np.linspace(-REACH, REACH, 12)[1:-1]  # an even number: there is no arrow to draw at the centre
    points = np.stack(np.meshgrid(line, line), -1).reshape(-1, 2)
    width, height = 240 + len(columns) * side, 90 + len(rows) * side
    figure = blank(width, height)
    axes = figure.subplots(len(rows), len(columns), sharex=True, sharey=True, squeeze=False)
    for i, (label, (method, options)) in enumerate(rows.items()):
        field = velocity(method, options, points)
        field /= np.linalg.norm(field, axis=1, keepdims=True)  # their directions
        for j, (column, (way, moves)) in enumerate(columns.items()):
            _panel(axes[i, j], points, field, orbit(method, options, way, moves))
            if i == 0:
                axes[i, j].annotate(column, (0.5, 1), (0, 15), "axes fraction", "offset points", fontsize=8,
                                    color=INK, weight="bold", ha="center")  # fmt: skip
        axes[i, 0].annotate(label, (0, 0.5), (-28, 0), "axes fraction", "offset points", fontsize=7, color=INK,
                            ha="right", va="center")  # fmt: skip
        axes[i, 0].set_ylabel("ψ", fontsize=7, color=INK, labelpad=0)
    for place in axes[-1]:
        place.set_xlabel("θ", fontsize=7, color=INK, labelpad=0)
    figure.subplots_adjust(left=230 / width, right=1 - 10 / width, bottom=45 / height, top=1 - 75 / height,
                           wspace=0.06, hspace=0.16)  # fmt: skip
    return figure


def _panel(axes, points: np.ndarray, field: np.ndarray, path: np.ndarray) -> None:
    axes.quiver(*points.T, *field.T, color="#c3c8ce", width=0.008, headwidth=4, pivot="mid", angles="xy")
    axes.plot(*path.T, color=COLOURS[0], linewidth=0.7)
    axes.plot(*path[0], "o", color=COLOURS[2], markersize=3)
    axes.plot(*path[-1], "o", color=COLOURS[1], markersize=3)
    radius = math.hypot(*path[-1])
    axes.set(xlim=(-REACH, REACH), ylim=(-REACH, REACH), aspect="equal", xticks=[-2, 0, 2], yticks=[-2, 0, 2])
    axes.set_title(f"radius {radius:.3g}" if math.isfinite(radius) else "diverges", fontsize=6, color=INK, pad=2)
    axes.tick_params(labelsize=5, color=FAINT, labelcolor=INK, length=2, pad=1)
    axes.spines[:].set(color=FAINT, linewidth=0.4)
