"""Two tasks of the simulation-based inference benchmark: conditional models of points beside sbi's NPE.

    python benchmarks/sbi_tasks.py               # sbi's rows are "not run" where sbi is not installed
    python benchmarks/sbi_tasks.py --minutes 10

Two moons and the Gaussian mixture of Lueckmann et al. 2021 (arXiv:2101.04653; the mixture as sbibm 1.1 has it). θ are
the points and x their condition; all models learn from the same 10,000 simulations. Their posteriors of 10 observations
are judged by C2ST against exact draws. --minutes is the training of each of ours, with one thread (3 by default); sbi
stops by itself. Results in benchmarks/results/sbi-tasks.json, a picture in docs/figures/sbi-two-moons.png.
"""

import argparse
import datetime
import importlib.util
import json
import math
import platform
import sys
import tempfile
import time
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

import ludus
from ludus import figures
from ludus import recipe as recipes
from ludus.calibrate import MIDDLE
from ludus.figures.save import COLOURS, blank, styled
from ludus.inference import calibration

HERE = Path(__file__).parent
SIMULATIONS, OBSERVATIONS, DRAWS = 10_000, 10, 1000
CASES, EACH = 500, 199  # of the verdict: pairs, and draws of each
AXES = ["θ₁", "θ₂"]


# The tasks


class Task(NamedTuple):
    bound: float  # θ ~ U[−bound, bound]²
    simulate: Callable[[np.ndarray, np.random.Generator], np.ndarray]  # θ (n, 2) -> x (n, 2)
    invert: Callable[[np.ndarray, np.random.Generator], np.ndarray]  # x (n, 2) -> θ (n, 2) under a prior without bounds

    def pairs(self, n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
        """θ from the prior, and x."""
        rng = np.random.default_rng(seed)
        theta = rng.uniform(-self.bound, self.bound, (n, 2))
        return theta, self.simulate(theta, rng)

    def posterior(self, x: np.ndarray, draws: int, seed: int) -> np.ndarray:
        """Exact draws (L, n, 2) of the posteriors of x (n, 2): what `invert` gives, again until it is in the box."""
        rng, rows = np.random.default_rng(seed), np.tile(x, (draws, 1))
        theta, todo = np.empty_like(rows), np.arange(len(rows))
        while len(todo):
            theta[todo] = self.invert(rows[todo], rng)
            todo = todo[~self.inside(theta[todo])]
        return theta.reshape(draws, *x.shape)

    def inside(self, theta: np.ndarray) -> np.ndarray:
        return (np.abs(theta) <= self.bound).all(-1)


def moon(n: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    a, r = rng.uniform(-math.pi / 2, math.pi / 2, n), rng.normal(0.1, 0.01, n)
    return r * np.cos(a) + 0.25, r * np.sin(a)


def from_moons(theta: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """x = p + (−|θ₁ + θ₂|, θ₂ − θ₁) / √2."""
    p, q = moon(len(theta), rng)
    return np.stack([p - np.abs(theta.sum(1)) / math.sqrt(2), q + (theta[:, 1] - theta[:, 0]) / math.sqrt(2)], 1)


def to_moons(x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """(θ₁ + θ₂, θ₂ − θ₁) / √2 is a rotation, so that p has its own law given x, and both signs of the sum are as
    probable. Where |θ₁ + θ₂| would be below 0 there is no θ: NaN, which is in no box."""
    p, q = moon(len(x), rng)
    total = np.where(p >= x[:, 0], p - x[:, 0], np.nan) * rng.choice([-1, 1], len(x))
    return np.stack([total - (x[:, 1] - q), total + (x[:, 1] - q)], 1) / math.sqrt(2)


def mixture(centre: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """½ N(centre, 1) + ½ N(centre, 0.1²), which of them drawn for each row; θ and x stand in it alike."""
    return centre + rng.choice([1.0, 0.1], (len(centre), 1)) * rng.normal(size=centre.shape)


TASKS = {"two moons": Task(1.0, from_moons, to_moons), "gaussian mixture": Task(10.0, mixture, mixture)}


# The models

# The best of short trainings (0.5 to 0.7 minutes) on four other observations of two moons; both tasks use them.
MODELS = {
    "vae": ("decoder.sigma=predicted", "decoder.width=256", "encoder.width=256"),
    "avb": ("decoder.sigma=predicted", "decoder.width=256", "encoder.width=256"),
    "bigan": ("prior.dimension=4", "method.gamma=0.005", "discriminator.fine=5.0"),
    "r3gan": ("prior.dimension=4", "discriminator.fine=20.0", "annealing.values={gamma=[0.002,0.0002]}"),
}
TRIED = {  # C2ST of those trainings: kept, then what was tried beside
    "vae": {"kept": 0.674, "and prior.dimension=4": 0.684, "and encoder.posterior=flow": 0.977},
    "avb": {"kept": 0.818, "width 128, discriminator.fine=3": 0.825, "width 128, n_critic=2, lr=0.0005": 0.877},
    "bigan": {"kept": 0.855, "two latents, gamma=0.1, width 256": 0.871, "gamma=0.02, fine=10, tanh, β₁=0": 0.916},
    "r3gan": {"kept": 0.808, "gamma=[0.01, 0.001]": 0.841, "four latents alone": 0.848,
              "fine=5, gamma=[0.002, 0.0001], lr=0.001": 0.896, "four latents alone, on the mixture": 0.626},
}  # fmt: skip
SBI = {"sbi NPE, maf": "maf", "sbi NPE, nsf": "nsf"}  # maf is its default


class Fitted(NamedTuple):
    draw: Callable[[np.ndarray, int], np.ndarray]  # x (n, 2), L -> θ (L, n, 2)
    verdict: calibration.Verdict
    told: dict


def fit(model: str, task: Task, minutes: float) -> Fitted:
    if model == "reference":
        return of_task(task)
    return of_sbi(SBI[model], task) if model in SBI else of_ludus(model, task, minutes)


def of_task(task: Task) -> Fitted:
    """A second set of exact draws."""

    def draw(x: np.ndarray, draws: int) -> np.ndarray:
        return task.posterior(x, draws, 4)

    return Fitted(draw, judged(draw, task), {})


def of_ludus(method: str, task: Task, minutes: float) -> Fitted:
    theta, x = task.pairs(SIMULATIONS, 0)
    settings = dict(recipes.parse(word) for word in MODELS[method]) | {"snapshot.count": 0, "doctor.mode": "off"}
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        run = ludus.train(method, theta, condition=x, minutes=minutes, run=f"{folder}/run", settings=settings)
    seconds = time.monotonic() - began
    verdict = run.calibrate(CASES, EACH, data=task.pairs(CASES, 1)).verdict

    def draw(x: np.ndarray, draws: int) -> np.ndarray:
        return run.sample(draws * len(x), np.tile(x, (draws, 1))).reshape(draws, *x.shape)

    return Fitted(draw, verdict, {"turns": run.turn, "seconds": round(seconds)})


def of_sbi(estimator: str, task: Task) -> Fitted:
    """Neural posterior estimation as sbi has it by default: early stopping, draws outside the prior drawn again."""
    from sbi.inference import NPE
    from sbi.utils import BoxUniform

    torch.manual_seed(0)
    theta, x = (torch.from_numpy(a).float() for a in task.pairs(SIMULATIONS, 0))
    began = time.monotonic()
    trainer = NPE(BoxUniform(-task.bound * torch.ones(2), task.bound * torch.ones(2)), estimator,
                  show_progress_bars=False).append_simulations(theta, x)  # fmt: skip
    trainer.train()
    seconds, posterior = time.monotonic() - began, trainer.build_posterior()

    def draw(x: np.ndarray, draws: int) -> np.ndarray:
        given = torch.from_numpy(x).float()
        return posterior.sample_batched((draws,), given, show_progress_bars=False).numpy()

    told = {"epochs": trainer.summary["epochs_trained"][-1], "seconds": round(seconds)}
    return Fitted(draw, judged(draw, task), told)


def judged(draw: Callable[[np.ndarray, int], np.ndarray], task: Task) -> calibration.Verdict:
    """The verdict of `ludus calibrate` on the same pairs, for draws that are no run's."""
    theta, x = task.pairs(CASES, 1)
    draws = draw(x, EACH + MIDDLE)
    return calibration.verdict(calibration.checks(theta, draws[:EACH], draws[EACH:].mean(0), x), AXES)


# The benchmark


def told_apart(task: Task, name: str, fitted: Fitted, x: np.ndarray, exact: np.ndarray) -> tuple[dict, np.ndarray]:
    """The row of a model, and its draws (L, n, 2)."""
    draws = fitted.draw(x, DRAWS)
    each = [calibration.c2st(exact[:, i], draws[:, i]) for i in range(len(x))]
    row = {
        "C2ST": round(float(np.mean(each)), 3), "se": round(float(np.std(each, ddof=1) / len(each) ** 0.5), 3),
        "of each observation": [round(v, 3) for v in each],
        "draws outside the prior %": round(100 * float(1 - task.inside(draws).mean()), 2),
        "verdict": fitted.verdict._asdict(), **fitted.told,
    }  # fmt: skip
    print(name, row["C2ST"], "±", row["se"], fitted.verdict.word, fitted.told, flush=True)
    return row, draws


def compare(minutes: float) -> dict:
    """C2ST by a random forest, five folds: 1,000 draws of a model against 1,000 of the exact posterior, 10 observations
    from the prior predictive; ½ is perfect. "reference" is a second set of exact draws, the floor. The verdict is
    `ludus calibrate`'s on 500 further pairs, 5 % over all its tests together; that of the reference tests the exact
    sampler itself. sbi's draws are kept in the prior's box, ours are as they come."""
    version = metadata.version("sbi") if importlib.util.find_spec("sbi") else None
    found = {}
    for name, task in TASKS.items():
        x = task.pairs(OBSERVATIONS, 2)[1]
        exact = task.posterior(x, DRAWS, 3)
        rows, shown = {}, {}
        for model in ("reference", *MODELS, *SBI):
            if model in SBI and version is None:
                rows[model] = "not run"
            else:
                fitted = fit(model, task, minutes)
                rows[model], shown[model] = told_apart(task, f"{name}, {model}", fitted, x, exact)
        found[name] = rows
        if name == "two moons":
            picture(exact, shown, rows)
    return {"sbi": version or "not installed", "settings": MODELS, "C2ST of short trainings": TRIED, "found": found}


def picture(exact: np.ndarray, shown: dict[str, np.ndarray], rows: dict, which: int = 0) -> None:
    """A panel for each model: its draws for one observation over the exact ones, and its C2ST there."""
    figure = blank(2000, 1400)
    panels = figure.subplots(2, 3, sharex=True, sharey=True).ravel()
    for axes in panels[len(shown) - 1 :]:
        axes.axis("off")
    truth = exact[:, which]
    for axes, name in zip(panels, [name for name in shown if name != "reference"]):
        axes.plot(*truth.T, ".", color=COLOURS[0], ms=2, mew=0, label="exact")
        axes.plot(*shown[name][:, which].T, ".", color=COLOURS[1], ms=2, mew=0, label="model")
        styled(axes, f"{name}: {rows[name]['of each observation'][which]:.2f}", "", "")
    low, high = truth.min() - 0.15, truth.max() + 0.15
    panels[0].set(xlim=(low, high), ylim=(low, high))
    panels[0].legend(fontsize=7, markerscale=4)
    figure.tight_layout()
    (HERE.parent / "docs/figures/sbi-two-moons.png").write_bytes(figures.png(figure))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=3.0)
    given = parser.parse_args()
    torch.set_num_threads(1)
    result = {
        "date": f"{datetime.date.today()}", "command": " ".join(["python", "benchmarks/sbi_tasks.py", *sys.argv[1:]]),
        "machine": platform.machine(), "torch": torch.__version__, "minutes of each training": given.minutes,
        "protocol": compare.__doc__, **compare(given.minutes),
    }  # fmt: skip
    text = json.dumps(result, indent=1, ensure_ascii=False)
    (HERE / "results" / "sbi-tasks.json").write_text(text + "\n")
    print(text)


if __name__ == "__main__":
    main()
