"""VAEs on neutron pictures: do the latents know the magnet, can it be asked for, and what do β and their number do?

    python benchmarks/ins_vae.py readout      # the six exchange parameters from the latents, R² of each
    python benchmarks/ins_vae.py by-hand      # pictures generated for given parameters, beside the simulation's
    python benchmarks/ins_vae.py beta         # sharpness, latents in use and R² against β and the number of latents

Pictures of 20×200 under the Goodenough model (`ludus simulate ins --set model=goodenough`), 20,000 to train on and
2,000 of another seed to look at. Minutes are those of each training, with one thread: 8 for the first two, 2.5 for each
of the twelve of the third, two at a time (--minutes). The files are kept under runs/; results in
benchmarks/results/ins-vae-*.json, figures in docs/figures/.
"""

import argparse
import datetime
import json
import os
import platform
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import h5py
import numpy as np
import torch
from sklearn.linear_model import Ridge
from sklearn.neural_network import MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import ludus
from ludus import figures
from ludus.figures.save import COLOURS, blank, styled
from ludus.metrics.sharpness import fine_power

NAMES = ("JF1", "JA", "JF2", "JF3", "Jperp", "D")
HERE, RUNS = Path(__file__).parent, Path("runs")
# c says all that there is to say: few latents, and a decoder with the depth to follow it
EMULATOR = ["prior.dimension=2", "encoder.name=mlp", "encoder.width=256", "decoder.name=mlp", "decoder.width=512",
            "decoder.depth=4"]  # fmt: skip
BETAS, LATENTS = (0.25, 1.0, 4.0, 16.0), (4, 16, 64)


def pictures(n: int, seed: int) -> Path:
    """A file of n pictures, simulated if it is not there yet."""
    path = RUNS / f"ins-goodenough-{n}-{seed}.h5"
    RUNS.mkdir(exist_ok=True)
    if not path.exists():
        words = [sys.executable, "-m", "ludus", "simulate", "ins", "-n", str(n), "--seed", str(seed)]
        subprocess.run([*words, "--set", "model=goodenough", "--out", str(path)], check=True)
    return path


def read(path: Path) -> tuple[np.ndarray, np.ndarray]:
    with h5py.File(path) as file:
        return file["images"][:], file["parameters"][:]


def train(name: str, minutes: float, *settings: str, condition: bool = False) -> "ludus.Run":
    """The run of that name, trained if it is not there yet."""
    path, data = RUNS / f"ins-{name}", pictures(20_000, 0)
    if not (path / "report.html").exists():
        words = [sys.executable, "-m", "ludus", "train", "vae", "--data", f"{data}:/images", "--run", str(path),
                 "--minutes", str(minutes), "--set", "snapshot.count=0"]  # fmt: skip
        words += ["--condition", f"{data}:/parameters"] if condition else []
        words += [word for setting in settings for word in ("--set", setting)]
        subprocess.run(words, env={**os.environ, "OMP_NUM_THREADS": "1"}, check=True, capture_output=True)
    return ludus.load(path)


def readouts(z: np.ndarray, y: np.ndarray, unseen_z: np.ndarray, unseen_y: np.ndarray) -> dict[str, list[float]]:
    """R² of each parameter on unseen pictures, from their latents, by a line and by a small network."""
    ways = {
        "linear": make_pipeline(StandardScaler(), Ridge(1e-3)),
        "network": make_pipeline(
            StandardScaler(),
            MLPRegressor(hidden_layer_sizes=(128, 128), early_stopping=True, max_iter=200, random_state=0),
        ),
    }
    spread, found = StandardScaler().fit(y), {}
    for name, way in ways.items():
        off = way.fit(z, spread.transform(y)).predict(unseen_z) - spread.transform(unseen_y)
        found[name] = [round(float(r), 3) for r in 1 - (off**2).mean(0) / spread.transform(unseen_y).var(0)]
    return found


def readout(minutes: float) -> dict:
    run = train("vae", minutes, "prior.dimension=32")
    (x, y), (unseen, truth) = read(pictures(20_000, 0)), read(pictures(2000, 1))
    z, unseen_z = run.encode(x).mean, run.encode(unseen).mean
    pixels = readouts(x.reshape(len(x), -1), y, unseen.reshape(len(unseen), -1), truth)
    found = {"turns": run.turn, "parameters": NAMES, **readouts(z, y, unseen_z, truth)}
    return found | {"linear, from the 4,000 pixels": pixels["linear"], "network, from the pixels": pixels["network"]}


def by_hand(minutes: float) -> dict:
    run = train("cvae", minutes, *EMULATOR, condition=True)
    (x, y), (unseen, truth) = read(pictures(20_000, 0)), read(pictures(2000, 1))
    asked = run.decode(np.zeros((len(truth), 2), np.float32), truth)[..., 0]
    unseen, spread = unseen[..., 0], y.std(0)
    nearest = np.array([np.argmin((((y - t) / spread) ** 2).sum(1)) for t in truth])
    agree = lambda made: np.array([np.corrcoef(a.ravel(), b.ravel())[0, 1] for a, b in zip(made, unseen)])  # noqa: E731
    shown = {"simulated": unseen[:6], "generated by the same parameters": asked[:6]}
    (HERE.parent / "docs/figures/ins-cvae.png").write_bytes(figures.png(figures.side_by_side(shown)))
    rows = {"asked for": agree(asked), "nearest of 20,000": agree(x[nearest, ..., 0]), "any other": agree(unseen[::-1])}
    correlations = {name: [round(float(np.quantile(row, q)), 3) for q in (0.1, 0.5, 0.9)] for name, row in rows.items()}
    return {"turns": run.turn, "correlation with the simulation, 10, 50, 90 % of pictures": correlations}


def one_of_many(minutes: float, beta: float, latents: int) -> dict:
    run = train(f"beta{beta:g}-{latents}", minutes, f"prior.dimension={latents}", f"method.beta={beta}")
    (x, y), (unseen, truth) = read(pictures(20_000, 0)), read(pictures(2000, 1))
    q, data = run.encode(unseen), fine_power(unseen[..., 0]).mean()
    again, drawn = run.decode(q.mean)[..., 0], run.sample(2000, noise=False)[..., 0]
    r2 = readouts(run.encode(x[:8000]).mean, y[:8000], q.mean, truth)["network"]
    return {
        "β": beta, "latents": latents, "turns": run.turn, "in use": int((q.mean.var(0) > 0.01).sum()),
        "squared error of a reconstruction over the variance": round(
            float(np.mean((again - unseen[..., 0]) ** 2) / unseen.var()), 4
        ),
        "sharpness of reconstructions": round(float(fine_power(again).mean() / data), 3),
        "sharpness of samples": round(float(fine_power(drawn).mean() / data), 3),
        "R², mean over the parameters": round(float(np.mean(r2)), 3),
    }  # fmt: skip


def beta(minutes: float) -> dict:
    for n, seed in ((20_000, 0), (2000, 1)):
        pictures(n, seed)
    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        rows = list(pool.map(lambda job: one_of_many(minutes, *job), [(b, d) for d in LATENTS for b in BETAS]))
    shown = [key for key in rows[0] if key not in ("β", "latents", "turns")]
    figure = blank(2000, 1100)
    for axes, key in zip(figure.subplots(2, 3).ravel(), shown):
        for colour, d in zip(COLOURS, LATENTS):
            of_d = [row for row in rows if row["latents"] == d]
            drawn = [r["β"] for r in of_d], [r[key] for r in of_d]
            axes.semilogx(*drawn, "o-", color=colour, ms=4, label=f"{d} latents")
        styled(axes, key.replace(" of a reconstruction over the variance", ", reconstructed, over variance"), "β", "")
    figure.axes[0].legend(fontsize=7)
    figure.axes[-1].axis("off")
    figure.tight_layout()
    (HERE.parent / "docs/figures/ins-vae-beta.png").write_bytes(figures.png(figure))
    return {"rows": rows}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["readout", "by-hand", "beta"])
    parser.add_argument("--minutes", type=float)
    given = parser.parse_args()
    torch.set_num_threads(1)
    minutes = given.minutes or (2.5 if given.what == "beta" else 8.0)
    result = {
        "date": f"{datetime.date.today()}", "machine": platform.machine(), "torch": torch.__version__,
        "command": " ".join(["python", "benchmarks/ins_vae.py", *sys.argv[1:]]), "minutes of each training": minutes,
        **{"readout": readout, "by-hand": by_hand, "beta": beta}[given.what](minutes),
    }  # fmt: skip
    text = json.dumps(result, indent=1, ensure_ascii=False)
    (HERE / "results" / f"ins-vae-{given.what}.json").write_text(text + "\n")
    print(text)
