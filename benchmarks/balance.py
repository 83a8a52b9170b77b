"""The lecture's questions about balance, as measured experiments on the ring of eight modes; a figure each.

    python benchmarks/balance.py strength          # G much stronger than D, or D than G: rates and widths swept
    python benchmarks/balance.py stop              # what happens to both when one of them stops to learn
    python benchmarks/balance.py architecture      # what depth and activation alone change
    python benchmarks/balance.py all

Three seeds each, one single-threaded process a core, about twenty minutes in all on two cores. The figures go to
docs/figures/balance-NAME.png, the numbers to benchmarks/results/balance.json. What is measured is the doctor's: the
energy distance of samples and data, 0 where they have one law and 1 or more where they are apart (1,000 stands for more
too, as where a game diverged); and how often D ranks a held-out real row above a generated one, ½ where it cannot tell.
"""

import contextlib
import datetime
import json
import math
import os
import platform
import sys
from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from doctor_battery import Case, data_of, game_of
from matplotlib.figure import Figure

from ludus import figures, play, seeds
from ludus.errors import Diverged
from ludus.figures.save import COLOURS, blank, styled
from ludus.metrics.modes import modes
from ludus.trainer import Callback, Trainer
from ludus.worlds.mixtures import ring

SEEDS, TURNS, SAMPLES = 3, 1500, 2500
VALUES, MOST = ("energy", "told", "force"), 1e3  # what is looked at; more than that is as good as infinite
HERE = Path(__file__).parent
GAMES = {"gan, minimax": ("gan", {"method.cost": "minimax"}), "gan, heuristic": ("gan", {}), "r3gan": ("r3gan", {})}
RATIOS = (0.01, 0.1, 0.3, 1, 3, 10, 100)  # D's over G's, at a geometric mean of 1e-3
WIDTHS = ((512, 8), (256, 32), (128, 128), (32, 256), (8, 512))  # G's and D's
SHAPES = {f"depth {n}": {"depth": n} for n in (1, 2, 4)} | {
    name: {"activation": name} for name in ("leaky_relu", "relu", "tanh", "elu")
}
STOPS = {"neither stops": None, "G stops": "generator", "D stops": "discriminator"}


class Job(NamedTuple):
    """One run: which line and point of a figure it belongs to."""

    line: str
    point: str
    method: str
    settings: dict
    seed: int
    turns: int = TURNS
    stops: str | None = None


class Stop(Callback):
    """From half of the turns on, a player moves no more; what it would lose is still measured."""

    def __init__(self, player: str, turn: int):
        self.player, self.turn = player, turn

    def before(self, trainer: Trainer) -> None:
        if trainer.turn == self.turn:
            trainer.schedule = lambda trainer: [name for name in play.every(trainer) if name != self.player]


def played(job: Job) -> dict:
    """The doctor's looks at a run, and the modes that its samples reach at the end."""
    torch.set_num_threads(1)
    case = Case("", job.method, "ring", job.settings | {"trainer.steps": job.turns})
    trainer, doctor = game_of(case, job.seed, job.turns)
    if job.stops:
        trainer.callbacks.insert(0, Stop(job.stops, job.turns // 2))
    with contextlib.suppress(Diverged):  # one of the ways in which it may end; the looks say so
        trainer.run()
    with seeds.measuring(trainer.game, job.seed):
        x = data_of(case, job.seed, False).form.to_user(trainer.game.sample(SAMPLES).numpy())
    truth = ring()
    found = modes(x, truth.means.numpy(), truth.sd)
    looks = [{"turn": row["turn"], **{k: min(row["doctor"][k], MOST) for k in VALUES}} for row in doctor.rows]
    last = {key: float(np.mean([look[key] for look in looks[-4:]])) for key in VALUES}
    return {**job._asdict(), "looks": looks, **last, "modes": found.captured}


def strength() -> Iterable[Job]:
    for seed in range(SEEDS):
        for title, (method, settings) in GAMES.items():
            for ratio in RATIOS:
                rates = {"discriminator": 1e-3 * math.sqrt(ratio), "generator": 1e-3 / math.sqrt(ratio)}
                yield Job(title, f"{ratio:g}", method, settings | {"trainer.rates": rates}, seed)
            for g, d in WIDTHS:
                sizes = {"generator.width": g, "discriminator.width": d}
                yield Job(title, f"{g} : {d}", method, settings | sizes, seed)


def stop() -> Iterable[Job]:
    for seed in range(SEEDS):
        for title, player in STOPS.items():
            for game in ("gan, heuristic", "r3gan"):
                method, settings = GAMES[game]
                yield Job(game, title, method, settings, seed, 2 * TURNS, player)


def architecture() -> Iterable[Job]:
    for seed in range(SEEDS):
        for game in ("gan, heuristic", "r3gan"):
            method, settings = GAMES[game]
            for title, shape in SHAPES.items():
                both = {f"{role}.{k}": v for role in ("generator", "discriminator") for k, v in shape.items()}
                yield Job(game, title, method, settings | both, seed)


def grouped(runs: list[dict], value: str) -> dict[str, dict[str, tuple[float, float]]]:
    """{line: {point: (mean, standard error)}} over the seeds."""
    found: dict = {}
    for run in runs:
        found.setdefault(run["line"], {}).setdefault(run["point"], []).append(run[value])
    return {
        line: {point: (np.mean(v), np.std(v, ddof=1) / math.sqrt(len(v))) for point, v in points.items()}
        for line, points in found.items()
    }


def _lines(axes, found: dict, points: list[str], spread: float = 0.0) -> None:
    for i, (line, at) in enumerate(found.items()):
        mean, error = np.array([at[p] for p in points]).T
        axes.errorbar(np.arange(len(points)) + spread * (i - 1), mean, error, color=COLOURS[i], label=line,
                      marker="o", markersize=3, linewidth=0 if spread else 1.2, elinewidth=1)  # fmt: skip
    axes.set_xticks(range(len(points)), points)


SAYS = {"energy": "energy distance to the data", "told": "D tells right", "modes": "modes reached, of 8",
        "force": "gradient at the samples"}  # fmt: skip


def draw_strength(runs: list[dict]) -> Figure:
    sweeps = {"rate of D : rate of G": [f"{r:g}" for r in RATIOS], "width of G : width of D": [f"{g} : {d}" for g, d in
              WIDTHS]}  # fmt: skip
    figure = blank(1900, 1500)
    for column, (sweep, points) in enumerate(sweeps.items()):
        for row, value in enumerate(("energy", "told", "modes")):
            axes = figure.add_subplot(3, 2, 2 * row + column + 1)
            _lines(axes, grouped(runs, value), points)
            styled(axes, "", sweep if row == 2 else "", SAYS[value])
            if value == "energy":
                axes.set_yscale("symlog", linthresh=0.1)
            axes.set_ylim(*{"energy": (-0.05, 1.5 * MOST), "told": (0, 1.03), "modes": (0, 8.3)}[value])
    figure.axes[0].legend(frameon=False, fontsize=7)
    figure.axes[0].set_title("G is the faster  ←   → D is the faster", fontsize=8)
    figure.axes[3].set_title("G is the wider  ←   → D is the wider", fontsize=8)
    figure.tight_layout()
    return figure


def draw_stop(runs: list[dict]) -> Figure:
    figure = blank(1900, 1300)
    for row, game in enumerate(dict.fromkeys(run["line"] for run in runs)):
        for column, value in enumerate(VALUES):
            axes = figure.add_subplot(2, 3, 3 * row + column + 1)
            for i, title in enumerate(STOPS):
                these = [run["looks"] for run in runs if run["line"] == game and run["point"] == title]
                shortest = min(map(len, these))  # of those that ended early
                turns = [look["turn"] for look in these[0][:shortest]]
                seen = np.array([[look[value] for look in looks[:shortest]] for looks in these])
                axes.plot(turns, seen.mean(0), color=COLOURS[i], label=title, linewidth=1.2)
                axes.fill_between(turns, seen.min(0), seen.max(0), color=COLOURS[i], alpha=0.15)
            axes.axvline(TURNS, color="#999", linewidth=0.8)
            if value == "force":
                axes.set_yscale("log")
            styled(axes, game if column == 0 else "", "turns" if row else "", SAYS[value])
    figure.axes[0].legend(frameon=False, fontsize=7)
    figure.tight_layout()
    return figure


def draw_architecture(runs: list[dict]) -> Figure:
    figure = blank(1900, 700)
    for column, value in enumerate(("energy", "modes")):
        axes = figure.add_subplot(1, 2, column + 1)
        _lines(axes, grouped(runs, value), list(SHAPES), 0.1)
        styled(axes, "", "", SAYS[value])
        axes.tick_params(axis="x", rotation=30)
        axes.set_ylim(*{"energy": (-0.1, None), "modes": (0, 8.3)}[value])
    figure.axes[0].legend(frameon=False, fontsize=7)
    figure.tight_layout()
    return figure


EXPERIMENTS: dict[str, tuple[Callable[[], Iterable[Job]], Callable[[list[dict]], Figure]]] = {
    "strength": (strength, draw_strength), "stop": (stop, draw_stop), "architecture": (architecture, draw_architecture),
}  # fmt: skip


def main() -> None:
    names = list(EXPERIMENTS) if sys.argv[1:] == ["all"] else sys.argv[1:]
    if not names or set(names) - EXPERIMENTS.keys():
        sys.exit(f"balance.py takes all, or some of {', '.join(EXPERIMENTS)}")
    out = HERE / "results" / "balance.json"
    kept = json.loads(out.read_text()) if out.exists() else {}
    kept |= {"date": f"{datetime.date.today()}", "machine": platform.machine(), "torch": torch.__version__}
    with ProcessPoolExecutor(len(os.sched_getaffinity(0)), get_context("spawn")) as pool:
        for name in names:
            jobs, draw = EXPERIMENTS[name]
            runs = list(pool.map(played, jobs()))
            figure = HERE.parent / "docs" / "figures" / f"balance-{name}.png"
            figure.write_bytes(figures.png(draw(runs)))
            values = ("energy", "told", "modes")
            kept[name] = {
                value: {line: {point: [round(float(x), 3) for x in both] for point, both in points.items()}
                        for line, points in grouped(runs, value).items()} for value in values
            }  # fmt: skip
            out.write_text(json.dumps(kept, indent=1, ensure_ascii=False) + "\n")
            print(figure)


if __name__ == "__main__":
    main()
