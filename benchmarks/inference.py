"""Published tables of GANs with encoders, a row at a time; what they print stands beside ours.

    python benchmarks/inference.py four-points      # AVB and VAE on four points: two latents, a known optimum
    python benchmarks/inference.py eight-schools    # AVB alone with a known model: a posterior with two modes
    python benchmarks/inference.py bigan            # BiGAN, its latent regressors, an autoencoder: 1-NN on MNIST
    python benchmarks/inference.py aae              # Parzen windows on MNIST: a regression test, not a quality
    python benchmarks/inference.py petals           # AAE with a place for each class, as a figure
    python benchmarks/inference.py vae-gan          # reconstructions of MNIST: right in pixels, or in features?
    python benchmarks/inference.py labels --minutes 15 --jobs 1    # ssgan: 100 labels among 60,000 digits
    python benchmarks/inference.py paper-labels     # the same by the networks of the paper
    python benchmarks/inference.py avb --full       # MNIST with AIS, 8 and 32 latents, for a GPU

--minutes is each training's (6 by default, with one thread; 600 with --full), --jobs how many run at a time. The
result is benchmarks/results/inference-ROW.json. What differs from the papers is said with each row.
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
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from functools import partial
from itertools import pairwise
from multiprocessing import get_context
from pathlib import Path

import mnist_quality
import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm

import ludus
from ludus import figures
from ludus.callbacks.annealing import Annealing
from ludus.data.load import load
from ludus.data.sampler import Sampler
from ludus.figures.save import blank, styled
from ludus.game import Batch
from ludus.inference.calibration import reconstruction
from ludus.inference.evidence import pareto
from ludus.methods.avb import AVB
from ludus.metrics.labels import calibrated, judged, tempered
from ludus.networks.decoders import Decoder
from ludus.networks.encoders import Encoder
from ludus.networks.labeller import Labeller
from ludus.networks.mlp import MlpDiscriminator
from ludus.networks.priors import Gaussian
from ludus.networks.small import SmallDiscriminator
from ludus.trainer import Trainer

RESULTS = Path(__file__).parent / "results"


def train(method: str, data: str, minutes: float, *settings: str, seed: int = 0) -> tuple["ludus.Run", float]:
    """A run in a process with one thread, loaded, and its milliseconds a turn."""
    with tempfile.TemporaryDirectory() as folder:
        words = [sys.executable, "-m", "ludus", "train", method, "--data", data, "--run", f"{folder}/run", "--seed",
                 str(seed), "--set", "snapshot.count=0", "--set", "doctor.mode=off"]  # fmt: skip
        words += ["--minutes", str(minutes)] if minutes else ["--steps", "1"]
        words += [word for setting in settings for word in ("--set", setting)]
        subprocess.run(words, env={**os.environ, "OMP_NUM_THREADS": "1"}, check=True, capture_output=True)
        run = ludus.load(f"{folder}/run")
        return run, 6e4 * minutes / run.turn


def several(jobs: int, minutes: float, todo: dict[str, tuple]) -> dict:
    """Runs by name, some at a time: (method, data, *settings)."""
    with ThreadPoolExecutor(jobs) as pool:
        runs = pool.map(lambda job: train(job[0], job[1], minutes, *job[2:])[0], todo.values())
        return dict(zip(todo, runs))


def mnist(part: str, n: int | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Digits in [0, 255], (n, 28, 28), and their labels."""
    data = load(f"mnist{part}", "mnist:label", held_out=0.0)
    return data.form.to_user(data.x[:n]), data.c[:n].argmax(1)


# Four points (Mescheder et al. 2017, section 6.1): p(x) is at best ¼ each


def four_points(minutes: float, jobs: int) -> dict:
    """Rows of four one-hot points. Here: adaptive contrast, posterior=noise, batch 256, rate 2e-3, the minutes given;
    the paper: none, noise beside x, batch 512, 2e-5, 100,000 turns. log p(x) by a sum over a grid of z."""
    with tempfile.TemporaryDirectory() as folder:
        np.save(f"{folder}/points.npy", np.eye(4, dtype=np.float32)[np.arange(2048) % 4])
        common = ("decoder.likelihood=bernoulli", "data.scaling=none", "data.held_out=0.0", "sampler.batch=256",
                  "trainer.lr=2e-3", "encoder.basis=8")  # fmt: skip
        todo = {method: (method, f"{folder}/points.npy", *common) for method in ("avb", "vae")}
        runs = several(jobs, minutes, todo)
    found = {name: on_grid(run) | {"turns": run.turn} for name, run in runs.items()}
    over = found["avb"]["log p"] - found["vae"]["log p"]
    bars = {"optimum": round(-math.log(4), 4), "bar": -1.403, "met": found["avb"]["log p"] >= -1.403 and over >= 0.1,
            "goal": -1.390, "goal met": found["avb"]["log p"] >= -1.390}  # fmt: skip
    published = {"avb": {"log p": -1.403, "KL(q(z), p)": 0.026}, "vae": {"log p": -1.568, "KL(q(z), p)": 0.165}}
    return {"found": found, "published, Mescheder 2017, table 1": published, **bars}


@torch.no_grad()
def on_grid(run: "ludus.Run", side: int = 801, far: float = 8.0) -> dict:
    """log p of the four points, by a sum over z, and KL(q(z) ‖ p) by a histogram of 400,000 draws."""
    game, line = run.game.double(), torch.linspace(-far, far, side, dtype=torch.float64)
    z = torch.cartesian_prod(line, line)
    points = torch.eye(4, dtype=torch.float64)
    weights = game.prior.log_prob(z) + 2 * math.log(2 * far / (side - 1))
    logs = torch.stack([(game.likelihood(z).log_prob(x.expand(len(z), 4)) + weights).logsumexp(0) for x in points])
    torch.manual_seed(0)
    codes = torch.cat([game.posterior(points).rsample((5_000,)).flatten(0, 1) for _ in range(20)])
    edges = torch.distributions.Normal(0, 1).icdf(torch.linspace(0, 1, 17, dtype=torch.float64)[1:-1])
    cell = 16 * torch.bucketize(codes[:, 0].contiguous(), edges) + torch.bucketize(codes[:, 1].contiguous(), edges)
    share = torch.bincount(cell, minlength=256).double() / len(codes)  # of cells that hold 1/256 of the prior each
    kl = torch.xlogy(share, 256 * share).sum()
    return {"log p": round(float(logs.mean()), 4), "worst point": round(float(logs.min()), 4),
            "KL(q(z), p), 256 cells": round(float(kl), 4)}  # fmt: skip


# Eight schools: no data but one row, a model that is known, a posterior with two modes

SCHOOLS = [2.8, 0.8, -0.3, 0.7, -0.1, 0.1, 1.8, 1.2]
ERRORS = [0.8, 0.5, 0.8, 0.6, 0.5, 0.6, 0.5, 0.4]


class Schools(nn.Module):
    """θ_j = μ + τ η_j: μ, τ and η_1 … η_8 are N(0, 1), and (τ, η) means the same as (−τ, −η)."""

    def forward(self, z: Tensor, c: Tensor | None = None) -> Tensor:
        return z[:, :1] + z[:, 1:2] * z[:, 2:]


def eight_schools(minutes: float, jobs: int) -> dict:
    """One row of eight numbers. log p(y) = −12.7108 and the moments of τ by quadrature over the plane of (μ, τ).

    The bound is checked without the game's word for it: T and the moments make a density, q_T ∝ r e^T, whose true
    E log p(y, z) − log q_T is estimated with importance weights e^T on draws of r.
    """
    y, errors = np.float32(SCHOOLS), np.float32(ERRORS)
    torch.manual_seed(0)
    encoder = Encoder(MlpDiscriminator((8,), width=64, depth=1), 10, (8,), posterior="noise", basis=4)
    decoder = Decoder(Schools(), (8,), sigma="given", pixels={"sigma": errors})
    game = AVB(encoder, decoder, MlpDiscriminator((8,), 10), Gaussian(dimension=10), n_critic=4)
    batch = Batch(torch.from_numpy(y)[None].repeat(512, 1))
    rates = {"discriminator": 1e-3, "autoencoder": 5e-4}
    trainer = Trainer(game, Sampler(batch.x, batch=512), [Annealing(hold=0.5, decay=0.01)], rates=rates,
                      betas=(0.5, 0.99), steps=round(8000 * minutes))  # fmt: skip
    trainer.run()
    with torch.no_grad():
        found = _schools(game.eval(), batch.x[:1])
    bars = {"bar": -13.40, "goal": -12.9, "best full-rank Gaussian": -13.89, "log p(y)": -12.7108}
    return {"turns": trainer.turn, "seconds": round(trainer.seconds, 1), "found": found, **bars}


def _schools(game: AVB, y: Tensor, n: int = 200_000) -> dict:
    torch.manual_seed(0)
    rows, q = y.expand(n, 8), game.posterior(y)
    r = game.rival(q, q.mean)
    z = r.mean + r.std * torch.randn(n, 10)
    log_q = r.log_prob(z) + game.log_ratio(Batch(rows), (z - r.mean) / r.std)  # not normalised
    logs = log_q - r.log_prob(z)
    log_q, share = log_q - (logs.logsumexp(0) - math.log(n)), logs.softmax(0)
    each = game.likelihood(z).log_prob(rows) + game.prior.log_prob(z) - log_q
    bound = (share * each).sum()
    error = (share.square() * (each - bound).square()).sum().sqrt()
    tau = q.rsample((n,))[:, 0, 1]
    return {
        "bound of q_T": [round(float(bound), 3), round(float(error), 3)],
        "k-hat": round(float(pareto(logs[:, None])), 2),
        "effective draws of 200,000": round(float(1 / share.square().sum())),
        "the game's own estimate": round(float(game.autoencoder_loss(Batch(rows[:20_000])).seen["elbo"]), 3),
        "P(τ > 0)": round(float((tau > 0).float().mean()), 3),
        "E|τ|, sd|τ|": [round(float(tau.abs().mean()), 3), round(float(tau.abs().std()), 3)], "exact": [0.702, 0.360],
    }  # fmt: skip


# BiGAN on MNIST (Donahue et al. 2017, table 1)


def bigan(minutes: float, jobs: int) -> dict:
    """1-NN on the encoder's last features, 60,000 against 10,000 digits, and how far a reconstruction is from its x,
    over that from another x. Here: no batch norm, width 512, the minutes given; the paper: 1024, batch norm, 400
    epochs."""
    nets = [f"{role}.{key}" for role in ("encoder", "generator", "discriminator") for key in ("width=512", "depth=2")]
    names = [f"{role}.name=mlp" for role in ("encoder", "generator", "discriminator")]
    common = (*names, *nets, "prior.name=uniform", "prior.dimension=50", "sampler.batch=128")
    alike = [word.replace("generator", "decoder") for word in (*names, *nets) if "discriminator" not in word]
    todo = {
        "bigan": ("bigan", "mnist", *common),
        "latent regressor": ("latent_regressor", "mnist", *common),
        "joint latent regressor": ("latent_regressor", "mnist", *common, "method.weight=0.25"),
        "autoencoder": ("ae", "mnist", *alike, "prior.dimension=50", "sampler.batch=128"),
    }
    runs = several(jobs, minutes, todo) | {"untrained encoder": train("bigan", "mnist", 0, *common)[0]}
    (x, y), (unseen, truth) = mnist(""), mnist(":test")
    found = {name: _nearest(run, x, y, unseen, truth) for name, run in runs.items()}
    pixels = _one_nn(*(torch.from_numpy(a.reshape(len(a), -1)).float() for a in (x, unseen)), y, truth)
    over = found["bigan"]["1-NN %"] - found["untrained encoder"]["1-NN %"]
    met = found["bigan"]["1-NN %"] >= 96.9 and over > 0 and found["bigan"]["ratio"] < 0.85
    published = {"bigan": 97.39, "latent regressor": 97.44, "joint latent regressor": 97.13, "autoencoder": 97.58,
                 "untrained encoder": 96.84, "EGr / EGr_b": "5.95 / 9.60 = 0.62"}  # fmt: skip
    return {"found": found, "1-NN % of pixels": pixels, "published": published, "met": met,
            "bar": "96.9, above the untrained, 0.85", "goal": "97.4, 0.62"}  # fmt: skip


@torch.no_grad()
def _nearest(run: "ludus.Run", x: np.ndarray, y: np.ndarray, unseen: np.ndarray, truth: np.ndarray) -> dict:
    features = [
        torch.cat([run.game.encoder.features(part) for part in torch.from_numpy(run.form.to_network(a)).split(2000)])
        for a in (x, unseen)
    ]
    off, other = reconstruction(unseen / 255, run.reconstruct(unseen) / 255)
    return {"turns": run.turn, "1-NN %": _one_nn(*features, y, truth), "EGr": round(off, 3),
            "EGr_b": round(other, 3), "ratio": round(off / other, 3)}  # fmt: skip


def _one_nn(x: Tensor, unseen: Tensor, y: np.ndarray, truth: np.ndarray) -> float:
    nearest = torch.cat([torch.cdist(part, x).argmin(1) for part in unseen.split(500)])
    return round(100 * float((y[nearest.numpy()] == truth).mean()), 2)


# AAE on MNIST (Makhzani et al. 2015, table 1)


def aae(minutes: float, jobs: int) -> dict:
    """Parzen windows about 10,000 samples, σ chosen on validation digits (Goodfellow et al. 2014, the authors' script).
    Real digits score 242.5, so more is no better: it catches what breaks. Here: the prior has sd 1 in place of 5."""
    nets = [f"{role}.{key}" for role in ("encoder", "decoder", "discriminator")
            for key in ("name=mlp", "width=1000", "depth=2", "activation=relu")]  # fmt: skip
    run, turn = train("aae", "mnist", minutes, *nets, "prior.dimension=8", "sampler.batch=100")
    samples = run.sample(10_000, noise=False)
    training, _ = mnist("")
    unseen, _ = mnist(":test")
    found = {"samples": parzen(samples, training[-10_000:], unseen), "turns": run.turn, "ms a turn": round(turn, 1),
             "real digits": parzen(training[:10_000], training[-10_000:], unseen)}  # fmt: skip
    published = "340 ± 2 (paper), 345 ± 1.9 (Paddle), 298 ± 1.7 (eriklindernoren's network); real digits 242.5 ± 2.1"
    return {"found": found, "published": published, "bar": 300, "met": found["samples"][0] >= 300}


def parzen(samples: np.ndarray, valid: np.ndarray, unseen: np.ndarray) -> list[float]:
    """Mean log-density of test digits in [0, 1] under Gaussians about the samples, its standard error, and their σ."""
    s, v, t = (torch.from_numpy(a.reshape(len(a), -1)).float() / 255 for a in (samples, valid[:1000], unseen))

    def logs(x: Tensor, sigma: float) -> Tensor:
        far = torch.cat([torch.logsumexp(-(torch.cdist(part, s) ** 2) / (2 * sigma**2), 1) for part in x.split(500)])
        return far - math.log(len(s)) - s.shape[1] * math.log(sigma * math.sqrt(2 * math.pi))

    sigma = max(np.logspace(-1, 0, 10), key=lambda sigma: float(logs(v, sigma).mean()))
    found = logs(t, sigma)
    return [round(float(found.mean()), 1), round(float(found.std() / len(t) ** 0.5), 1), round(float(sigma), 4)]


def petals(minutes: float, jobs: int) -> dict:
    """Codes of 2,000 test digits by an encoder that is not told the class, under a prior with a petal for each."""
    settings = ("data.condition=mnist:label", "prior.name=mixture")
    run, _ = train("aae", "mnist", minutes, *settings)
    x, y = mnist(":test", 2000)
    z = run.encode(x).mean
    petal = np.linalg.norm(z[:, None] - run.game.prior.RADIUS * run.game.prior.outwards.numpy(), axis=2).argmin(1)
    figure = blank(800, 760)
    axes = figure.subplots()
    for digit in range(10):
        axes.plot(*z[y == digit].T, ".", ms=3, color=f"C{digit}", label=str(digit))
    axes.legend(fontsize=7, markerscale=2, ncols=2)
    axes.set_aspect("equal")
    styled(axes, "codes of test digits", "z₁", "z₂")
    (RESULTS.parents[1] / "docs/figures/aae-petals.png").write_bytes(figures.png(figure))
    return {"turns": run.turn, "test digits in the petal of their class %": round(100 * float((petal == y).mean()), 1)}


# VAE-GAN and VAE, as many latents (Larsen et al. 2016 claim it of faces)


def vae_gan(minutes: float, jobs: int) -> dict:
    """Reconstructions of 2,000 test digits: squared error in pixels, and in a classifier's last features, each over
    that from another digit."""
    common = ("prior.dimension=16", "sampler.batch=128")
    runs = several(jobs, minutes, {name: (name, "mnist", *common) for name in ("vae", "vae_gan")})
    net, accuracy = mnist_quality.classifier()
    x, _ = mnist(":test", 2000)
    found = {name: _apart(net, x, run.reconstruct(x)) | {"turns": run.turn} for name, run in runs.items()}
    a, b = found["vae_gan"], found["vae"]
    met = a["features"] < b["features"] and a["pixels"] > b["pixels"]
    return {"found": found, "classifier": accuracy, "bar": "features lower, pixels higher than the VAE's", "met": met}


@torch.no_grad()
def _apart(net: nn.Sequential, x: np.ndarray, again: np.ndarray) -> dict:
    see = lambda a: net[:-2](torch.from_numpy(a).float()[:, None] / 127.5 - 1).numpy()  # noqa: E731
    over = lambda a, b: float(((a - b) ** 2).sum() / ((a - np.roll(a, 1, 0)) ** 2).sum())  # noqa: E731
    return {"pixels": round(over(x, again), 4), "features": round(over(see(x), see(again)), 4)}


# AVB on MNIST (Mescheder et al. 2017, table 2)


def avb(minutes: float, jobs: int) -> dict:
    """log p(x) by AIS beside the game's own estimate, on 1,000 binarised test digits: where they part, it is none."""
    common = ("decoder.likelihood=bernoulli", "sampler.binarise=true", "sampler.batch=128")
    todo = {f"{'AC' if contrast else 'plain'} ({d})": ("avb", "mnist", *common, f"prior.dimension={d}",
                                                      f"method.contrast={str(contrast).lower()}")
            for d, contrast in ((8, True), (8, False), (32, True))}  # fmt: skip
    found = {}
    for name, run in several(jobs, minutes, todo).items():
        grey = mnist(":test", 1000)[0] / 255
        x = 255.0 * (np.random.default_rng(0).random(grey.shape) < grey)  # sampled bits, one draw for all
        ais = run.log_likelihood(x, method="ais", draws=1000)
        found[name] = {"turns": run.turn, "AIS": round(float(ais.value.mean()), 2), "own estimate": _estimate(run, x)}
    published = {"AC (8)": "-89.6, own -96.3", "plain (8)": "-91.2, own -83.6", "AC (32)": "-80.2, own -79.5"}
    return {"found": found, "published": published}


@torch.no_grad()
def _estimate(run: "ludus.Run", x: np.ndarray) -> float:
    return round(float(run.game.autoencoder_loss(Batch(torch.from_numpy(run.form.to_network(x)))).seen["elbo"]), 2)


# The semi-supervised GAN on MNIST (Salimans et al. 2016, table 1)


def labels(minutes: float, jobs: int) -> dict:
    """Errors on 10,000 test digits from 100 labels, ten a digit, among 60,000 digits; one choice of them for each job.

    Here: the recipe's own convolutions, rates and batch of 80, the minutes given; the paper: 1000-500-250-250-250 with
    weight norm, batch 100, 300 epochs. Beside it the same network, with the same noise, from the labels alone.
    """
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(jobs) as pool:
        x, y = mnist("")
        files = [_ten_each(y, seed, f"{folder}/{seed}.npy") for seed in range(jobs)]
        alone = [_alone(x, np.load(file)) for file in files]
        common = ("data.condition_kind=classes", "data.held_out=0.0")
        runs = pool.map(
            lambda seed: train("ssgan", "mnist", minutes, f"data.condition={files[seed]}", *common, seed=seed)[0],
            range(jobs),
        )
        found = [_judged(run) for run in runs]
    errors = [each["errors"] for each in found]
    published = {"feature matching": "93 ± 6.5", "a PyTorch copy, 100 epochs": 150, "virtual adversarial": 212,
                 "ladder": "106 ± 37"}  # fmt: skip
    return {"found": found, "errors from the labels alone": alone, "errors": float(np.mean(errors)),
            "published": published, "bar": 150, "met": float(np.mean(errors)) <= 150, "goal": 99}  # fmt: skip


def paper_labels(minutes: float, jobs: int) -> dict:
    """The same with the paper's own networks, D 784-1000-500-250-250-250 with weight norm and Gaussian noise, started
    from 500 digits, G 100-500-500-784 with batch norm, Adam at 3e-3, 100 labelled and 100 other rows a batch, as in
    the authors' code; but 1e-3 for G, and the recipe's annealing of the rates; the minutes given. One choice of labels
    for each job."""
    with ProcessPoolExecutor(jobs, get_context("spawn")) as pool:
        found = list(pool.map(partial(paper, minutes), range(jobs)))
    errors = float(np.mean([each["errors"] for each in found]))
    return {"found": found, "errors": errors, "published": "93 ± 6.5 after 300 epochs", "bar": 150,
            "met": errors <= 150, "goal": 99}  # fmt: skip


def paper(minutes: float, seed: int, **more) -> dict:
    """A training by the networks of the paper, judged."""
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    x, y = mnist("")
    with tempfile.TemporaryDirectory() as folder:
        run = ludus.train("ssgan", "mnist", condition=_ten_each(y, seed, f"{folder}/few.npy"), minutes=minutes,
                          seed=seed, run=f"{folder}/run", settings=paper_settings() | more,
                          labeller=PaperLabeller(x[:500]), generator=PaperGenerator())  # fmt: skip
        return _judged(run)


def paper_settings() -> dict:
    return {"data.condition_kind": "classes", "data.held_out": 0.0, "snapshot.count": 0, "doctor.mode": "off",
            "sampler.batch": 200, "sampler.labelled": 0.5, "trainer.lr": 3e-3, "trainer.rates": {"generator": 1e-3},
            "trainer.betas": [0.5, 0.999], "prior.name": "uniform", "prior.dimension": 100,
            "labeller.noise": PaperLabeller.NOISE}  # fmt: skip


class PaperLabeller(nn.Module):
    """Features (B, 250) of digits, by layers that `ludus` feeds with noise in training, the head too.

    The authors' weights are directions: their lengths are no parameters, but set once, with the biases, so that what
    enters each ReLU has the mean 0 and the sd 1 over some digits x (n, 28, 28). The grey values are in [0, 5/3], so
    that noise of .5 is the authors' .3 of 1.
    """

    NOISE = 0.5

    def __init__(self, x: np.ndarray):
        super().__init__()
        sizes = (784, 1000, 500, 250, 250, 250)
        self.layers = nn.ModuleList(weight_norm(nn.Linear(a, b)) for a, b in pairwise(sizes))
        h = self.grey(torch.from_numpy(x).float() / 127.5 - 1)
        for layer in self.layers:
            length, direction = layer.parametrizations.weight.parameters()
            with torch.no_grad():
                nn.init.normal_(direction, std=0.1)
                nn.init.zeros_(layer.bias)
                length.fill_(1.0)
                sd, mean = torch.std_mean(layer(h + self.NOISE * torch.randn_like(h)), 0)
                length /= sd[:, None]
                layer.bias -= mean / sd
                h = layer(h + self.NOISE * torch.randn_like(h)).relu()
            length.requires_grad_(False)

    def forward(self, x: Tensor, c: Tensor | None = None) -> Tensor:
        h = self.grey(x)
        for layer in self.layers:
            h = layer(h).relu()
        return h

    @staticmethod
    def grey(x: Tensor) -> Tensor:
        return 5 / 6 * (x.flatten(1) + 1)


class PaperGenerator(nn.Module):
    def __init__(self):
        super().__init__()
        hidden = [(nn.Linear(a, 500, bias=False), nn.BatchNorm1d(500), nn.Softplus()) for a in (100, 500)]
        self.body = nn.Sequential(*hidden[0], *hidden[1], weight_norm(nn.Linear(500, 784)), nn.Sigmoid())

    def forward(self, z: Tensor, c: Tensor | None = None) -> Tensor:
        return 2 * self.body((z + 1) / 2).view(-1, 1, 28, 28) - 1


def _ten_each(y: np.ndarray, seed: int, file: str) -> str:
    """A file of labels, NaN but for ten of each digit."""
    draws, few = np.random.default_rng(seed), np.full(len(y), np.nan)
    for digit in range(10):
        few[draws.permutation(np.flatnonzero(y == digit))[:10]] = digit
    np.save(file, few)
    return file


def _judged(run: "ludus.Run") -> dict:
    """Errors and calibration on the test digits, as they come, and once 1,000 of them have given a temperature."""
    x, y = mnist(":test")
    return {"turns": run.turn} | verdict_of(run.label(x).probabilities, y)


def verdict_of(p: np.ndarray, y: np.ndarray) -> dict:
    as_they_come, known = judged(p, y), calibrated(p[:1000], y[:1000])
    after = judged(tempered(p[1000:], known.value), y[1000:])
    rounded = lambda v: {key: np.round(each, 4).tolist() for key, each in v._asdict().items()}  # noqa: E731
    return {"errors": int((p.argmax(1) != y).sum()), "as they come": rounded(as_they_come),
            "temperature": round(known.value, 3), "with it": rounded(after)}  # fmt: skip


def _alone(x: np.ndarray, few: np.ndarray, steps: int = 3000) -> int:
    """Test errors of the same network from the labelled digits alone."""
    torch.manual_seed(0)
    known = ~np.isnan(few)
    inputs, targets = torch.from_numpy(x[known]).float()[:, None] / 127.5 - 1, torch.from_numpy(few[known]).long()
    net = Labeller(SmallDiscriminator((1, 28, 28)), (1, 28, 28), 10, noise=0.3)
    adam = torch.optim.Adam(net.parameters(), 1e-3)
    for _ in range(steps):
        rows = torch.randint(len(inputs), (50,))
        loss = nn.functional.cross_entropy(net(inputs[rows]), targets[rows])
        adam.zero_grad()
        loss.backward()
        adam.step()
    unseen, truth = mnist(":test")
    return int((mnist_quality.probabilities(net.eval(), unseen).argmax(1) != truth).sum())


ROWS = {"four-points": four_points, "eight-schools": eight_schools, "bigan": bigan, "aae": aae, "petals": petals,
        "vae-gan": vae_gan, "labels": labels, "paper-labels": paper_labels, "avb": avb}  # fmt: skip

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("row", choices=list(ROWS))
    parser.add_argument("--minutes", type=float)
    parser.add_argument("--full", action="store_true")
    parser.add_argument("--jobs", type=int, default=len(os.sched_getaffinity(0)))
    given = parser.parse_args()
    torch.set_num_threads(1)
    minutes = given.minutes or (600.0 if given.full else 6.0)
    result = {
        "date": f"{datetime.date.today()}", "command": f"python benchmarks/inference.py {' '.join(sys.argv[1:])}",
        "machine": f"{platform.machine()}, {given.jobs} at a time", "torch": torch.__version__,
        "minutes of each training": minutes, "protocol": ROWS[given.row].__doc__,
        **ROWS[given.row](minutes, given.jobs),
    }  # fmt: skip
    text = json.dumps(result, indent=1, ensure_ascii=False)
    (RESULTS / f"inference-{given.row}.json").write_text(text + "\n")
    print(text)
