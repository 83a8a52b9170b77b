"""What an evaluation found, as pictures: means, curves with bands and ratios, histograms, correlations, neighbours."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from textwrap import fill
from typing import TYPE_CHECKING

import numpy as np

from ludus.figures.grids import MISSING, limits_of
from ludus.figures.save import COLOURS, FAINT, INK, blank, plain, styled

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WIDTH = 1900  # dots
REAL, GENERATED = "#9aa3ad", COLOURS[1]
ACROSS, PANEL, TALL = 4, 430, 600  # panels side by side; dots from one row of them to the next, of curves too


def means(real: np.ndarray, generated: np.ndarray, unit: str) -> Figure:
    """Pixel by pixel the mean and the standard deviation over images (n, H, W) of both, and generated − real."""
    rows = {"mean": [a.mean(0) for a in (real, generated)],
            "standard deviation": [a.std(0) for a in (real, generated)]}  # fmt: skip
    height, width = real.shape[1:]
    panel = min(max(round(500 * height / width), 110), 700)
    figure = blank(WIDTH, 60 + 2 * (panel + 90))
    panels = figure.subplots(2, 3)
    for line, (what, (a, b)) in zip(panels, rows.items()):
        low, high = limits_of(a)
        reach = max(float(np.abs(b - a).max()), 1e-12)
        shown = [(f"{what}, real", a, "gray", low, high), (f"{what}, generated", b, "gray", low, high),
                 ("generated − real", b - a, "RdBu_r", -reach, reach)]  # fmt: skip
        for axes, (title, image, colours, least, most) in zip(line, shown):
            drawn = axes.imshow(image, cmap=colours, vmin=least, vmax=most, interpolation="nearest", aspect="auto")
            axes.set_title(plain(f"{title} ({unit})"), fontsize=8, color=INK, loc="left")
            axes.tick_params(labelsize=6, color=FAINT, labelcolor=FAINT, length=2)
            axes.spines[:].set_visible(False)
            bar = figure.colorbar(drawn, ax=axes, pad=0.02, fraction=0.05)
            bar.ax.tick_params(labelsize=6, colors=INK)
            bar.outline.set_linewidth(0.3)
    figure.subplots_adjust(left=0.03, right=0.97, top=0.94, bottom=0.05, hspace=0.22, wspace=0.18)
    return figure


def curves(given: Mapping[str, Sequence]) -> Figure:
    """Each curve {title: (x, label of x, label of y, real (n, bins), generated (m, bins), log)}: the mean over images
    with the band that holds the middle 68 % of them, and below the ratio of the means with twice its standard error."""
    from matplotlib.ticker import NullFormatter

    columns = min(len(given), 3)
    rows = -(-len(given) // columns)
    height = rows * TALL
    figure = blank(WIDTH, height)
    for i, (title, (x, over, what, real, generated, log)) in enumerate(given.items()):
        row, column = divmod(i, columns)
        left, wide = 0.06 + column * (0.95 / columns), 0.95 / columns - 0.065
        top = 1 - (row * TALL + 50) / height
        upper = figure.add_axes((left, top - 320 / height, wide, 320 / height))
        lower = figure.add_axes((left, top - 470 / height, wide, 130 / height), sharex=upper)
        for name, curve, colour in (("real", real, REAL), ("generated", generated, GENERATED)):
            low, high = np.quantile(curve, [0.16, 0.84], axis=0)
            upper.fill_between(x, low, high, color=colour, alpha=0.3, linewidth=0)
            upper.plot(x, curve.mean(0), color=colour, linewidth=1.4, label=name)
        ratio, error = ratio_of(real, generated)
        lower.axhline(1, color=FAINT, linewidth=0.7)
        lower.fill_between(x, ratio - 2 * error, ratio + 2 * error, color=GENERATED, alpha=0.3, linewidth=0)
        lower.plot(x, ratio, color=GENERATED, linewidth=1.2)
        near = ratio[np.isfinite(ratio)]
        reach = min(max(float(np.abs(near - 1).max(initial=0.02)) * 1.2, 0.05), 1.0)
        lower.set_ylim(1 - reach, 1 + reach)
        styled(upper, plain(title), "", plain(what))
        styled(lower, "", plain(over), "ratio")
        upper.yaxis.label.set_fontsize(7)
        upper.tick_params(labelbottom=False)
        if log and (real.mean(0) > 0).all() and (generated.mean(0) > 0).all():
            upper.set_yscale("log")
            upper.yaxis.set_minor_formatter(NullFormatter())
        upper.legend(loc="best", frameon=False, fontsize=7, labelcolor=INK, handlelength=1.4)
    return figure


def ratio_of(real: np.ndarray, generated: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The ratio of mean generated to mean real curves, and its standard error; NaN where the real one is 0."""
    a, b = real.mean(0), generated.mean(0)
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = np.where(np.abs(a) > 1e-12 * np.abs(a).max(), b / a, np.nan)
        relative = real.var(0) / len(real) / a**2 * ratio**2 + generated.var(0) / len(generated) / a**2
    return ratio, np.sqrt(relative)


def histograms(given: Mapping[str, tuple[np.ndarray, np.ndarray, str]]) -> Figure:
    """Observables {title: (real (n,), generated (m,), label)}, overlaid: real filled, generated as a line."""
    rows = -(-len(given) // ACROSS)
    height = rows * PANEL + 60
    figure = blank(WIDTH, height)
    panels = figure.subplots(rows, ACROSS, squeeze=False).ravel()
    for axes in panels[len(given) :]:
        axes.set_visible(False)
    for axes, (title, (real, generated, label)) in zip(panels, given.items()):
        bins = edges(real, generated)
        axes.stairs(np.histogram(real, bins)[0] / len(real), bins, fill=True, color="#cfd3d8", label="real")
        axes.stairs(np.histogram(generated, bins)[0] / len(generated), bins, color=GENERATED, linewidth=1.2,
                    label="generated")  # fmt: skip
        styled(axes, "", plain(label), "")
        axes.set_title(plain(fill(title, 34)), fontsize=7, color=INK, weight="bold", loc="left")
        axes.set_yticks([])
    panels[0].legend(loc="best", frameon=False, fontsize=7, labelcolor=INK, handlelength=1.2)
    figure.subplots_adjust(left=0.02, right=0.985, top=1 - 60 / height, bottom=90 / height, hspace=0.6, wspace=0.1)
    return figure


def edges(real: np.ndarray, generated: np.ndarray, bins: int = 40) -> np.ndarray:
    """Edges of bins that show both: all but the outermost thousandths of either."""
    ends = np.concatenate([np.quantile(a, [0.001, 0.999]) for a in (real, generated)])
    low, high = float(ends.min()), float(ends.max())
    return np.linspace(low, high if high > low else low + max(abs(low), 1.0) * 1e-3, bins + 1)


def correlations(names: str, real: np.ndarray, generated: np.ndarray) -> Figure:
    """Correlation matrices over images of the columns of real and generated curves (n, bins), and their difference."""
    from matplotlib import colormaps

    figure, colours = blank(WIDTH, 640), colormaps["RdBu_r"].with_extremes(bad=MISSING)
    a, b = correlation(real), correlation(generated)
    for axes, (title, matrix) in zip(figure.subplots(1, 3), {"real": a, "generated": b, "difference": b - a}.items()):
        drawn = axes.imshow(np.ma.masked_invalid(matrix), cmap=colours, vmin=-1, vmax=1, interpolation="nearest")
        styled(axes, title, plain(names), plain(names))
        axes.grid(False)
        figure.colorbar(drawn, ax=axes, fraction=0.046, pad=0.03).ax.tick_params(labelsize=6, colors=INK)
    figure.subplots_adjust(left=0.06, right=0.96, top=0.92, bottom=0.12, wspace=0.35)
    return figure


def correlation(curves: np.ndarray) -> np.ndarray:
    """Pearson's correlation of columns over rows; NaN where one is constant."""
    off = curves - curves.mean(0)
    norm = np.sqrt((off**2).sum(0))
    with np.errstate(invalid="ignore", divide="ignore"):
        return off.T @ off / (norm[:, None] * norm)


def cloud(real: np.ndarray, generated: np.ndarray, names: tuple[str, str]) -> Figure:
    """Two features of both, on the same axes: real alone, generated over it."""
    figure = blank(WIDTH, 860)
    panels = figure.subplots(1, 2, sharex=True, sharey=True)
    for axes, (title, over) in zip(panels, {"real": None, "generated": generated}.items()):
        axes.scatter(*real[:, :2].T, s=4, color=REAL, alpha=0.5, linewidths=0)
        if over is not None:
            axes.scatter(*over[:, :2].T, s=4, color=GENERATED, alpha=0.5, linewidths=0)
        styled(axes, title, names[0], names[1] if over is None else "")
    reach = np.quantile(np.concatenate([real, generated])[:, :2], [0.002, 0.998], axis=0)
    margin = 0.08 * np.ptp(reach, axis=0) + 1e-9
    panels[0].set_xlim(reach[0, 0] - margin[0], reach[1, 0] + margin[0])
    panels[0].set_ylim(reach[0, 1] - margin[1], reach[1, 1] + margin[1])
    figure.subplots_adjust(left=0.05, right=0.985, top=0.94, bottom=0.11, wspace=0.05)
    return figure


def distances(held_out: np.ndarray, generated: np.ndarray, mark: float) -> Figure:
    """How far held-out (n,) and generated (m,) rows are from their nearest training rows; mark: the 1 % quantile."""
    figure = blank(1000, 560)
    axes: Axes = figure.subplots()
    bins = np.linspace(0, float(np.quantile(np.concatenate([held_out, generated]), 0.999)) or 1.0, 61)
    axes.stairs(np.histogram(held_out, bins)[0] / len(held_out), bins, fill=True, color="#cfd3d8", label="held out")
    axes.stairs(np.histogram(generated, bins)[0] / len(generated), bins, color=GENERATED, linewidth=1.2,
                label="generated")  # fmt: skip
    axes.axvline(mark, color=INK, linewidth=0.8, linestyle=":", label="1 % of the held-out are nearer")
    styled(axes, "Distance to the nearest training row", "distance, in sd of the features", "share")
    axes.legend(loc="best", frameon=False, fontsize=7, labelcolor=INK, handlelength=1.4)
    figure.subplots_adjust(left=0.1, right=0.97, top=0.9, bottom=0.17)
    return figure


def table(rows: Sequence[str], columns: Sequence[str], values: np.ndarray, floors: np.ndarray) -> Figure:
    """Scores of several runs, a panel for each column: values (rows, columns) as dots, floors as ticks."""
    figure = blank(WIDTH, 130 + 60 * len(rows))
    panels = np.atleast_1d(figure.subplots(1, len(columns), sharey=True))
    places = np.arange(len(rows))[::-1]
    for j, (axes, name) in enumerate(zip(panels, columns)):
        axes.hlines(places, np.minimum(floors[:, j], values[:, j]), np.maximum(floors[:, j], values[:, j]),
                    color="#d5d9de", linewidth=2)  # fmt: skip
        axes.plot(floors[:, j], places, "|", color=INK, markersize=10, label="floor: real data")
        axes.plot(values[:, j], places, "o", color=COLOURS[0], markersize=6, label="run")
        styled(axes, plain(name), "", "")
        axes.title.set_fontsize(8)
        axes.set_yticks(places, [plain(row) for row in rows])
        axes.set_ylim(-0.6, len(rows) - 0.4)
    panels[-1].legend(loc="best", frameon=False, fontsize=7, labelcolor=INK)
    figure.subplots_adjust(left=0.16, right=0.985, top=1 - 60 / figure.bbox.height, bottom=60 / figure.bbox.height,
                           wspace=0.12)  # fmt: skip
    return figure


def answer(asked: np.ndarray, read: np.ndarray, true: np.ndarray, classes: Sequence[str] = ()) -> Figure:
    """What is read against what was asked, of real images with these conditions (`true`) and of generated ones: shares
    of each class, or values on a diagonal."""
    figure = blank(WIDTH, 820)
    panels = figure.subplots(1, 2, sharex=True, sharey=True)
    for axes, (title, seen) in zip(panels, {"real": true, "generated": read}.items()):
        if len(classes):
            table = np.zeros((len(classes), len(classes)))
            np.add.at(table, (asked, seen), 1)
            table /= np.maximum(table.sum(1, keepdims=True), 1)
            drawn = axes.imshow(table, cmap="Blues", vmin=0, vmax=1, interpolation="nearest", aspect="auto")
            if len(classes) <= 20:
                axes.set_xticks(range(len(classes)), [plain(name)[:12] for name in classes])
                axes.set_yticks(range(len(classes)), [plain(name)[:12] for name in classes])
            figure.colorbar(drawn, ax=axes, fraction=0.046, pad=0.03).ax.tick_params(labelsize=6, colors=INK)
            styled(axes, title, "read in the image", "asked for" if axes is panels[0] else "")
            axes.grid(False)
        else:
            low, high = float(asked.min()), float(asked.max())
            axes.scatter(asked, seen, s=4, color=REAL if axes is panels[0] else GENERATED, alpha=0.5, linewidths=0)
            axes.plot([low, high], [low, high], color=INK, linewidth=0.8)
            styled(axes, title, "asked for", "read in the image" if axes is panels[0] else "")
    figure.subplots_adjust(left=0.07, right=0.97, top=0.93, bottom=0.11, wspace=0.1)
    return figure
