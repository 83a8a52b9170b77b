"""How good are samples after how many minutes of two cores? The practical as it is beside `ludus train r3gan`.

    python benchmarks/time_to_quality.py mnist play --keras PYTHON [--minutes 1 2 3 5 10 30] [--seeds 0 1 2]
    python benchmarks/time_to_quality.py mnist play --who ludus --minutes 1 3 5
    python benchmarks/time_to_quality.py mnist table        # or ins: panels of 20×20 of the second practical

`play` trains, one run after the other and nothing beside them, and keeps 10,000 samples of each under runs/; what is
there already is not trained again. The practical is one run, looked at after so many minutes of turns (its clock stands
while it is looked at); `ludus` with its defaults is a run for each, since its annealing ends with its minutes:
`--minutes` of turns and of what watches them. The start is in neither, nor the report with which a run of `ludus` ends.
`ludus` holds a tenth of the training pictures out; the practical trains on all. The practical may choose between the
two modes of its batch norm, for each column and each time anew.

`table` compares the samples with 10,000 unseen pictures, and beside them as many training pictures (the floor), a
Gaussian with mean and covariance of the pixels, and blurred training pictures: where one of those two scores better
than both players, a column says nothing of who is better.

    principal components   Fréchet distance of the first 32 of the training pictures, their variance scaled to 32
    convolutions           the same of 192 features of a network that nobody trained
    classifier             the same of the last layer of a classifier (of digits; of which energy a panel is at)
    told apart             AUC of a classifier two-sample test on the 32 components: ½ is chance
"""

import argparse
import datetime
import json
import os
import platform
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
from scipy.ndimage import gaussian_filter

import ludus
from ludus import figures
from ludus.data.load import load
from ludus.features import classifier, convolutions
from ludus.figures.save import COLOURS, blank, styled
from ludus.metrics.c2st import c2st
from ludus.metrics.frechet import frechet

HERE = Path(__file__).parent
RUNS = HERE.parent / "runs" / "time-to-quality"
ROWS, COMPONENTS = 10_000, 32
MODES = ("practical, of the batch", "practical, running")
COLUMNS = ("principal components", "convolutions", "classifier", "told apart")


def panels(n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Those of n simulated pictures in which something shines, as the practical takes them, and their energies."""
    import h5py

    path = RUNS / f"ins-{n}-{seed}.h5"
    if not path.exists():
        words = ["simulate", "ins", "-n", str(n), "--seed", str(seed), "--out", str(path)]
        subprocess.run([sys.executable, "-m", "ludus", *words], check=True)
    with h5py.File(path) as file:
        x = file["images"][:].reshape(n, 20, 10, 20).transpose(0, 2, 1, 3).reshape(-1, 20, 20)
    kept = x.max((1, 2)) > 0.5
    return 255 * x[kept], np.tile(np.arange(10), n)[kept]


@cache
def data(name: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Training pictures (n, H, W) in [0, 255] in a random order, what each shows, and ROWS unseen pictures."""
    if name == "ins":
        (x, shows), (unseen, _) = panels(20_000, 0), panels(2000, 1)
    else:
        train, test = load("mnist", "mnist:label", held_out=0.0), load("mnist:test", held_out=0.0)
        x, shows, unseen = train.form.to_user(train.x), train.c.argmax(1), test.form.to_user(test.x)
    draws = np.random.default_rng(0)
    order = draws.permutation(len(x))
    return np.asarray(x[order], np.float32), shows[order], np.asarray(draws.permutation(unseen)[:ROWS], np.float32)


# Training


def play(name: str, who: list[str], minutes: list[float], seeds: list[int], keras: str | None) -> None:
    folder = RUNS / name
    folder.mkdir(parents=True, exist_ok=True)
    np.save(folder / "x.npy", data(name)[0])
    for seed in seeds:
        if "practical" in who:
            practical(folder, seed, minutes, keras)
        for m in minutes if "ludus" in who else []:
            if not (folder / f"ludus-{seed}-{m:g}.json").exists():
                ours(folder, seed, m)


def practical(folder: Path, seed: int, minutes: list[float], keras: str | None) -> None:
    if all((folder / f"{mode}-{seed}-{m:g}.json").exists() for mode in MODES for m in minutes):
        return
    if not keras:
        raise SystemExit("--keras PYTHON, which has tensorflow, plays the practical; or leave it out: --who ludus")
    words = [keras, str(HERE / "peers" / "practical.py"), str(folder / "x.npy"), str(folder), str(seed), str(ROWS)]
    subprocess.run([*words, *(f"{m:g}" for m in minutes)], check=True)


def ours(folder: Path, seed: int, minutes: float) -> None:
    run, began = folder / f"run-{seed}-{minutes:g}", time.perf_counter()
    shutil.rmtree(run, ignore_errors=True)  # one that was stopped
    words = ["train", "r3gan", "--data", str(folder / "x.npy"), "--minutes", f"{minutes:g}", "--seed", str(seed)]
    subprocess.run([sys.executable, "-m", "ludus", *words, "--run", str(run)], check=True)
    about = {"minutes": minutes, "seconds of the command": time.perf_counter() - began}
    trained = ludus.load(run)
    np.save(folder / f"ludus-{seed}-{minutes:g}.npy", trained.sample(ROWS))
    (folder / f"ludus-{seed}-{minutes:g}.json").write_text(json.dumps(about | {"turns": trained.turn}))


# What is measured


def components(x: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    """Pictures (n, H, W) -> the first 32 principal components of x, whose variance in x is 32 in all."""
    flat = x.reshape(len(x), -1)
    middle = flat.mean(0)
    values, vectors = np.linalg.eigh(np.cov((flat - middle).T))
    axes = vectors[:, : -COMPONENTS - 1 : -1] * np.sqrt(COMPONENTS / values[-COMPONENTS:].sum())
    return lambda each: (each.reshape(len(each), -1) - middle) @ axes


def measures(name: str) -> Callable[[np.ndarray], dict[str, float]]:
    """Pictures (n, H, W) -> each column of the table."""
    x, shows, unseen = data(name)
    looks = {
        "principal components": components(x),
        "convolutions": convolutions.fit(x[:ROWS, ..., None]),
        "classifier": (known := classifier.fit(x[..., None], shows)).features,
    }
    looks |= {look: (lambda each, of=looks[look]: of(each[..., None])) for look in ("convolutions", "classifier")}
    real = {look: of(unseen) for look, of in looks.items()}
    print(f"the classifier is right in {known.accuracy:.1%} of unseen pictures")

    def found(pictures: np.ndarray) -> dict[str, float]:
        mine = {look: of(pictures) for look, of in looks.items()}
        row = {look: frechet(real[look], mine[look]) for look in looks}
        return row | {"told apart": c2st(real[COLUMNS[0]], mine[COLUMNS[0]]).auc.value}

    return found


def references(name: str) -> dict[str, np.ndarray]:
    x, _, _ = data(name)
    some, flat = x[:ROWS], x.reshape(len(x), -1).astype(float)
    drawn = np.random.default_rng(0).multivariate_normal(flat.mean(0), np.cov(flat.T), ROWS, method="eigh")
    gaussian = drawn.clip(0, 255).reshape(ROWS, *x.shape[1:])
    return {"training pictures": some, "Gaussian pixels": gaussian, "blurred": gaussian_filter(some, (0, 1, 1))}


def told(path: Path) -> tuple[str, int, float]:
    """Who made the samples of a file, with which seed, in how many minutes."""
    who, seed, minutes = path.stem.rsplit("-", 2)
    return who, int(seed), float(minutes)


def result(name: str) -> Path:
    return HERE / "results" / f"time-to-quality-{name}.json"


def measured_before(name: str, real: list[dict]) -> dict[tuple[str, int, float], dict]:
    """Rows of the table as it was, whose samples may be gone; none where the references are not as they were."""
    kept = json.loads(result(name).read_text())["rows"] if result(name).exists() else []
    numbers = [[[row[column] for column in COLUMNS] for row in rows] for rows in (kept[: len(real)], real)]
    if not kept or not np.allclose(*numbers, rtol=0.01):
        return {}
    return {(row["who"], row["seed"], row["minutes"]): row for row in kept[len(real) :]}


def table(name: str) -> dict:
    of = measures(name)
    real = [{"who": who} | of(pictures) for who, pictures in references(name).items()]
    rows = measured_before(name, real)
    for about in (RUNS / name).glob("*.json"):
        who, seed, minutes = key = told(about)
        row = {"who": who, "minutes": minutes, "seed": seed, "turns": json.loads(about.read_text())["turns"]}
        rows[key] = row | of(np.load(about.with_suffix(".npy")))
        print(rows[key], flush=True)
    return {
        "date": f"{datetime.date.today()}", "command": f"python benchmarks/time_to_quality.py {name} table",
        "machine": platform.machine(), "cores": len(os.sched_getaffinity(0)),
        "rows": [*real, *(rows[key] for key in sorted(rows))],
    }  # fmt: skip


def curve(rows: list[dict], who: str, column: str) -> dict[float, tuple[float, float, int]]:
    """Minutes -> mean over seeds, their sd, their number; of the practical the mode that is better there."""
    if who == "practical":
        both = [curve(rows, mode, column) for mode in MODES]
        return {m: min(each[m] for each in both if m in each) for m in sorted({m for each in both for m in each})}
    found = {}
    for m in sorted({row["minutes"] for row in rows if row["who"] == who}):
        values = [row[column] for row in rows if row["who"] == who and row["minutes"] == m]
        found[m] = (float(np.mean(values)), float(np.std(values, ddof=1)) if len(values) > 1 else 0.0, len(values))
    return found


def drawn(name: str, rows: list[dict]) -> None:
    """Each column against minutes."""
    figure = blank(1500, 1000)
    for axes, column in zip(figure.subplots(2, 2).flat, COLUMNS):
        for colour, who in zip(COLOURS, ("ludus", "practical")):
            if not (at := curve(rows, who, column)):
                continue
            mean, sd, _ = zip(*at.values())
            axes.errorbar(list(at), mean, sd, color=colour, marker="o", ms=3, lw=1, label=who)
        for style, row in zip((":", "--", "-."), rows):
            axes.axhline(row[column], color=COLOURS[-1], ls=style, lw=1, label=row["who"])
        axes.set_xscale("log")
        if column != "told apart":
            axes.set_yscale("log")
        axes.minorticks_off()
        axes.set_xticks([1, 2, 3, 5, 10, 30], ["1", "2", "3", "5", "10", "30"])
        height = "AUC" if column == "told apart" else "Fréchet distance"
        styled(axes, column, "minutes of two cores", height)
    figure.axes[3].legend(fontsize=6, frameon=False, loc="center right")
    figure.tight_layout()
    (HERE.parent / f"docs/figures/time-to-quality-{name}.png").write_bytes(figures.png(figure))


def samples(name: str, rows: list[dict]) -> None:
    """The first 49 samples of the first seed: `ludus` after its shortest time, the practical after its longest and
    in the mode of its batch norm in which it was trained. The picture stays as it is where these are not here."""
    pictures = {"unseen": data(name)[2][:49]}
    for who, sign in (("ludus", 1), (MODES[0], -1)):
        played = [(sign * row["minutes"], row["seed"]) for row in rows if row["who"] == who]
        if played:
            m, seed = abs(min(played)[0]), min(played)[1]
            if not (path := RUNS / name / f"{who}-{seed}-{m:g}.npy").exists():
                return
            pictures[f"{who.partition(',')[0]}, {m:g} minute{'s' * (m != 1)}"] = np.load(path)[:49]
    figure = figures.side_by_side(pictures, (0, 255))
    (HERE.parent / f"docs/figures/time-to-quality-{name}-samples.png").write_bytes(figures.png(figure))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", choices=["mnist", "ins"])
    parser.add_argument("what", choices=["play", "table"])
    parser.add_argument("--who", nargs="+", choices=["practical", "ludus"], default=["practical", "ludus"])
    parser.add_argument("--keras", help="a Python that has tensorflow, for the practical")
    parser.add_argument("--minutes", type=float, nargs="+", default=[1.0, 2.0, 3.0, 5.0, 10.0, 30.0])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    given = parser.parse_args()
    if given.what == "play":
        play(given.data, given.who, given.minutes, given.seeds, given.keras)
        return
    found = table(given.data)
    text = json.dumps(found, indent=1, ensure_ascii=False)
    result(given.data).write_text(text + "\n")
    drawn(given.data, found["rows"])
    samples(given.data, found["rows"])


if __name__ == "__main__":
    main()
