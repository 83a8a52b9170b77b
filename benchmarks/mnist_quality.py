"""How good are a run's MNIST samples? A classifier's word, with its own error beside it.

    python benchmarks/mnist_quality.py runs/NAME

Trains a small convolutional network on the 60,000 training digits (about two minutes on two cores), states its
accuracy on the 10,000 test digits, then how sure it is of 2,000 samples and how often it sees each class; the same
for 2,000 test digits, which is what perfect samples would score.
"""

import json
import sys
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import nn

import ludus
from ludus.data.load import load

SURE = 0.9
RUNS = Path(__file__).parents[1] / "runs"


def classifier(epochs: int = 3, seed: int = 0) -> tuple[nn.Module, float]:
    """A network that maps digits in [0, 255], (n, 28, 28), to logits, and its accuracy on the test set.

    It is kept under runs/, and trained again only where it is not there.
    """
    kept, test = RUNS / f"classifier-{epochs}-{seed}.safetensors", load("mnist:test", "mnist:label", held_out=0.0)
    with torch.random.fork_rng([]):
        torch.manual_seed(seed)
        net = nn.Sequential(
            nn.Conv2d(1, 16, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2),
            nn.Conv2d(16, 32, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2),
            nn.Flatten(), nn.Linear(32 * 7 * 7, 128), nn.ReLU(), nn.Dropout(0.3), nn.Linear(128, 10),
        )  # fmt: skip
        if kept.exists():
            net.load_state_dict(load_file(kept))
        else:
            fit(net, epochs)
            RUNS.mkdir(exist_ok=True)
            save_file(net.state_dict(), kept)
    net.eval()
    right = probabilities(net, test.form.to_user(test.x)).argmax(1) == test.c.argmax(1)
    return net, float(right.mean())


def fit(net: nn.Module, epochs: int) -> None:
    """Trains a classifier on the 60,000 training digits."""
    train = load("mnist", "mnist:label", held_out=0.0)
    x, y = torch.from_numpy(train.x), torch.from_numpy(train.c).argmax(1)
    steps = epochs * len(x) // 128
    adam = torch.optim.Adam(net.parameters(), 2e-3)
    anneal = torch.optim.lr_scheduler.CosineAnnealingLR(adam, steps)
    for _ in range(steps):
        rows = torch.randint(len(x), (128,))
        loss = nn.functional.cross_entropy(net(x[rows]), y[rows])
        adam.zero_grad()
        loss.backward()
        adam.step()
        anneal.step()


@torch.no_grad()
def probabilities(net: nn.Module, digits: np.ndarray) -> np.ndarray:
    """(n, 28, 28) in [0, 255] -> (n, 10)."""
    x = torch.from_numpy(digits).float()[:, None] / 127.5 - 1
    return torch.cat([net(part).softmax(1) for part in x.split(1000)]).numpy()


def verdict(net: nn.Module, digits: np.ndarray) -> dict:
    """The share of which the classifier is sure, and the share of each class."""
    p = probabilities(net, digits)
    shares = np.bincount(p.argmax(1), minlength=10) / len(p)
    return {"sure": float((p.max(1) >= SURE).mean()), "rarest": float(shares.min()), "shares": shares.round(4).tolist()}


if __name__ == "__main__":
    net, accuracy = classifier()
    test = load("mnist:test", held_out=0.0)
    real = test.form.to_user(test.x[:2000])
    result = {"classifier accuracy": accuracy, "real": verdict(net, real)}
    for folder in sys.argv[1:]:
        result[folder] = verdict(net, ludus.load(folder).sample(2000))
    print(json.dumps(result, indent=1))
