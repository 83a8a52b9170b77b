"""The six exchange parameters behind a noisy neutron picture: is a posterior right, how wide is it, what does it cost?

    python benchmarks/ins_posterior.py compare       # VAE, AVB, BiGAN and a plain flow, calibrated or not; a global fit
    python benchmarks/ins_posterior.py model         # dimer or Goodenough, with a probability
    python benchmarks/ins_posterior.py measured      # the published measurement, by the instrument's own pictures

20×200 pictures with 50 counts in the brightest pixel. A network reads six numbers from each picture, s(x) ≈ E[θ | x],
and every model learns p(θ | s(x)) from the same 10,000 pairs that the network has not seen: what differs is the model.
Files are kept under runs/; results in benchmarks/results/ins-posterior-*.json. --minutes is each training's, with one
thread (3 by default).
"""

import argparse
import datetime
import json
import platform
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import h5py
import ins_published
import numpy as np
import torch
from ins_vae import NAMES, pictures, read
from sklearn.linear_model import LogisticRegressionCV, RidgeCV
from torch import Tensor, nn
from zuko.flows import NSF

import ludus
from ludus import recipe as recipes
from ludus.inference import calibration
from ludus.inference.fit_ins import fit
from ludus.metrics.labels import judged
from ludus.worlds import spin_wave
from ludus.worlds.ins import Ins

COUNTS, CASES, DRAWS = 50, 500, 199
RESULTS, RUNS = Path(__file__).parent / "results", Path("runs")
MODELS = {
    "vae": ("prior.dimension=6", "decoder.sigma=predicted", "decoder.width=256", "encoder.width=256"),
    "avb": ("prior.dimension=6", "decoder.sigma=predicted", "decoder.width=256", "encoder.width=256"),
    "bigan": ("prior.dimension=6", "generator.width=256", "discriminator.width=256"),
}


def noisy(x: np.ndarray, seed: int) -> np.ndarray:
    """√counts: Poisson's noise of sd ½ in each pixel, whatever its height."""
    return np.sqrt(np.random.default_rng(seed).poisson(COUNTS * x.reshape(len(x), -1))).astype(np.float32)


def network(width: int, numbers: int) -> nn.Sequential:
    return nn.Sequential(nn.LazyLinear(width), nn.LeakyReLU(0.1), nn.Linear(width, width), nn.LeakyReLU(0.1),
                         nn.Linear(width, width), nn.LeakyReLU(0.1), nn.Linear(width, numbers))  # fmt: skip


def descend(parameters, loss, minutes: float, rate: float = 1e-3) -> int:
    """Adam on loss(turn's generator) for so many minutes, the rate along half a cosine; the number of turns."""
    adam, began, turns = torch.optim.Adam(parameters, rate), time.monotonic(), 0
    draws = torch.Generator().manual_seed(0)
    while (gone := (time.monotonic() - began) / (60 * minutes)) < 1:
        adam.param_groups[0]["lr"] = rate * (1 + np.cos(np.pi * gone)) / 2
        adam.zero_grad()
        loss(draws).backward()
        adam.step()
        turns += 1
    return turns


class Scaled:
    """θ in units of the prior: mean 0, sd 1."""

    def __init__(self, theta: np.ndarray):
        self.mean, self.sd = theta.mean(0), theta.std(0)

    def __call__(self, theta: np.ndarray) -> Tensor:
        return torch.from_numpy(((theta - self.mean) / self.sd).astype(np.float32))


def summary(x: np.ndarray, theta: Tensor, minutes: float) -> nn.Module:
    """x noise-free pictures -> s, six numbers, by least squares on pictures whose counts are drawn anew each time."""
    torch.manual_seed(0)
    net, bright = network(512, 6), torch.from_numpy(x.reshape(len(x), -1))

    def loss(draws):
        rows = torch.randint(len(x), (128,), generator=draws)
        counted = torch.poisson(COUNTS * bright[rows], generator=draws).sqrt()
        return (net(counted) - theta[rows]).square().sum(1).mean()

    net(torch.zeros(2, bright.shape[1]))
    descend(net.parameters(), loss, minutes)
    return net.eval()


def score(name: str, truth: np.ndarray, draws: np.ndarray, found: calibration.Checks, scaled: Scaled) -> dict:
    """What a posterior is worth on unseen pictures; errors in units of the prior's sd."""
    verdict = calibration.verdict(found, list(NAMES))
    off = (draws.mean(0) - truth) / scaled.sd
    half = np.abs(draws[: len(draws) // 2] - draws[len(draws) // 2 : 2 * (len(draws) // 2)]).mean(0)
    crps = (np.abs(draws - truth).mean(0) - half / 2) / scaled.sd
    each = lambda a: [round(float(v), 3) for v in a]  # noqa: E731
    print(name, verdict)
    return {
        "verdict": verdict._asdict(), "spread of z-scores (1 is right)": each(found.spread),
        "bias of z-scores (0 is right)": each(found.bias), "contraction": each(found.contraction),
        "error of the mean, rms": each((off**2).mean(0) ** 0.5), "CRPS, mean over all": round(float(crps.mean()), 4),
    }  # fmt: skip


def posterior(method: str, theta: np.ndarray, s: np.ndarray, minutes: float) -> "ludus.Run":
    """A run on the parameters as points, told what was read from the picture."""
    settings = dict(recipes.parse(word) for word in MODELS[method]) | {"snapshot.count": 0, "doctor.mode": "off"}
    with tempfile.TemporaryDirectory() as folder:
        return ludus.train(method, theta, condition=s, minutes=minutes, run=f"{folder}/run", settings=settings)


def flow(theta: Tensor, s: Tensor, minutes: float) -> NSF:
    """A neural spline flow q(θ | s) by maximum likelihood (Durkan et al. 2019), the yardstick."""
    torch.manual_seed(0)
    q = NSF(6, 6, transforms=3, hidden_features=(64, 64))

    def loss(draws):
        rows = torch.randint(len(theta), (256,), generator=draws)
        return -q(s[rows]).log_prob(theta[rows]).mean()

    descend(q.parameters(), loss, minutes)
    return q.eval()


@torch.no_grad()
def compare(minutes: float) -> dict:
    """500 unseen pictures, 199 draws each. The verdict is `ludus calibrate`'s: 5 % over all its tests together."""
    (x, theta), (unseen, truth) = read(pictures(20_000, 0)), read(pictures(2000, 1))
    scaled, truth = Scaled(theta[:10_000]), truth[:CASES]
    with torch.enable_grad():
        net = summary(x[:10_000], scaled(theta[:10_000]), minutes)
    s, s_unseen = (net(torch.from_numpy(noisy(a, seed))).numpy() for a, seed in ((x[10_000:], 2), (unseen[:CASES], 3)))
    theta, found, seconds = theta[10_000:], {}, {}
    r2 = 1 - ((s_unseen - scaled(truth).numpy()) ** 2).mean(0) / scaled(truth).numpy().var(0)
    total = 2 * DRAWS
    for name in MODELS:
        with torch.enable_grad():
            run = posterior(name, theta, s, minutes)
        began = time.monotonic()
        draws = run.sample(total * CASES, np.tile(s_unseen, (total, 1))).reshape(total, CASES, 6)
        seconds[name] = (time.monotonic() - began) / CASES
        found[name] = (draws, f"{run.turn:,} turns")
    with torch.enable_grad():
        q = flow(scaled(theta), torch.from_numpy(s), minutes)
    began = time.monotonic()
    draws = q(torch.from_numpy(s_unseen)).sample((total,)).numpy() * scaled.sd + scaled.mean
    seconds["flow"], found["flow"] = (time.monotonic() - began) / CASES, (draws, "")
    rows = {}
    for name, (draws, turns) in found.items():
        checks = calibration.checks(truth, draws[:DRAWS], draws[DRAWS:].mean(0), s_unseen)
        rows[name] = score(name, truth, draws, checks, scaled) | {
            "seconds a picture, 398 draws": round(seconds[name], 4), "turns": turns,
        }  # fmt: skip
    told = {"R² of what is read from a picture": [round(float(r), 3) for r in r2]}
    return {"parameters": NAMES, **told, "found": rows, "global fit": by_fit(unseen, truth, found["flow"][0], scaled)}


def by_fit(unseen: np.ndarray, truth: np.ndarray, draws: np.ndarray, scaled: Scaled, n: int = 6) -> dict:
    """`ludus fit ins` on a few of the same noisy pictures: its errors beside those of the flow's mean on them."""
    fits, began = [], time.monotonic()
    for i in range(n):
        counted = np.square(noisy(unseen[i : i + 1], 3)).reshape(20, 200)
        best = fit(counted, 0, Ins())[0]
        fits.append(best.parameters.numpy() if best.model == "goodenough" else np.full(6, np.nan))
    seconds = (time.monotonic() - began) / n
    off = lambda a: [round(float(v), 3) for v in np.nanmean(np.square((a - truth[:n]) / scaled.sd), 0) ** 0.5]  # noqa
    return {"pictures": n, "said goodenough": int(np.isfinite(fits).all(1).sum()),
            "seconds a picture": round(seconds, 1), "error of the fit, rms": off(np.array(fits)),
            "error of the flow's mean on them, rms": off(draws[:, :n].mean(0))}  # fmt: skip


# Which of the two models


def both(n: int, seed: int, mode: str = "practical") -> Path:
    """A file of n pictures of either model, simulated if it is not there yet."""
    path = RUNS / f"ins-{mode}-{n}-{seed}.h5"
    RUNS.mkdir(exist_ok=True)
    if not path.exists():
        words = [sys.executable, "-m", "ludus", "simulate", "ins", "-n", str(n), "--seed", str(seed), "--mode", mode]
        subprocess.run([*words, "--out", str(path)], check=True)
    return path


def labelled(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Pictures, flat, and 1 where they are of the Goodenough model."""
    with h5py.File(path) as file:
        return file["images"][:].reshape(len(file["images"]), -1), file["labels"][:].argmax(1)


def model(minutes: float) -> dict:
    """Dimer or Goodenough from a noisy picture: a network by cross-entropy on 10,000 pictures whose counts are drawn
    anew each time, 2,000 others to judge it; the same by `ludus train ssgan` from 200 labels beside 9,800 pictures
    without one."""
    (x, y), (unseen, truth) = labelled(both(10_000, 5)), labelled(both(2000, 6))
    torch.manual_seed(0)
    net, bright, goal = network(512, 2), torch.from_numpy(x), torch.from_numpy(y)
    net(torch.zeros(2, x.shape[1]))

    def loss(draws):
        rows = torch.randint(len(x), (128,), generator=draws)
        counted = torch.poisson(COUNTS * bright[rows], generator=draws).sqrt()
        return nn.functional.cross_entropy(net(counted), goal[rows])

    turns = descend(net.parameters(), loss, minutes)
    seen = noisy(unseen, 3)
    with torch.no_grad():
        found = {"network, all labels": judged(net(torch.from_numpy(seen)).softmax(1).numpy(), truth)._asdict()}
    few = np.where(np.arange(len(y)) < 200, y, np.nan)  # the rows stand in no order
    settings = {"data.condition_kind": "classes", "snapshot.count": 0, "doctor.mode": "off", "data.held_out": 0.0}
    with tempfile.TemporaryDirectory() as folder:
        run = ludus.train("ssgan", noisy(x, 2).reshape(-1, 20, 200), condition=few, network="mlp", minutes=minutes,
                          run=f"{folder}/run", settings=settings)  # fmt: skip
        p = run.label(seen.reshape(-1, 20, 200)).probabilities
        found["ssgan, 200 labels"] = judged(p, truth)._asdict()
    return {"turns": {"network": turns, "ssgan": run.turn}, "found": found}


# The measurement


def pooled(x: np.ndarray, seen: np.ndarray) -> np.ndarray:
    """(n, 240, 400) -> means over the detector's part of 8×8 blocks, over their root mean square: features without a
    scale."""
    blocks = lambda a: a.reshape(-1, 30, 8, 50, 8).sum((2, 4))  # noqa: E731
    share = blocks(seen[None].astype(float))[0]
    means = blocks(x * seen)[:, share > 16] / share[share > 16]
    return (means / np.sqrt((means**2).mean(1, keepdims=True))).astype(np.float32)


def published() -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Pictures (1, 240, 400) by name, and where the detector sees."""
    file = ins_published.read("published_spectra.npz")
    seen = ~file["detector_mask_flipped"] & np.isfinite(file["measured"])
    clipped = np.clip(np.nan_to_num(file["measured"]), 0, 30)
    shown = {"published simulation, goodenough": file["simulated_goodenough"], "measured": clipped,
             "other magnets": file["other_magnets"]}  # fmt: skip
    return {name: each[None] for name, each in shown.items()}, seen


def measured(minutes: float) -> dict:
    """800 pictures of the instrument, without noise, of either model: 640 to learn from, 160 to judge by. Features are
    20 principal components of 8×8 means over the detector, and the distance from their plane. So few pictures allow a
    line and a Gaussian: p(θ | features) by ridge regression for each model with the covariance of what it leaves on the
    unseen pictures, p(model | features) by a logistic line. The measurement is clipped at 30, as it was published;
    other magnets are a composite of other measurements, which nothing here should be believed of."""
    with h5py.File(both(800, 11, "instrument")) as file:
        x, y, theta = file["images"][:, ..., 0], file["labels"][:].argmax(1), file["parameters"][:]
    real, seen = published()
    part = np.arange(len(x)) % 5 < 4
    shown = [pooled(a, seen) for a in (x[part], x[~part], *real.values())]
    features, unseen, *theirs = calibration.features(*shown)
    which = LogisticRegressionCV(cv=5, max_iter=2000).fit(features, y[part])
    p = which.predict_proba(unseen)
    found = {"model, 160 unseen": judged(p, y[~part])._asdict()}
    good, unseen_good = y[part] == 1, y[~part] == 1
    line = RidgeCV(np.logspace(-3, 3, 13)).fit(features[good], theta[part][good])
    left = line.predict(unseen[unseen_good]) - theta[~part][unseen_good]
    found["goodenough, sd of what the line leaves, meV"] = dict(zip(NAMES, left.std(0).round(2).tolist()))
    found["over the prior's"] = dict(zip(NAMES, (left.std(0) / theta[y == 1].std(0)).round(2).tolist()))
    found["fitted to the measurement by its authors"] = dict(zip(NAMES, spin_wave.MODELS["goodenough"].fitted))
    for name, each in zip(real, theirs):
        odd = calibration.conformal(each, features, unseen)
        found[name] = {
            "share of the model's own pictures that are as odd": round(float(odd[0]), 4),
            "P(goodenough), if it is to be believed": round(float(which.predict_proba(each)[0, 1]), 3),
            "mean of θ, the same": dict(zip(NAMES, line.predict(each)[0].round(2).tolist())),
        }
    return found


ROWS = {"compare": compare, "model": model, "measured": measured}

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("row", choices=list(ROWS))
    parser.add_argument("--minutes", type=float, default=3.0)
    given = parser.parse_args()
    torch.set_num_threads(1)
    result = {
        "date": f"{datetime.date.today()}", "command": f"python benchmarks/ins_posterior.py {' '.join(sys.argv[1:])}",
        "machine": platform.machine(), "torch": torch.__version__, "minutes of each training": given.minutes,
        "protocol": ROWS[given.row].__doc__, **ROWS[given.row](given.minutes),
    }  # fmt: skip
    text = json.dumps(result, indent=1, ensure_ascii=False)
    (RESULTS / f"ins-posterior-{given.row}.json").write_text(text + "\n")
    print(text)
