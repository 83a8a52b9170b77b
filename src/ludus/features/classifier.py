"""A small classifier of the user's own images: features that tell what is shown, and blind to much of how."""

import contextlib
import hashlib
import json
import os
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import safetensors.numpy
import torch
from safetensors import SafetensorError
from torch import Tensor, nn

from ludus import seeds
from ludus.errors import UserError
from ludus.features.extractor import Extractor, Scale, checked, digest, pick, scale_of, scale_of_channels
from ludus.networks.labeller import Labeller
from ludus.networks.mlp import MlpDiscriminator
from ludus.networks.small import SmallDiscriminator

TURNS, LEAST, EPOCHS = 2000, 100, 12  # at most, at least; between them so many passes over the rows
BATCH, RATE, WIDTH = 128, 2e-3, 64
HELD_OUT, MOST = 0.1, 5000  # share of the rows that judges it, and how many at most
VERSION = 1  # of what the settings do not say


class Classifier(NamedTuple):
    """What it gives of images, and how good it is."""

    features: Extractor  # (n, 64) the layer before the logits, z-scored by the training rows
    probabilities: Extractor  # (n, K)
    classes: np.ndarray  # (K,) what the columns of `probabilities` mean, in ascending order
    accuracy: float  # on rows that it was not trained on
    error: float  # its standard error
    held_out: int  # their number


def fit(x: np.ndarray, labels: np.ndarray, seed: int = 0) -> Classifier:
    """Trains on x (n, H, W, C) or points (n, D) with labels (n,) of any kind, NaN where unknown; or takes it from disk.

    Three convolutions of stride 2 and a layer of 64 (points: three layers of 64), Adam, at most 2,000 batches of 128,
    rate falling from 0.002 to 0 as a cosine. A tenth of the rows, picked by the seed, is held out and judges it. Each
    channel enters with mean 0 and sd 1. The trained network is kept in $XDG_CACHE_HOME or ~/.cache, in ludus/features,
    under the SHA-256 of rows, labels and settings; where that cannot be written, it is not kept.

    Raises UserError unless there are ten rows and two classes at least.
    """
    x, labels = checked(x), np.asarray(labels)
    if labels.shape != (len(x),):
        raise UserError(f"labels are {labels.shape} for {len(x)} rows: one label each")
    if labels.dtype.kind == "f" and np.isnan(labels).any():
        x, labels = x[~np.isnan(labels)], labels[~np.isnan(labels)]
    classes, y = np.unique(labels, return_inverse=True)
    if len(classes) < 2 or len(x) < 10:
        raise UserError(f"{len(x)} labelled rows of {len(classes)} classes: ten rows of two classes are the least")
    unit, network = scale_of_channels(x), untrained(x.shape[1:], len(classes), seed)
    settings = {
        "version": VERSION, "seed": seed, "classes": len(classes), "turns": turns(len(x)), "batch": BATCH,
        "rate": RATE, "width": WIDTH, "held out": HELD_OUT, "most": MOST, "torch": torch.__version__,
    }  # fmt: skip
    key = hashlib.sha256(f"{digest(x, y.astype(np.int64))} {json.dumps(settings)}".encode()).hexdigest()
    kept = _read(key, network)
    if kept is None:
        kept = trained(network, x, y, unit, seed)
        _write(key, network, kept)
    whole, accuracy, n = Scale(kept["mean"], kept["sd"]), float(kept["accuracy"][0]), int(kept["accuracy"][1])
    weights = digest(*(p.detach().numpy() for p in network.parameters()))
    error = float(np.sqrt(accuracy * (1 - accuracy) / n))
    identity = {
        "name": "classifier", "seed": seed, "sha256": weights, "trained on": len(x) - n, "classes": len(classes),
        "accuracy": [round(accuracy, 4), round(error, 4)], "held out": n,
        "preprocessing": "each channel standardised; z-scored by the training rows",
    }  # fmt: skip
    features = Extractor("classifier", identity, lambda b: whole(seen(network, unit, b)[0]), x.shape[1:])
    shares = Extractor("class probabilities", identity, lambda b: seen(network, unit, b)[1], x.shape[1:])
    return Classifier(features, shares, classes, accuracy, error, n)


def turns(n: int) -> int:
    """How many batches n rows are trained for."""
    return min(TURNS, max(LEAST, EPOCHS * n // BATCH))


def untrained(shape: tuple[int, ...], classes: int, seed: int) -> Labeller:
    """x in the network's order (B, C, H, W) or (B, D) -> logits (B, K)."""
    with seeds.forked(torch.device("cpu"), seed):
        if len(shape) == 1:
            return Labeller(MlpDiscriminator(shape, width=WIDTH), shape, classes)
        planes = (shape[2], *shape[:2])
        return Labeller(SmallDiscriminator(planes, hidden=WIDTH), planes, classes)


def trained(network: Labeller, x: np.ndarray, y: np.ndarray, unit: Scale, seed: int) -> dict[str, np.ndarray]:
    """Trains the network in place; gives the scale of its features, and its accuracy on the rows held out."""
    order = np.random.default_rng(seed).permutation(len(x))
    held = order[: min(MOST, max(1, round(HELD_OUT * len(x))))]
    rest, n = order[len(held) :], turns(len(x))
    draws, target = np.random.default_rng([seed, 1]), torch.from_numpy(y)
    optimiser = torch.optim.Adam(network.parameters(), lr=RATE)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, n)
    passes = np.concatenate([draws.permutation(rest) for _ in range(n * BATCH // len(rest) + 1)])
    for turn in range(n):
        rows = passes[turn * BATCH : (turn + 1) * BATCH]
        loss = nn.functional.cross_entropy(network(given(x[rows], unit)), target[rows])
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
    right = np.mean(seen(network, unit, x[held])[1].argmax(1) == y[held])
    whole = scale_of(seen(network, unit, pick(x[rest], MOST, seed))[0])
    return {"mean": whole.mean, "sd": whole.sd, "accuracy": np.array([right, len(held)])}


def given(rows: np.ndarray, unit: Scale) -> Tensor:
    """Rows in the user's units and order -> what the network takes."""
    x = np.asarray(unit(np.asarray(rows, float)), np.float32)
    return torch.from_numpy(np.ascontiguousarray(x.transpose(0, 3, 1, 2)) if x.ndim == 4 else x)


@torch.no_grad()
def seen(network: Labeller, unit: Scale, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Features (n, 64) and probabilities (n, K)."""
    found = []
    for start in range(0, len(rows), 8 * BATCH):
        h = network.features(given(rows[start : start + 8 * BATCH], unit), None)
        found.append((h.double(), network.head(h).double().softmax(1)))
    return tuple(torch.cat(each).numpy() for each in zip(*found))


# The copy on disk


def cache() -> Path:
    root = os.environ.get("XDG_CACHE_HOME")
    return (Path(root) if root else Path("~/.cache").expanduser()) / "ludus" / "features"


def _read(key: str, network: Labeller) -> dict[str, Any] | None:
    """What `trained` gave, its weights put into the network; None where there is no such file, or no whole one."""
    try:
        held = safetensors.numpy.load((cache() / f"{key}.safetensors").read_bytes())
        kept = {name: held.pop(name) for name in ("mean", "sd", "accuracy")}
    except (OSError, KeyError, ValueError, SafetensorError):
        return None
    if {name: v.shape for name, v in held.items()} != {name: v.shape for name, v in network.state_dict().items()}:
        return None
    network.load_state_dict({name: torch.from_numpy(v) for name, v in held.items()})
    return kept


def _write(key: str, network: Labeller, kept: dict[str, np.ndarray]) -> None:
    tensors = {name: np.ascontiguousarray(v.numpy()) for name, v in network.state_dict().items()} | kept
    path = cache() / f"{key}.safetensors"
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        part.write_bytes(safetensors.numpy.save(tensors))
        os.replace(part, path)
    except OSError:
        with contextlib.suppress(OSError):
            part.unlink()
