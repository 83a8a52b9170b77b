"""What a calibration found, as pictures: ranks, coverage, what was learnt, and what was recovered."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ludus.figures.save import COLOURS, FAINT, INK, blank, plain, styled
from ludus.inference.calibration import LEVEL, REGIONS, Calibration, band, ecdf, said

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

PANELS, CLOUDS, ACROSS = 12, 6, 4  # dimensions whose ranks are shown; whose cases are; panels side by side
WIDTH, ROW, LOWER, ALONE = 1900, 420, 640, 760  # dots; the last is the width of a panel by itself
GREY = "#dfe3e8"


def calibration(found: Calibration) -> Figure:
    """All of it in one picture: `ranks` above `overview`."""
    if found.checks is None:
        return overview(found)
    heights = [ROW * _rows(found) + 60, LOWER]
    figure = blank(WIDTH, sum(heights))
    upper, lower = figure.subfigures(2, 1, height_ratios=heights)
    _ranks(upper, found, heights[0])
    _overview(lower, found)
    return figure


def ranks(found: Calibration) -> Figure:
    """Of each dimension, the ECDF of the truth's ranks less that of uniform ones, over the band in which 95 % of exact
    posteriors stay from end to end; of more than 12 dimensions those with the smallest p."""
    height = ROW * _rows(found) + 60
    figure = blank(WIDTH, height)
    _ranks(figure, found, height)
    return figure


def overview(found: Calibration) -> Figure:
    """Coverage of regions, what was learnt of each case and how far off it is, and means against the truth."""
    figure = blank(WIDTH if found.checks else ALONE, LOWER)
    _overview(figure, found)
    return figure


def worst(found: Calibration, most: int) -> list[int]:
    """The dimensions with the smallest p, at most so many, in their own order."""
    p = found.checks.p if found.checks else np.zeros(len(found.names))
    return sorted(np.argsort(p, kind="stable")[:most].tolist())


def _rows(found: Calibration) -> int:
    return -(-min(len(found.names), PANELS) // ACROSS)


def _ranks(figure: Figure, found: Calibration, height: int) -> None:
    checks, which = found.checks, worst(found, PANELS)
    here = band(found.cases, checks.draws)
    panels = figure.subplots(_rows(found), min(len(which), ACROSS), sharex=True, sharey=True, squeeze=False)
    for axes in panels.flat[len(which) :]:
        axes.set_visible(False)
    for axes, j in zip(panels.flat, which):
        adjusted = found.verdict.tests[f"ranks of {found.names[j]}"][1]
        colour = COLOURS[1] if adjusted <= LEVEL else COLOURS[0]
        axes.fill_between(here.u, here.low, here.high, color=GREY, linewidth=0)
        axes.axhline(0, color=FAINT, linewidth=0.6)
        axes.plot(here.u, ecdf(checks.ranks[:, j], checks.draws) - here.u, color=colour, linewidth=1.3)
        styled(axes, plain(found.names[j]), "", "")
        axes.set_title(said(checks.p[j]), fontsize=7, color=colour, loc="right")
        below = panels[:, list(panels.flat).index(axes) % panels.shape[1]]
        if axes is [each for each in below if each.get_visible()][-1]:
            axes.set_xlabel("rank of the truth among the draws", fontsize=8, color=INK)
            axes.tick_params(labelbottom=True)
    for axes in panels[:, 0]:
        axes.set_ylabel("share below − expected", fontsize=8, color=INK)
    figure.subplots_adjust(left=0.065, right=0.985, top=1 - 55 / height, bottom=100 / height, hspace=0.3, wspace=0.08)


def _overview(figure: Figure, found: Calibration) -> None:
    panels = figure.subplots(1, 3 if found.checks else 1, squeeze=False)[0]
    if found.checks:
        _coverage(panels[0], found)
        _learnt(panels[1], found)
    _recovered(panels[-1], found)
    left = 0.065 if found.checks else 0.065 * WIDTH / ALONE
    figure.subplots_adjust(left=left, right=0.985, top=0.92, bottom=0.15, wspace=0.24)


def _coverage(axes: Axes, found: Calibration) -> None:
    here = band(found.cases, found.checks.draws)
    edges = here.u + here.low, here.u + here.high
    axes.fill_between(here.u, *edges, color=GREY, linewidth=0, label="95 % of exact posteriors")
    axes.plot([0, 1], [0, 1], color=FAINT, linewidth=0.6)
    for name, colour in zip(REGIONS, COLOURS):
        cover = getattr(found.checks, REGIONS[name])
        axes.plot(here.u, cover.share, color=colour, linewidth=1.3, label=name.removeprefix("regions "))
    styled(axes, "Coverage", "share of the posterior in a region", "share of the truths in it")
    axes.set(xlim=(0, 1), ylim=(0, 1))
    axes.legend(loc="best", frameon=False, fontsize=7, labelcolor=INK, handlelength=1.4)


def _learnt(axes: Axes, found: Calibration) -> None:
    checks = found.checks
    bound = max(3.5, min(10.0, float(np.quantile(np.abs(checks.off), 0.99))))
    for colour, j in zip(COLOURS, worst(found, CLOUDS)):
        axes.scatter(checks.learnt[:, j], checks.off[:, j], s=4, linewidths=0, alpha=0.5, color=colour,
                     label=plain(found.names[j]))  # fmt: skip
    for level, style in ((0, "-"), (2, ":"), (-2, ":")):
        axes.axhline(level, color=FAINT, linewidth=0.7, linestyle=style)
    styled(axes, "Learnt, and how far off", "contraction, 1 − Var posterior / Var prior", "(mean − truth) / sd")
    low = min(-0.05, float(np.quantile(checks.learnt, 0.01)))
    axes.set(xlim=(max(low, -2.0), 1.03), ylim=(-bound, bound))
    outside = int((np.abs(checks.off[:, worst(found, CLOUDS)]) > bound).sum())
    if outside:
        axes.set_title(f"{outside:,} beyond", fontsize=7, color=COLOURS[1], loc="right")
    axes.legend(loc="lower left", frameon=False, fontsize=7, labelcolor=INK, handletextpad=0, markerscale=2.5, ncols=3,
                columnspacing=0.8)  # fmt: skip


def _recovered(axes: Axes, found: Calibration) -> None:
    middle, sd = found.truth.mean(0), found.truth.std(0)
    sd = np.where(sd > 0, sd, 1)
    for colour, j in zip(COLOURS, worst(found, CLOUDS)):
        a, b = ((rows[:, j] - middle[j]) / sd[j] for rows in (found.truth, found.means))
        axes.scatter(a, b, s=4, linewidths=0, alpha=0.5, color=colour, label=plain(found.names[j]))
    axes.plot([-3.5, 3.5], [-3.5, 3.5], color=FAINT, linewidth=0.7)
    styled(axes, "Recovery", "truth, in sd of the prior", "mean of the posterior, the same")
    axes.set(xlim=(-3.5, 3.5), ylim=(-3.5, 3.5))
    axes.legend(loc="upper left", frameon=False, fontsize=7, labelcolor=INK, handletextpad=0, markerscale=2.5, ncols=3,
                columnspacing=0.8)  # fmt: skip
