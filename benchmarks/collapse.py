"""Published tables of mode collapse, a row at a time, in their own metric; the numbers they print stand beside ours.

    python benchmarks/collapse.py ring --quick               # 3 rows x 3 seeds, about 15 minutes on two cores
    python benchmarks/collapse.py stacked --quick            # Stacked-MNIST: 1,000 modes
    python benchmarks/collapse.py grid --full                # all rows x 10 seeds
    python benchmarks/collapse.py ring --rows r3gan pacgan4 --seeds 5 --minutes 3
    python benchmarks/collapse.py grid --rows r3gan --seeds 10 --steps 12000

Each run is a process with one thread, `--jobs` of them at a time, as many as there are cores unless that is given. On
ring and grid (PacGAN's table 1): 2,500 samples, a mode is captured when one lies within 3 sd of it, reverse KL as in
`metrics.modes`; a perfect sampler has HQ 98.9 %, reverse KL 0.0014 on the ring and 0.0048 on the grid from counting
alone. Stacked-MNIST (three digits as three channels): 26,000 samples, a mode is what a classifier reads in them, and
real triples, with which the metric is calibrated before anything is trained, have 1,000 and 0.0238. What differs from
the published protocol is said in TABLES and kept in the result, benchmarks/results/collapse-WORLD-BUDGET.json.
"""

import argparse
import datetime
import json
import math
import os
import platform
import subprocess
import sys
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import mnist_quality
import numpy as np
import torch
from matplotlib.figure import Figure
from torch import nn

import ludus
from ludus import figures
from ludus.data.load import load
from ludus.figures.save import COLOURS, blank, styled
from ludus.metrics.modes import coverage, modes
from ludus.worlds.mixtures import WORLDS

PLAIN = ["trainer.betas=[0.5,0.999]"]
DCGAN = ["generator.name=dcgan", "discriminator.name=dcgan", "generator.widths=[64,32,16]",
         "discriminator.widths=[16,32]"]  # fmt: skip


class Bar(NamedTuple):
    """What the best row should reach, by column."""

    at_least: dict[str, float]
    at_most: dict[str, float]

    def met(self, values: dict[str, float]) -> bool:
        over = all(values[name] >= least for name, least in self.at_least.items())
        return over and all(values[name] <= most for name, most in self.at_most.items())


class World(NamedTuple):
    """A table. rows: method, settings, what was published; bars: of the quick and of the full table, and the goal."""

    samples: int
    protocol: str
    rows: dict[str, tuple[str, list[str], str]]
    quick: list[str]
    bars: dict[str, Bar]


PLANE = (
    "published: z of 2 dimensions, G 4x400 with batch norm, D of 3 maxout layers, 400,000 turns of 100, 10 trials; "
    "here: z of 32, multilayer perceptrons 3x128 without batch norm, batch 256, an average of the weights, the turns "
    "that fit into the minutes. VEEGAN's and the unrolled rows are of VEEGAN's table, where the plain GAN had 1 and 3.3"
)
TABLES = {
    "ring": World(2500, PLANE, {
        "gan": ("gan", PLAIN, "6.3 modes, HQ 98.2 %, 0.45"),
        "minibatch": ("gan", [*PLAIN, "discriminator.minibatch=discrimination"], ""),
        "unrolled0": ("unrolled_gan", [*PLAIN, "method.unroll=0"], ""),
        "unrolled5": ("unrolled_gan", [*PLAIN, "method.unroll=5"], "7.6 modes, HQ 35.6 %"),
        "unrolled10": ("unrolled_gan", [*PLAIN, "method.unroll=10"], ""),
        "pacgan2": ("gan", [*PLAIN, "lens.pack=2"], "7.9 modes, HQ 95.6 %, 0.07"),
        "pacgan4": ("gan", [*PLAIN, "lens.pack=4"], "7.8 modes, HQ 95.9 %, 0.07"),
        "wgan_gp": ("wgan_gp", [], ""),
        "veegan": ("veegan", PLAIN, "8 modes, HQ 52.9 %"),
        "r3gan": ("r3gan", [], ""),
    }, ["gan", "pacgan4", "r3gan"], {
        "bar": Bar({"modes": 7.9, "HQ %": 93.6}, {"reverse KL": 0.07}),
        "goal": Bar({"modes": 8, "HQ %": 97}, {"reverse KL": 0.005}),
    }),
    "stacked": World(26_000, (
        "published (VEEGAN, PacGAN): 128,000 fixed triples, DCGAN of width 64 with batch norm, 100,000 turns of 64, "
        "two moves of G to one of D; R3GAN: 32x32, 21 M parameters, 10 M images; here: 100,000 fixed triples of "
        "training digits at 28x28, networks of less than 1 M parameters, the turns that fit into the minutes"
    ), {
        "dcgan": ("gan", [*DCGAN, *PLAIN], "99 modes, 3.40 (VEEGAN); 78.9, 4.50 (PacGAN)"),
        "pacdcgan2": ("gan", [*DCGAN, *PLAIN, "lens.pack=2"], "1000 modes, 0.06"),
        "wgan_gp": ("wgan_gp", [], "959 modes, 0.73"),
        "r3gan": ("r3gan", [], "1000 modes, 0.029"),
    }, ["dcgan", "pacdcgan2", "r3gan"], {
        "bar, quick": Bar({"modes": 151}, {"reverse KL": 2.95}),
        "goal, quick": Bar({"modes": 959}, {"reverse KL": 0.73}),
        "bar, full": Bar({"modes": 1000}, {"reverse KL": 0.06}),
        "goal, full": Bar({"modes": 1000}, {"reverse KL": 0.029}),
    }),
}  # fmt: skip
TABLES["grid"] = TABLES["ring"]._replace(
    rows={name: (method, settings, published) for (name, (method, settings, _)), published in zip(
        TABLES["ring"].rows.items(),
        ("17.3 modes, HQ 94.8 %, 0.70", "", "", "23.6 modes, HQ 16 %", "", "23.8 modes, HQ 91.3 %, 0.13",
         "24.8 modes, HQ 93.6 %, 0.04", "", "24.6 modes, HQ 40 %", ""), strict=True)},
    bars={"bar": Bar({"modes": 24.8, "HQ %": 93.6}, {"reverse KL": 0.04}),
          "goal": Bar({"modes": 25, "HQ %": 97}, {"reverse KL": 0.012})},
)  # fmt: skip


def in_the_plane(name: str) -> Callable[[np.ndarray], dict]:
    """Scores of points."""
    truth = WORLDS[name]()

    def score(x: np.ndarray) -> dict:
        found = modes(x, truth.means.numpy(), truth.sd)
        return {"modes": found.captured, "HQ %": 100 * found.quality, "reverse KL": found.reverse_kl}

    return score


def stacked(source: str, n: int, seed: int = 0) -> np.ndarray:
    """n triples of digits of `source` as three channels, (n, 3, 28, 28) uint8."""
    digits = load(source, held_out=0.0)
    digits = digits.form.to_user(digits.x).round().astype(np.uint8)
    return digits[np.random.default_rng(seed).integers(len(digits), size=(n, 3))]


def in_triples(net: nn.Module) -> Callable[[np.ndarray], dict]:
    """Scores of triples: their modes are numbers of three digits, as the classifier reads them."""

    def score(x: np.ndarray) -> dict:
        read = mnist_quality.probabilities(net, x.reshape(-1, 28, 28)).argmax(1).reshape(-1, 3)
        captured, kl, _ = coverage(read @ np.array([100, 10, 1]), 1000)
        return {"modes": captured, "reverse KL": kl}

    return score


def trial(world: str, data: list[str], score: Callable, row: str, seed: int, length: list[str]) -> dict:
    """One run of one row with --minutes or --steps, and what its samples score."""
    method, settings, _ = TABLES[world].rows[row]
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder) / "run"
        words = [sys.executable, "-m", "ludus", "train", method, *data, *length, "--seed", str(seed), "--run", str(run)]
        words += [word for setting in settings for word in ("--set", setting)]
        done = subprocess.run(words, env={**os.environ, "OMP_NUM_THREADS": "1"}, capture_output=True, text=True)
        if done.returncode:
            found = {"failed": done.stderr.splitlines()[-1]}
        else:
            trained = ludus.load(run)
            found = {"turns": trained.turn, **score(trained.sample(TABLES[world].samples))}
    found = {"row": row, "seed": seed, **found}
    print(json.dumps(found), file=sys.stderr, flush=True)
    return found


def summary(world: str, row: str, trials: list[dict]) -> dict:
    """Mean ± standard error over the seeds, the published numbers, and which bars the means meet."""
    good = [t for t in trials if "failed" not in t]
    out = {"row": row, "seeds": len(trials), "failed": len(trials) - len(good)}
    for name in [key for key in good[0] if key not in ("row", "seed")] if good else ():
        values = np.array([t[name] for t in good], float)
        error = round(values.std(ddof=1) / math.sqrt(len(values)), 4) if len(values) > 1 else None
        out[name] = [round(float(values.mean()), 4), error]
    out["published"] = TABLES[world].rows[row][2]
    means = {name: value[0] for name, value in out.items() if isinstance(value, list)}
    out["met"] = [name for name, bar in TABLES[world].bars.items() if means and bar.met(means)]
    return out


def table(world: str, rows: list[str], seeds: int, length: list[str], jobs: int) -> dict:
    """All trials of a table, `jobs` at a time."""
    with tempfile.TemporaryDirectory() as folder:
        calibration = {}
        if world == "stacked":
            net, accuracy = mnist_quality.classifier(epochs=6)
            data, score = ["--data", f"{folder}/stacked.npy", "--channels", "first"], in_triples(net)
            np.save(f"{folder}/stacked.npy", stacked("mnist", 100_000))
            calibration = {"classifier %": 100 * accuracy} | score(stacked("mnist:test", TABLES[world].samples))
            print(f"calibration with real triples: {json.dumps(calibration)}", file=sys.stderr)
        else:
            data, score = ["--data", world], in_the_plane(world)
        with ThreadPoolExecutor(jobs) as pool:
            todo = [(row, seed) for seed in range(seeds) for row in rows]
            trials = list(pool.map(lambda job: trial(world, data, score, *job, length), todo))
    lines = [summary(world, row, [t for t in trials if t["row"] == row]) for row in rows]
    return {"calibration": calibration, "table": lines, "trials": trials}


def draw(lines: list[dict]) -> Figure:
    """A panel for each number, a bar for each row, with its standard error."""
    names = [name for name in ("modes", "HQ %", "reverse KL") if name in lines[0]]
    figure = blank(1900, 160 + 90 * len(lines))
    for axes, name in zip(figure.subplots(1, len(names), sharey=True), names):
        means, errors = zip(*(line[name] for line in lines))
        axes.barh([line["row"] for line in lines], means, xerr=[e or 0 for e in errors], color=COLOURS[0], height=0.55)
        styled(axes, name, "", "")
    figure.axes[0].invert_yaxis()
    figure.tight_layout()
    return figure


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("world", choices=list(TABLES))
    budget = parser.add_mutually_exclusive_group(required=True)
    budget.add_argument("--quick", action="store_true")
    budget.add_argument("--full", action="store_true")
    budget.add_argument("--rows", nargs="+")
    cores = len(os.sched_getaffinity(0))
    parser.add_argument("--seeds", type=int)
    parser.add_argument("--minutes", type=float)
    parser.add_argument("--steps", type=int, help="turns of each run, in place of minutes")
    parser.add_argument("--jobs", type=int, default=cores)
    given = parser.parse_args()
    here = TABLES[given.world]
    name = "quick" if given.quick else "full" if given.full else "own"
    rows = {"quick": here.quick, "full": list(here.rows), "own": given.rows}[name]
    if unknown := set(rows) - here.rows.keys():
        parser.error(f"no row {', '.join(unknown)}: there are {', '.join(here.rows)}")
    seeds = given.seeds or (10 if given.full else 3)
    minutes = given.minutes or (20.0 if given.full else 2.5 if given.world == "stacked" else 2.7)
    torch.set_num_threads(1)
    length = ["--steps", str(given.steps)] if given.steps else ["--minutes", str(minutes)]
    found = table(given.world, rows, seeds, length, given.jobs)
    for line in found["table"]:
        print(json.dumps(line))
    accelerator = f", {torch.cuda.get_device_name()}" if torch.cuda.is_available() else ""
    kept = {
        "date": f"{datetime.date.today()}", "command": " ".join(["python", "benchmarks/collapse.py", *sys.argv[1:]]),
        "machine": f"{platform.machine()}, {cores} cores{accelerator}",
        "torch": torch.__version__, length[0].lstrip("-"): float(length[1]), "jobs at a time": given.jobs,
        "protocol": here.protocol, "bars, at least and at most": here.bars, **found,
    }  # fmt: skip
    out = Path(__file__).parent / "results" / f"collapse-{given.world}-{name}.json"
    out.parent.mkdir(exist_ok=True)
    out.write_text(json.dumps(kept, indent=1, ensure_ascii=False) + "\n")
    print(out)
    if name != "own":
        picture = Path(__file__).parents[1] / "docs" / "figures" / f"collapse-{given.world}-{name}.png"
        picture.write_bytes(figures.png(draw(found["table"])))
        print(picture)


if __name__ == "__main__":
    main()
