"""infoGAN and icGAN against labels and factors that are known; what the papers print stands beside ours.

    python benchmarks/control.py infogan [--full]    # does a category find the ten digits by itself?
    python benchmarks/control.py icgan               # labels of MNIST, z of generated digits, edits and what else moves

--minutes is each training's, with one thread (12 by default); --full is the paper's: 5,000 turns of the whole networks,
five seeds, for a GPU. The result is benchmarks/results/control-ROW.json or control-ROW-full.json, the figures are in
docs/figures/.
"""

import argparse
import datetime
import json
import platform
import sys
import tempfile
from pathlib import Path

import mnist_quality
import numpy as np
import torch
from inference import RESULTS, mnist
from torch import Tensor, nn

import ludus
from ludus import figures, session
from ludus.metrics import matching

FIGURES = Path(__file__).parents[1] / "docs" / "figures"
FACTORS = ("column", "row", "width", "brightness")  # of a spot on a detector
QUICK = {"doctor.mode": "off", "snapshot.count": 0}


# infoGAN on MNIST (Chen et al. 2016, section 7.2)


class Features(nn.Sequential):
    def forward(self, x: Tensor, c: Tensor | None = None) -> Tensor:
        return super().forward(x)


def started(module: nn.Module) -> None:
    """Weights N(0, 0.02), biases 0, as the authors have it."""
    if isinstance(module, (nn.Linear, nn.Conv2d, nn.ConvTranspose2d)):
        nn.init.normal_(module.weight, std=0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)


class PaperGenerator(nn.Module):
    """Dense 1024 and 7×7×128, two transposed convolutions, batch norm: the paper's, in a range of [-1, 1]."""

    def __init__(self, latent: int, share: float):
        super().__init__()
        wide, maps, few = (int(share * n) for n in (1024, 128, 64))
        self.body = nn.Sequential(
            nn.Linear(latent, wide, bias=False), nn.BatchNorm1d(wide), nn.ReLU(),
            nn.Linear(wide, 49 * maps, bias=False), nn.BatchNorm1d(49 * maps), nn.ReLU(), nn.Unflatten(1, (maps, 7, 7)),
            nn.ConvTranspose2d(maps, few, 4, 2, 1, bias=False), nn.BatchNorm2d(few), nn.ReLU(),
            nn.ConvTranspose2d(few, 1, 4, 2, 1), nn.Tanh(),
        ).apply(started)  # fmt: skip

    def forward(self, z: Tensor, c: Tensor | None = None) -> Tensor:
        return self.body(z)


class PaperDiscriminator(nn.Module):
    """Two convolutions, dense 1024, batch norm, leaky ReLU 0.1."""

    def __init__(self, share: float):
        super().__init__()
        wide, maps, few = (int(share * n) for n in (1024, 128, 64))
        self.features = Features(
            nn.Conv2d(1, few, 4, 2, 1), nn.LeakyReLU(0.1), nn.Conv2d(few, maps, 4, 2, 1, bias=False),
            nn.BatchNorm2d(maps), nn.LeakyReLU(0.1), nn.Flatten(), nn.Linear(49 * maps, wide, bias=False),
            nn.BatchNorm1d(wide), nn.LeakyReLU(0.1),
        ).apply(started)  # fmt: skip
        self.head = nn.Linear(wide, 1).apply(started)

    def forward(self, x: Tensor, c: Tensor | None = None) -> Tensor:
        return self.head(self.features(x)).squeeze(1)


def infogan(minutes: float, full: bool) -> dict:
    """The category of Q against the labels of 10,000 test digits, matched one to one. The paper's networks, at half
    their widths unless --full, rates (D 2e-4, G 1e-3) and batch; the minutes given, or 5,000 turns."""
    found = [by_itself(seed, minutes, full) for seed in range(5 if full else 1)]
    good = sum(each["category error, %"] <= 5 for each in found)
    return {"found": found, "published": "5 % error (section 7.2)", "bar of --full": "5 % in 3 of 5 seeds",
            "seeds below 5 %": f"{good} of {len(found)}", "spots": values(minutes / 3)}  # fmt: skip


def by_itself(seed: int, minutes: float, full: bool) -> dict:
    """A training, and what its category says of digits; a figure of the first."""
    torch.manual_seed(seed)
    settings = QUICK | {"method.gamma": 0.0, "trainer.lr": 1e-3, "trainer.rates": {"discriminator": 2e-4},
                        "trainer.betas": [0.5, 0.999], "annealing.hold": 1.0}  # fmt: skip
    length = {"steps": 5000} if full else {"minutes": minutes}
    nets = PaperGenerator(74, 1 if full else 0.5), PaperDiscriminator(1 if full else 0.5)
    with tempfile.TemporaryDirectory() as folder:
        run = ludus.train("infogan", "mnist", seed=seed, run=f"{folder}/run", settings=settings,
                          generator=nets[0], discriminator=nets[1], **length)  # fmt: skip
    if not seed:
        frame = session.walk(run, None, None, 10, None, film=False, along=None)[0]
        (FIGURES / "infogan-mnist.png").write_bytes(figures.png(frame))
    return {"seed": seed, "turns": run.turn, **matched(run), **told(run)}


def values(minutes: float) -> dict:
    """Four values and no category on spots, whose column, row, width and brightness are known: rank correlations."""
    spots, _ = spots_of(20_000, 0)
    settings = QUICK | {"prior.categories": [], "prior.values": 4, "prior.noise": 1, "method.gamma": 1.0,
                        "trainer.rates": {"discriminator": 5e-4}, "trainer.betas": [0.5, 0.99],
                        "annealing.hold": 0.5, "annealing.decay": 0.03}  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        run = ludus.train("infogan", spots, network="mlp", minutes=minutes, run=f"{folder}/run", settings=settings)
    x, factors = spots_of(2000, 1)
    found = matching.factors(run.codes(x)["values"], factors)
    best = {FACTORS[j]: round(abs(float(found.correlation[i, j])), 3) for i, j in found.match.items()}
    return {"turns": run.turn, "rank correlations, values by factors": found.correlation.round(2).tolist(),
            "matched": best}  # fmt: skip


def matched(run: "ludus.Run") -> dict:
    """The error of the category as a classifier of the test digits, and its table."""
    x, y = mnist(":test")
    found = matching.classes(run.codes(x)["category 0"].argmax(1), y)
    return {"category error, %": round(100 - 100 * found.accuracy, 2), "standard error": round(100 * found.error, 2),
            "digit of each class": found.match, "classes by digits": found.table.tolist()}  # fmt: skip


@torch.no_grad()
def told(run: "ludus.Run") -> dict:
    """What Q reads in 5,000 generated digits: nats of the category, at most log 10 = 2.303, and R² of the values."""
    torch.manual_seed(0)
    z = run.game.prior.sample(5000)
    _, _, seen = run.game.judged(z, run.game.decode(z), None)
    nats, r2 = (round(float(seen[key]), 3) for key in ("categories", "values"))
    return {"nats of the category": nats, "R² of the values": r2}


# icGAN (Perarnau et al. 2016)


def icgan(minutes: float, full: bool) -> dict:
    """MNIST with its labels: E_y on 10,000 test digits, E_z on generated digits, what a classifier says of edits. Then
    spots on a detector, whose position, width and brightness are measured by moments: the width is the condition and is
    changed, what happens to the rest? `small` networks for digits, `mlp` for spots, the recipe's defaults otherwise."""
    with tempfile.TemporaryDirectory() as folder:
        run = ludus.train("icgan", "mnist", condition="mnist:label", minutes=minutes, run=f"{folder}/digits",
                          settings=QUICK)  # fmt: skip
        spots, factors = spots_of(20_000, 0)
        other = ludus.train("icgan", spots, condition=factors[:, 2], network="mlp", minutes=minutes / 2,
                            run=f"{folder}/spots", settings=QUICK | {"prior.dimension": 3})  # fmt: skip
        return {"MNIST": digits(run), "bar": "E_y ≥ 98 %", "spots": moved(other)}


def digits(run: "ludus.Run") -> dict:
    x, y = mnist(":test")
    right = float((np.asarray(run.label(x).labels).ravel().astype(int) == y).mean())
    asked = np.random.default_rng(0).integers(10, size=2000)
    net, accuracy = mnist_quality.classifier()
    agree = float((mnist_quality.probabilities(net, run.edit(x[:2000], asked)).argmax(1) == asked).mean())
    shown = {"data": x[:9], "reconstructed": run.reconstruct(x[:9])}
    shown |= {f"as {digit}": run.edit(x[:9], digit) for digit in (0, 3, 7)}
    (FIGURES / "icgan-edits.png").write_bytes(figures.png(figures.side_by_side(shown)))
    return {"turns": run.turn, "E_y right, %": round(100 * right, 2), "|z − E_z|² / d (1: useless)": undone(run),
            "a classifier sees the digit asked for, %": round(100 * agree, 1),
            "it is right on data, %": round(100 * accuracy, 2)}  # fmt: skip


@torch.no_grad()
def undone(run: "ludus.Run", n: int = 2000) -> float:
    """E|z − E_z(G(z, c))|² / d on generated data, z ~ N(0, 1)."""
    torch.manual_seed(0)
    c = torch.from_numpy(run.examples["c"])[torch.randint(len(run.examples["c"]), (n,))]
    z = run.game.prior.sample(n)
    return round(float((z - run.game.posterior(run.game.decode(z, c)).mean).square().mean()), 3)


def spots_of(n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Gaussian spots (n, 24, 24), and their column, row, width (pixels) and brightness."""
    draws = np.random.default_rng(seed)
    column, row = draws.uniform(8, 16, (2, n))
    width, bright = draws.uniform(1.2, 3, n), draws.uniform(0.5, 1, n)
    at = np.arange(24)
    across, down = (np.exp(-((at - centre[:, None]) ** 2) / (2 * width[:, None] ** 2)) for centre in (column, row))
    x = bright[:, None, None] * down[:, :, None] * across[:, None, :]
    return x.astype(np.float32), measured(x)


def measured(x: np.ndarray) -> np.ndarray:
    """Column, row, width and peak brightness of spots (n, 24, 24) by their moments, below 20 % of the peak left out."""
    x = np.where(x > 0.2 * x.max((1, 2), keepdims=True), x, 0)
    at, total = np.arange(24), x.sum((1, 2))
    column, row = (x.sum(axis) @ at / total for axis in (1, 2))
    second = (x.sum(1) @ at**2 + x.sum(2) @ at**2) / total - column**2 - row**2
    return np.stack([column, row, np.sqrt(np.maximum(second, 0) / 2), x.max((1, 2))], 1)


def moved(run: "ludus.Run") -> dict:
    """What an edit of the width does: correlation of the width with what was asked, and root mean square changes of all
    factors over their standard deviations: of a reconstruction with the true width, and of an edit against that."""
    x, factors = spots_of(2000, 1)
    asked = factors[np.random.default_rng(2).permutation(len(x)), 2]
    again, edited = measured(run.edit(x, factors[:, 2])), measured(run.edit(x, asked))
    over = lambda a, b: dict(zip(FACTORS,  # noqa: E731
                                 (((a - b) ** 2).mean(0) ** 0.5 / factors.std(0)).round(3).tolist()))  # fmt: skip
    left = float(np.corrcoef(np.asarray(run.label(x).labels).ravel(), factors[:, 2])[0, 1])
    follows = float(np.corrcoef(edited[:, 2], asked)[0, 1])
    return {"turns": run.turn, "width and what was asked, correlation": round(follows, 3),
            "E_y and the width, correlation": round(left, 3), "|z − E_z|² / d (1: useless)": undone(run),
            "reconstruction, moved by": over(again, factors), "edit, moved against it by": over(edited, again),
            "two rows at random, apart by": over(factors, np.roll(factors, 1, 0))}  # fmt: skip


ROWS = {"infogan": infogan, "icgan": icgan}

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("row", choices=list(ROWS))
    parser.add_argument("--minutes", type=float, default=12.0)
    parser.add_argument("--full", action="store_true")
    given = parser.parse_args()
    torch.set_num_threads(1)
    result = {
        "date": f"{datetime.date.today()}", "command": f"python benchmarks/control.py {' '.join(sys.argv[1:])}",
        "machine": platform.machine(), "torch": torch.__version__, "minutes of each training": given.minutes,
        "protocol": ROWS[given.row].__doc__, **ROWS[given.row](given.minutes, given.full),
    }  # fmt: skip
    text = json.dumps(result, indent=1, ensure_ascii=False)
    (RESULTS / f"control-{given.row}{'-full' * given.full}.json").write_text(text + "\n")
    print(text)
