"""Loss curves: what each player lowered, term by term, by name."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ludus.figures.save import COLOURS, FAINT, INK, blank, plain, styled

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WIDTH, PANEL, FOOT = 1900, 400, 90  # dots


def curves(rows: Sequence[Mapping[str, Any]]) -> Figure:
    """Shows a run's metrics against its turns: a panel for each player's terms, and one for what was seen on the way.

    rows: {"turn": 10, "seconds": 1.2, "losses": {player: {term: value}}, "seen": {player: {name: value}}} as in
    metrics.jsonl, optionally with "images". Thin: each logged value; thick: the running median. A value far off the
    others lies outside the panel and is counted; NaN and infinite ones leave a gap and are counted.
    """
    from matplotlib.ticker import MaxNLocator

    panels = series(rows)
    if not panels:
        figure = blank(WIDTH, PANEL)
        figure.text(0.5, 0.5, "no losses were logged", fontsize=10, color=FAINT, ha="center", va="center")
        return figure
    window = min(max(len(rows) // 30, 1), 99) // 2 * 2 + 1
    height = PANEL * len(panels) + FOOT
    figure = blank(WIDTH, height)
    all_axes = figure.subplots(len(panels), 1, sharex=True, squeeze=False)[:, 0]
    for axes, (title, terms) in zip(all_axes, panels.items()):
        _panel(axes, title, terms, window)
    all_axes[-1].set_xlabel(_extent(rows[-1], window), fontsize=8, color=INK)
    all_axes[-1].xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1, steps=[1, 2, 2.5, 5, 10]))
    all_axes[-1].xaxis.set_major_formatter("{x:,.0f}")
    figure.subplots_adjust(left=0.065, right=0.82, top=1 - 50 / height, bottom=FOOT / height, hspace=0.32)
    figure.align_ylabels()
    return figure


def series(rows: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, np.ndarray]]:
    """The panels, {player: {term: (2, m)}} in the order of play, then "seen": turns and values."""
    found: dict[str, dict[str, list[tuple[float, float]]]] = {}
    for kind in ("losses", "seen"):
        for row in rows:
            for player, values in logged(row, kind).items():
                for term, value in values.items():
                    panel, line = (player, term) if kind == "losses" else ("seen", f"{player} {term}")
                    found.setdefault(panel, {}).setdefault(line, []).append((row["turn"], _number(value)))
    return {panel: {name: np.array(line, float).T for name, line in lines.items()} for panel, lines in found.items()}


def logged(row: Mapping[str, Any], kind: str) -> dict[str, Mapping[str, Any]]:
    """A row's {player: {term: value}} under "losses" or "seen"; what is not of this form is left out."""
    players = row.get(kind)
    players = players if isinstance(players, Mapping) else {}
    return {player: values for player, values in players.items() if isinstance(values, Mapping)}


def _panel(axes: Axes, title: str, terms: Mapping[str, np.ndarray], window: int) -> None:
    for i, (name, (turns, values)) in enumerate(terms.items()):
        colour = COLOURS[i % len(COLOURS)]
        alone = {"marker": "o", "markersize": 4, "alpha": 1} if np.isfinite(values).sum() < 2 else {"alpha": 0.4}
        finite = np.where(np.isfinite(values), values, np.nan)
        axes.plot(turns, finite, color=colour, linewidth=0.5, **alone)  # one point makes no line: a dot
        axes.plot(turns, running_median(finite, window), color=colour, linewidth=1.5, label=plain(name))
    lines = [values for _, values in terms.values()]
    low, high = robust_range(lines)
    beyond = sum(int(((v < low) | (v > high))[np.isfinite(v)].sum()) for v in lines)
    broken = sum(int((~np.isfinite(v)).sum()) for v in lines)
    said = [f"{beyond:,} clipped"] * (beyond > 0) + [f"{broken:,} NaN or infinite"] * (broken > 0)
    axes.set_ylim(low, high)
    styled(axes, plain(title), "", "value" if title == "seen" else "loss")
    axes.set_title(", ".join(said), fontsize=7, color=COLOURS[1], loc="right")
    axes.legend(loc="upper left", bbox_to_anchor=(1, 1.03), frameon=False, fontsize=8, labelcolor=INK, handlelength=1.2)


def running_median(values: np.ndarray, window: int) -> np.ndarray:
    """The median of the `window` values around each one, NaN left out; one spike does not move it."""
    half = window // 2
    padded = np.pad(values, half, constant_values=np.nan)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # where all are NaN the answer is NaN, as it should be
        return np.nanmedian(np.lib.stride_tricks.sliding_window_view(padded, 2 * half + 1), axis=1)


def robust_range(lines: Sequence[np.ndarray]) -> tuple[float, float]:
    """An axis on which each line is seen: quartiles ± 3 of their distances, or the extremes inside these."""
    lows, highs = [], []
    for values in lines:
        values = values[np.isfinite(values)]
        if values.size == 0:
            continue
        first, third = np.percentile(values, [25, 75])
        reach = 3 * (third - first) or np.inf  # a line mostly constant: its few changes are what there is to see
        lows.append(max(values.min(), first - reach))
        highs.append(min(values.max(), third + reach))
    low, high = (min(lows), max(highs)) if lows else (0.0, 1.0)
    margin = 0.06 * (high - low) or max(abs(low), 1.0) * 0.1
    return float(low - margin), float(high + margin)


def _number(value: Any) -> float:
    return float("nan") if value is None else float(value)


def _extent(last: Mapping[str, Any], window: int) -> str:
    parts = [f"{int(last['turn']):,} in all"] if last.get("turn") is not None else []
    parts += [f"{int(last['images']):,} images"] if last.get("images") else []
    parts += [f"{last['seconds']:,.0f} s"] if last.get("seconds") else []
    parts += [f"thick line: running median of {window} logged values"] if window > 1 else []
    return "turns" + (f"  ({'; '.join(parts)})" if parts else "")
