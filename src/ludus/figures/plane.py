"""A game in the plane at one moment: the discriminator as a heat map, and where the generator's samples are sent."""

from __future__ import annotations

import copy
import inspect
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from ludus.data.form import Form
from ludus.errors import UserError
from ludus.figures.points import square
from ludus.figures.save import COLOURS, FAINT, INK, blank, plain
from ludus.game import Batch, Game
from ludus.networks.check import check_rows_alone
from ludus.networks.lenses import Lensed

if TYPE_CHECKING:
    from matplotlib.figure import Figure

DOTS, ARROWS = 120, 64  # of the heat map along a side; drawn


def drawable(game: Game, form: Form) -> bool:
    """Whether the data are points of the plane and the logit is a function of one such point, whichever that is."""
    roles = [p.name for p in inspect.signature(type(game)).parameters.values() if p.kind != p.KEYWORD_ONLY]
    whole = form.kind == "points" and form.shape == (2,) and form.mask is None and form.scaling.bend != "log1p"
    if not whole or roles != ["generator", "discriminator", "prior"]:
        return False
    try:
        check_rows_alone(game.discriminator)
    except UserError:
        return False
    return not isinstance(game.discriminator, Lensed) or game.discriminator.pack == 1


def bare(game: Game) -> Game:
    """A copy, so that nothing which a loss keeps is touched, without the lens: what the discriminator itself says."""
    game = copy.deepcopy(game).requires_grad_()
    if isinstance(game.discriminator, Lensed):
        game.discriminator = game.discriminator.discriminator
    return game


def moves(game: Game, batch: Batch) -> tuple[Tensor, Tensor]:
    """Generated x̃ (n, D), and −∂L/∂x̃ of each, L being its share of the generator's loss, whichever that is: where it
    is sent. The loss is a mean over n, so this is n times the loss's own derivative."""
    game, drawn = bare(game), []

    def keep(module, z, x: Tensor) -> Tensor:
        drawn.append(x.detach().requires_grad_())
        return drawn[-1]

    game.generator.register_forward_hook(keep)
    with torch.enable_grad():
        loss = game.players["generator"].loss(batch).total
    (x,) = drawn
    return x.detach(), -len(x) * torch.autograd.grad(loss, x)[0]


def logits(game: Game, x: Tensor, conditions: int) -> Tensor:
    """The discriminator's logit at points x (n, 2); of a conditional game at an unknown condition."""
    return bare(game).discriminator(x, x.new_full((len(x), conditions), torch.nan) if conditions else None)


def plane(game: Game, form: Form, batch: Batch) -> Figure:
    """The logit as a heat map, real and generated points, and the generator's gradient as arrows, in the user's units.

    batch: real points and their conditions in the network's range; as many are generated. To be called while the
    game is measured (`seeds.measuring`).
    """
    x, slope = (t.cpu().numpy() for t in moves(game, batch))
    real, generated = form.to_user(batch.x.cpu().numpy()), form.to_user(x)
    (left, right), (low, high) = square(real)
    across, up = (np.linspace(*ends, 2 * DOTS + 1)[1::2] for ends in ((left, right), (low, high)))  # middles
    at = form.to_network(np.stack(np.meshgrid(across, up), -1).reshape(-1, 2))
    heat = logits(game, torch.from_numpy(at).to(batch.x), form.conditions).detach().cpu().numpy().reshape(DOTS, DOTS)

    from matplotlib.colors import LinearSegmentedColormap

    shade = LinearSegmentedColormap.from_list("shade", ["#8d949c", "white"])
    figure = blank(1120, 960)
    axes = figure.add_axes((0.09, 0.09, 0.75, 0.85))
    shown = axes.imshow(heat, cmap=shade, extent=(left, right, low, high), origin="lower", aspect="equal",
                        vmin=np.percentile(heat, 2), vmax=np.percentile(heat, 98))  # fmt: skip
    axes.scatter(*real.T, s=3, color=COLOURS[0], linewidths=0, label="real")
    outside = int(((generated < (left, low)) | (generated > (right, high))).any(1).sum())
    label = f"generated ({outside:,} of {len(generated):,} outside)" if outside else "generated"
    axes.scatter(*generated.T, s=3, color=COLOURS[1], linewidths=0, alpha=0.7, label=label)
    longest = np.linalg.norm(slope[:ARROWS], axis=1).max()
    arrows = slope[:ARROWS] / (longest or 1) * (right - left) / 8
    axes.quiver(*generated[:ARROWS].T, *arrows.T, color=INK, angles="xy", scale_units="xy", scale=1, width=0.0025)
    axes.set(xlim=(left, right), ylim=(low, high))
    first, second = (plain(name) for name in form.columns or ("x₁", "x₂"))
    said = f"{first}   (arrows: −∂L/∂x̃ of the generator's loss, the longest {longest:.2g})"
    axes.set_xlabel(said, fontsize=8, color=INK)
    axes.set_ylabel(second, fontsize=8, color=INK)
    axes.legend(loc="upper left", bbox_to_anchor=(0, 1.06), ncols=2, frameon=False, fontsize=8, markerscale=3,
                handletextpad=0, borderaxespad=0)  # fmt: skip
    axes.tick_params(labelsize=7, color=FAINT, labelcolor=INK)
    axes.spines[:].set(color=FAINT, linewidth=0.5)
    bar = figure.colorbar(shown, cax=figure.add_axes((0.87, 0.09, 0.025, 0.85)), extend="both")
    bar.set_label("the discriminator's logit", fontsize=8, color=INK)
    bar.ax.tick_params(labelsize=7, color=FAINT, labelcolor=INK)
    bar.outline.set_linewidth(0.4)
    return figure
