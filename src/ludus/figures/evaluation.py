"""What an evaluation found, as pictures: means, curves with bands and ratios, histograms, correlations, neighbours."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from textwrap import fill
from typing import TYPE_CHECKING

import numpy as np

from ludus.figures.grids import ABSENT, axes_at, limits_of
from ludus.figures.measured import panel
from ludus.figures.save import COLOURS, FAINT, INK, blank, plain, styled

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from ludus.data.raw import Axis

WIDTH = 1900  # dots
REAL, GENERATED = "#9aa3ad", COLOURS[1]
ACROSS, PANEL, TALL = 4, 430, 640  # panels side by side; dots from one row of them to the next, of curves too
LEFT, RIGHT, HEAD, FOOT = 140, 20, 80, 90  # dots around a panel: ticks and label, title of two lines, ticks and label


def means(
    real: np.ndarray, generated: np.ndarray, label: str, grid: tuple[Axis, ...] = ()
) -> Figure:
    """Pixel by pixel the mean and the standard deviation over images (n, H, W) of both, and generated − real.

    The three stand in a row, or in a column where images are wide (W > 3 H). label: of what is measured; grid: axes of
    height and width.
    """
    height, width = real.shape[1:]
    rows, columns = (3, 2) if width > 3 * height else (2, 3)
    named = any(axis.label for axis in grid)
    step, left, right, foot = WIDTH / columns, 70 + 40 * named, 170, 60 * named  # dots: for the bar, and for labels
    tall = min(max(round((step - left - right) * height / width), 110), 700)
    figure = blank(WIDTH, rows * (tall + HEAD + foot))
    for i, (what, of) in enumerate({"mean": np.mean, "sd": np.std}.items()):
        a, b = of(real, axis=0), of(generated, axis=0)
        low, high = limits_of(a)
        reach = max(float(np.nanmax(np.abs(b - a))), 1e-12)
        shown = {"real": (a, "gray", low, high), "generated": (b, "gray", low, high),
                 "generated − real": (b - a, "RdBu_r", -reach, reach)}  # fmt: skip
        for j, (name, (image, colours, least, most)) in enumerate(shown.items()):
            row, column = (i, j) if columns == 3 else (j, i)
            place = column * step + left, row * (tall + HEAD + foot) + 40, step - left - right, tall
            panel(figure, place, image, grid, label, (least, most), colours, f"{what}, {name}")
    return figure


def curves(given: Mapping[str, Sequence], bands: bool = True) -> Figure:
    """Each curve {title: (x, label of x, label of y, real (n, bins), generated (m, bins), log)}: the mean over images
    with the band that holds the middle 68 % of them, and below the ratio of the means with twice its standard error.

    Without bands for points: the histogram of one point has none to speak of.
    """
    from matplotlib.ticker import NullFormatter

    columns = min(len(given), 3)
    step, rows = WIDTH / columns, -(-len(given) // columns)
    figure = blank(WIDTH, rows * TALL)
    for i, (title, (x, over, what, real, generated, log)) in enumerate(given.items()):
        row, column = divmod(i, columns)
        place, wide, high = (column * step + LEFT, row * TALL + HEAD), step - LEFT - RIGHT, TALL - HEAD - FOOT - 150
        upper = axes_at(figure, *place, wide, high)
        lower = axes_at(figure, place[0], place[1] + high + 20, wide, 130, sharex=upper)
        for name, curve, colour in (("real", real, REAL), ("generated", generated, GENERATED)):
            if bands:
                ends = np.quantile(curve, [0.16, 0.84], axis=0)
                upper.fill_between(x, *ends, color=colour, alpha=0.3, linewidth=0)
            upper.plot(x, curve.mean(0), color=colour, linewidth=1.4, label=name)
        ratio, error = ratio_of(real, generated)
        lower.axhline(1, color=FAINT, linewidth=0.7)
        lower.fill_between(x, ratio - 2 * error, ratio + 2 * error, color=GENERATED, alpha=0.3, linewidth=0)
        lower.plot(x, ratio, color=GENERATED, linewidth=1.2)
        lower.set_ylim(*_around_one(ratio))
        styled(upper, "", "", plain(fill(what, 24)))
        styled(lower, "", plain(fill(over, 40)), "ratio")
        upper.set_title(plain(fill(title, 34)), fontsize=8, color=INK, weight="bold", loc="left")
        for axes in (upper, lower):
            axes.yaxis.label.set_fontsize(7)
            axes.tick_params(labelsize=6)
        upper.tick_params(labelbottom=False)
        if log and (real.mean(0) > 0).all() and (generated.mean(0) > 0).all():
            upper.set_yscale("log")
            upper.yaxis.set_minor_formatter(NullFormatter())
        else:
            upper.ticklabel_format(axis="y", scilimits=(-3, 4))
            upper.yaxis.offsetText.set_fontsize(6)
        upper.legend(loc="best", frameon=False, fontsize=7, labelcolor=INK, handlelength=1.4)
    return figure


def _around_one(ratio: np.ndarray) -> tuple[float, float]:
    """Limits that show 1 and nearly all ratios: few are huge, where the real curve is all but 0."""
    low, high = np.quantile(np.append(ratio[np.isfinite(ratio)], 1), [0.05, 0.95])
    low, high = min(float(low), 1.0), max(float(high), 1.0)
    margin = max(0.2 * (high - low), 0.05)
    return low - margin, high + margin


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
        axes.locator_params("x", nbins=5)
    panels[0].legend(loc="best", frameon=False, fontsize=7, labelcolor=INK, handlelength=1.2)
    figure.subplots_adjust(left=0.02, right=0.975, top=1 - 60 / height, bottom=90 / height, hspace=0.6, wspace=0.1)
    return figure


def edges(real: np.ndarray, generated: np.ndarray, bins: int = 40) -> np.ndarray:
    """Edges of bins that show both: all but the outermost thousandths of either."""
    ends = np.concatenate([np.quantile(a, [0.001, 0.999]) for a in (real, generated)])
    low, high = float(ends.min()), float(ends.max())
    return np.linspace(low, high if high > low else low + max(abs(low), 1.0) * 1e-3, bins + 1)


def correlations(names: str, real: np.ndarray, generated: np.ndarray) -> Figure:
    """Correlation matrices over images of the columns of real and generated curves (n, bins), and their difference."""
    from matplotlib import colormaps

    figure, colours = blank(WIDTH, 640), colormaps["RdBu_r"].with_extremes(bad=ABSENT)
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
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.atleast_2d(np.corrcoef(curves, rowvar=False))


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


def distances(real: np.ndarray, generated: np.ndarray, mark: float) -> Figure:
    """How far real rows (n,), not trained on, and generated ones (m,) are from their nearest training rows; mark: the
    1 % quantile of the real ones."""
    figure = blank(1000, 560)
    axes: Axes = figure.subplots()
    bins = np.linspace(0, float(np.quantile(np.concatenate([real, generated]), 0.999)) or 1.0, 61)
    axes.stairs(np.histogram(real, bins)[0] / len(real), bins, fill=True, color="#cfd3d8", label="real, not trained on")
    axes.stairs(np.histogram(generated, bins)[0] / len(generated), bins, color=GENERATED, linewidth=1.2,
                label="generated")  # fmt: skip
    axes.axvline(mark, color=INK, linewidth=0.8, linestyle=":", label="1 % of the real ones are nearer")
    styled(axes, "Distance to the nearest training row", "distance, in sd of the features", "share")
    axes.legend(loc="best", frameon=False, fontsize=7, labelcolor=INK, handlelength=1.4)
    figure.subplots_adjust(left=0.1, right=0.97, top=0.9, bottom=0.17)
    return figure


def table(rows: Sequence[str], columns: Sequence[str], values: np.ndarray, floors: np.ndarray) -> Figure:
    """Scores of several runs, a panel for each column: values (rows, columns) as dots, floors as ticks."""
    from matplotlib.ticker import MaxNLocator

    left, gap, foot = 330, 36, 120  # dots, for names, between panels, for ticks and legend
    step, high = (WIDTH - left - 20) / len(columns), 70 * len(rows)
    figure = blank(WIDTH, HEAD + high + foot)
    places = np.arange(len(rows))[::-1]
    for j, name in enumerate(columns):
        axes = axes_at(figure, left + j * step, HEAD, step - gap, high)
        axes.hlines(places, np.minimum(floors[:, j], values[:, j]), np.maximum(floors[:, j], values[:, j]),
                    color="#d5d9de", linewidth=2)  # fmt: skip
        floor = axes.plot(floors[:, j], places, "|", color=INK, markersize=10, label="floor: real data")
        run = axes.plot(values[:, j], places, "o", color=COLOURS[0], markersize=6, label="run")
        styled(axes, "", "", "")
        axes.set_title(plain(fill(name, 16)), fontsize=8, color=INK, weight="bold", loc="left")
        axes.set_yticks(places, [plain(fill(row, 26)) for row in rows] if j == 0 else [""] * len(rows))
        axes.set_ylim(-0.6, len(rows) - 0.4)
        axes.margins(x=0.12)
        axes.xaxis.set_major_locator(MaxNLocator(3))
        axes.xaxis.set_major_formatter(lambda x, _: f"{x:.4g}".replace("-", "−"))
        axes.tick_params("x", labelsize=6)
    figure.legend(handles=[*run, *floor], loc="lower right", ncols=2, frameon=False, fontsize=7, labelcolor=INK)
    return figure


def answer(
    name: str, asked: np.ndarray, read: np.ndarray, true: np.ndarray, classes: Sequence[str] = (), label: str = ""
) -> Figure:
    """Of the condition `name`, what is read against what was asked, of real images with these conditions (`true`) and
    of generated ones: shares of each class, or values on a diagonal. label: what the condition is of, with its unit."""
    figure = blank(WIDTH, 820)
    panels = figure.subplots(1, 2, sharex=True, sharey=True)
    asked_for, read_in = (f"{label}, {what}" if label else what for what in ("asked for", "read in the image"))
    asked_for, read_in = plain(asked_for), plain(read_in)
    for axes, (title, seen) in zip(panels, {f"{name}: real": true, f"{name}: generated": read}.items()):
        title = plain(title)
        if len(classes):
            table = np.zeros((len(classes), len(classes)))
            np.add.at(table, (asked, seen), 1)
            table /= np.maximum(table.sum(1, keepdims=True), 1)
            drawn = axes.imshow(table, cmap="Blues", vmin=0, vmax=1, interpolation="nearest", aspect="auto")
            if len(classes) <= 20:
                axes.set_xticks(range(len(classes)), [plain(name)[:12] for name in classes])
                axes.set_yticks(range(len(classes)), [plain(name)[:12] for name in classes])
            figure.colorbar(drawn, ax=axes, fraction=0.046, pad=0.03).ax.tick_params(labelsize=6, colors=INK)
            styled(axes, title, read_in, asked_for if axes is panels[0] else "")
            axes.grid(False)
        else:
            low, high = float(asked.min()), float(asked.max())
            axes.scatter(asked, seen, s=4, color=REAL if axes is panels[0] else GENERATED, alpha=0.5, linewidths=0)
            axes.plot([low, high], [low, high], color=INK, linewidth=0.8)
            styled(axes, title, asked_for, read_in if axes is panels[0] else "")
    figure.subplots_adjust(left=0.07, right=0.97, top=0.93, bottom=0.11, wspace=0.1)
    return figure
