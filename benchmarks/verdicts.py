"""How often is the verdict of `ludus calibrate` right? Posteriors that are exact, and others that are wrong by design.

    python benchmarks/verdicts.py

A linear Gaussian world with two latents, z ~ N(0, 1), x = z W + σ ε, whose posterior is known in closed form: 1,000
seeds of the exact one, 200 of each other, with 100, 300 and 1,000 cases. Two minutes; the result is
benchmarks/results/verdicts.json, the table of docs/calibration.md.
"""

import datetime
import json
import platform
from collections import Counter
from pathlib import Path

import numpy as np

from ludus.inference.calibration import checks, verdict

KINDS = ("exact", "narrow", "narrow, 0.8", "narrow, 0.9", "wide", "wide, 1.2", "biased", "independent", "prior")


def cases(seed, kind="exact", n=300, L=199, d=2):
    """(truth, draws, means, x) of the exact posterior of a linear Gaussian world, or of one that is wrong by design."""
    draw, W, sigma = np.random.default_rng(seed), np.random.default_rng(5).normal(size=(d, 3)), 0.7
    z = draw.normal(size=(n, d))
    x = z @ W + sigma * draw.normal(size=(n, 3))
    covariance = np.linalg.inv(np.eye(d) + W @ W.T / sigma**2)
    mean, sd = x @ W.T @ covariance / sigma**2, np.sqrt(np.diag(covariance))
    root = {"independent": np.diag(sd)}.get(kind, np.linalg.cholesky(covariance))
    noise = draw.normal(size=(L + 50, n, d)) @ root.T
    width = {"narrow": 0.7, "narrow, 0.8": 0.8, "narrow, 0.9": 0.9, "wide": 1.4, "wide, 1.2": 1.2}.get(kind, 1.0)
    q = mean + width * noise + (0.4 * sd if kind == "biased" else 0)
    if kind == "prior":
        q = draw.normal(size=q.shape)
    return z, q[:L], q[L:].mean(0), x


def word(seed, kind, **sizes):
    found = checks(*cases(seed, kind, **sizes), seed)
    return verdict(found, [f"z{j}" for j in range(found.ranks.shape[1])]).word


if __name__ == "__main__":
    found = {}
    for kind in KINDS:
        for n in (100, 300, 1000):
            seeds = 1000 if kind == "exact" else 200
            words = Counter(word(seed, kind, n=n) for seed in range(seeds))
            found[f"{kind}, {n} cases"] = {"seeds": seeds} | words
            print(kind, n, dict(words.most_common()))
    result = {"date": f"{datetime.date.today()}", "command": "python benchmarks/verdicts.py",
              "machine": platform.machine(), "found": found}  # fmt: skip
    (Path(__file__).parent / "results" / "verdicts.json").write_text(json.dumps(result, indent=1) + "\n")
