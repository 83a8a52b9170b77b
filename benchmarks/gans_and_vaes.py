"""The lecture's table "GANs and VAEs", measured: every row of the slide is a column here.

    python benchmarks/gans_and_vaes.py ins         # neutron panels, whose six parameters are known
    python benchmarks/gans_and_vaes.py mnist       # digits: ink, slant, width and height are read off each picture

One data set, one network (`small`, 16 latents), one budget (--minutes, 4 by default, of one thread) for GAN, VAE and
the four ways of joining them. The result is benchmarks/results/gans-and-vaes-DATA.json, with a figure in docs/figures/.

    sharpness      power of the samples above ¼ cycle a pixel, over that of the data
    coverage       share of 2,000 unseen pictures that have a sample nearer than their fifth neighbour among each other,
                   in the first 32 principal components (Naeem et al. 2020, arXiv:2002.09797)
    reconstruction squared error of G(E(x)) over the variance of the data
    factors        R² of the factors of unseen pictures from the latents by a linear map, mean over the factors
    control        one latent moved at a time by ±1 sd: the share of the factors' change that is its largest one's, mean
                   over latents by how much they do; 1 where each moves one factor, 1 / factors where all move alike
    nats           log p(x) a pixel in the data's units where the method has one (1,000 draws, 100 unseen pictures)
    sees data      whether the gradient of generator or decoder depends on x
    ms a turn      with the turns that the budget held
"""

import argparse
import datetime
import json
import os
import platform
import subprocess
import sys
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from ins_vae import pictures, read
from sklearn.decomposition import PCA
from sklearn.linear_model import Ridge
from sklearn.neighbors import NearestNeighbors
from sklearn.neural_network import MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import ludus
from ludus import figures, seeds
from ludus.data.load import load
from ludus.figures.save import COLOURS, blank, styled
from ludus.game import Batch, Encodes, HasLikelihood
from ludus.metrics.sharpness import fine_power

HERE = Path(__file__).parent
METHODS = {"GAN": "gan", "R3GAN": "r3gan", "VAE": "vae", "VAE-GAN": "vae_gan", "AAE": "aae", "BiGAN": "bigan",
           "AVB": "avb"}  # fmt: skip
Factors = Callable[[np.ndarray], np.ndarray]  # pictures (n, H, W) -> (n, K)


def ink_slant_width_height(x: np.ndarray) -> np.ndarray:
    """Mean grey, and from the second moments of the ink about its centre: how rows lean, and two widths."""
    w = np.clip(x, 0, None) + 1e-9
    total = w.sum((1, 2))
    row, column = np.arange(x.shape[1])[:, None], np.arange(x.shape[2])
    r, c = (a - ((w * a).sum((1, 2)) / total)[:, None, None] for a in (row, column))
    rr, cc, rc = ((w * a).sum((1, 2)) / total for a in (r**2, c**2, r * c))
    return np.stack([x.mean((1, 2)), rc / rr, np.sqrt(cc), np.sqrt(rr)], 1)


def fitted(x: np.ndarray, y: np.ndarray) -> Factors:
    """The parameters of neutron pictures, by a network on 64 principal components."""
    net = MLPRegressor(hidden_layer_sizes=(256, 256), early_stopping=True, max_iter=60, random_state=0)
    spread, way = StandardScaler().fit(y), make_pipeline(PCA(64, random_state=0), StandardScaler(), net)
    way.fit(x.reshape(len(x), -1), spread.transform(y))
    return lambda made: spread.inverse_transform(way.predict(made.reshape(len(made), -1)))


def data_of(name: str) -> tuple[str, np.ndarray, np.ndarray, np.ndarray, np.ndarray, Factors]:
    """What `ludus train` reads; pictures to fit on, with factors; 2,000 unseen ones, with factors; how to read them."""
    if name == "mnist":
        x, unseen = (load(part, held_out=0.0) for part in ("mnist", "mnist:test"))
        x, unseen = (part.form.to_user(part.x[:n]) for part, n in ((x, 10_000), (unseen, 2000)))
        return "mnist", x, ink_slant_width_height(x), unseen, ink_slant_width_height(unseen), ink_slant_width_height
    path = pictures(20_000, 0)
    (x, y), (unseen, truth) = read(path), read(pictures(2000, 1))
    x, unseen = x[..., 0], unseen[..., 0]
    return f"{path}:/images", x[:10_000], y[:10_000], unseen, truth, fitted(x, y)


def train(method: str, source: str, minutes: float, folder: str) -> "ludus.Run":
    words = [sys.executable, "-m", "ludus", "train", method, "--data", source, "--run", folder, "--minutes",
             str(minutes), "--set", "prior.dimension=16", "--set", "snapshot.count=0", "--set", "doctor.mode=off",
             "--set", "sampler.batch=128"]  # fmt: skip
    subprocess.run(words, env={**os.environ, "OMP_NUM_THREADS": "1"}, check=True, capture_output=True)
    return ludus.load(folder)


def covered(made: np.ndarray, unseen: np.ndarray, pca: PCA) -> float:
    """Share of the unseen pictures that have a made one nearer than their fifth neighbour."""
    a, b = (pca.transform(x.reshape(len(x), -1)) for x in (unseen, made))
    radius = NearestNeighbors(n_neighbors=6).fit(a).kneighbors(a)[0][:, 5]  # the first is itself
    return float((NearestNeighbors(n_neighbors=1).fit(b).kneighbors(a)[0][:, 0] < radius).mean())


def r2(z: np.ndarray, y: np.ndarray, unseen_z: np.ndarray, truth: np.ndarray) -> float:
    """R² of a linear readout on unseen pictures, mean over the factors."""
    spread = StandardScaler().fit(y)
    way = make_pipeline(StandardScaler(), Ridge(1e-3)).fit(z, spread.transform(y))
    target = spread.transform(truth)
    return float(1 - (((way.predict(unseen_z) - target) ** 2).mean(0) / target.var(0)).mean())


def control(run: "ludus.Run", factors: Factors, scale: np.ndarray) -> float:
    """How far one latent moves one factor."""
    with seeds.measuring(run.game, seed=0):
        z = run.game.prior.sample(100).numpy()
    moved = []
    for j in range(z.shape[1]):
        step = np.eye(z.shape[1], dtype=np.float32)[j]
        low, high = (factors(run.decode(z + s * step).reshape(len(z), *run.form.shape[1:])) for s in (-1, 1))
        moved.append(np.sqrt((((high - low) / scale) ** 2).mean(0)))
    moved = np.array(moved)  # (latents, factors)
    return float(moved.max(1).sum() / moved.sum())


def sees_data(run: "ludus.Run", x: np.ndarray) -> bool:
    """Whether the gradient of the player that owns the generator is another one beside other data."""
    game, rows = run.game, torch.from_numpy(run.form.to_network(x))
    of = getattr(game, "generator", None) or game.decoder
    owner = next(name for name, player in game.players.items() if any(part is of for part in player.owns))
    found = []
    game.requires_grad_(True)
    for part in (rows[:64], rows[64:128]):
        with seeds.forked(torch.device("cpu"), 0), torch.enable_grad():
            loss = game.players[owner].loss(Batch(part)).total
            found.append(torch.autograd.grad(loss, [p for p in of.parameters() if p.requires_grad]))
    game.requires_grad_(False)
    return not all(torch.equal(a, b) for a, b in zip(*found))


def measured(run: "ludus.Run", minutes: float, data: tuple, pca: PCA) -> dict:
    _, x, y, unseen, truth, factors = data
    made = run.sample(10_000, noise=False).reshape(-1, *unseen.shape[1:])
    encodes, has = isinstance(run.game, Encodes), isinstance(run.game, HasLikelihood)
    found = {
        "sharpness": round(float(fine_power(made).mean() / fine_power(unseen).mean()), 3),
        "coverage": round(covered(made, unseen, pca), 3),
        "reconstruction": None, "factors": None,
        "control": round(control(run, factors, y.std(0)), 3),
        "nats": None, "sees data": sees_data(run, _as_given(run, x[:128])),
        "turns": run.turn, "ms a turn": round(6e4 * minutes / run.turn, 1),
    }  # fmt: skip
    if encodes:
        seen, new = _as_given(run, x), _as_given(run, unseen)
        codes = run.encode(new).mean
        again = run.decode(codes).reshape(unseen.shape)
        found["reconstruction"] = round(float(((again - unseen) ** 2).mean() / unseen.var(0).mean()), 4)
        found["factors"] = round(r2(run.encode(seen).mean, y, codes, truth), 3)
    if has:
        nats = run.log_likelihood(_as_given(run, unseen[:100]), draws=1000).value
        found["nats"] = round(float(nats.mean() / unseen[0].size), 3)
    return found


def _as_given(run: "ludus.Run", x: np.ndarray) -> np.ndarray:
    """Pictures (n, H, W) with the user's axes."""
    return x.reshape(len(x), *run.form.to_user(np.zeros((1, *run.form.shape), np.float32)).shape[1:])


def drawn(table: dict, path: Path) -> None:
    """Quality against inference."""
    figure = blank(1000, 700)
    axes = figure.subplots()
    for colour, (name, row) in zip(COLOURS, table.items()):
        at = row["factors"] if row["factors"] is not None else 0.0
        axes.plot(at, row["coverage"], "o" if row["factors"] is not None else "^", color=colour, ms=7)
        axes.annotate(name, (at, row["coverage"]), xytext=(6, 4), textcoords="offset points", fontsize=8)
    styled(axes, "quality against inference", "factors from the latents, R² (triangles: no encoder)", "coverage")
    path.write_bytes(figures.png(figure))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", choices=["ins", "mnist"])
    parser.add_argument("--minutes", type=float, default=4.0)
    parser.add_argument("--jobs", type=int, default=len(os.sched_getaffinity(0)))
    given = parser.parse_args()
    torch.set_num_threads(1)
    data = data_of(given.data)
    source, x, y, unseen, truth, factors = data
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(given.jobs) as pool:
        runs = list(pool.map(lambda m: train(m, source, given.minutes, f"{folder}/{m}"), METHODS.values()))
    pca = PCA(32, random_state=0).fit(x.reshape(len(x), -1))
    table = {name: measured(run, given.minutes, data, pca) for name, run in zip(METHODS, runs)}
    best = {"coverage": round(covered(x, unseen, pca), 3), "factors, read off unseen pictures": round(
        float(1 - (((factors(unseen) - truth) ** 2).mean(0) / truth.var(0)).mean()), 3)}  # fmt: skip
    drawn(table, HERE.parent / f"docs/figures/gans-and-vaes-{given.data}.png")
    result = {
        "date": f"{datetime.date.today()}", "command": f"python benchmarks/gans_and_vaes.py {' '.join(sys.argv[1:])}",
        "machine": f"{platform.machine()}, {given.jobs} at a time", "torch": torch.__version__,
        "minutes of each training": given.minutes, "of training pictures": best, "table": table,
    }  # fmt: skip
    text = json.dumps(result, indent=1, ensure_ascii=False)
    (HERE / "results" / f"gans-and-vaes-{given.data}.json").write_text(text + "\n")
    print(text)
