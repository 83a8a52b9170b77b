"""How fast and how large the metrics are, 10,000 rows of 64 features beside as many, and their peers' on the same rows.

    python benchmarks/metrics.py [ROUNDS]

Ours and the peer's run in turn, each in a process of its own with one thread; the medians of ROUNDS (3) are kept, with
the peak memory above that of the imports, and the two values, which agree. Writes benchmarks/results/metrics.json.
Peers: torchmetrics (Fréchet, kernel), prdc (precision, recall, density, coverage), POT (sliced Wasserstein).
"""

import datetime
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

RESULTS = Path(__file__).parent / "results"
N, D, SLICES = 10_000, 64, 1000
LEAST = 1.0  # second of repeats, of what is shorter


def sets() -> tuple[np.ndarray, np.ndarray]:
    draws = np.random.default_rng(0)
    return draws.normal(size=(N, D)), 1.05 * draws.normal(size=(N, D))


def frechet():
    from ludus.metrics.frechet import frechet

    return frechet


def frechet_torchmetrics():
    import torch
    from torchmetrics.image.fid import _compute_fid

    def distance(a, b):
        a, b = torch.from_numpy(a), torch.from_numpy(b)
        return _compute_fid(a.mean(0), torch.cov(a.T), b.mean(0), torch.cov(b.T)).item()

    return distance


def kernel():
    from ludus.metrics.kernel import kernel_distance

    return kernel_distance


def kernel_torchmetrics():
    import torch
    from torchmetrics.image.kid import poly_mmd

    return lambda a, b: poly_mmd(torch.from_numpy(a), torch.from_numpy(b), degree=3, gamma=None, coef=1.0).item()


def neighbours():
    from ludus.metrics.neighbours import prdc

    def scores(a, b):
        found = prdc(a, b, 5, 5)
        return [each.value for each in (found.precision, found.recall, found.density, found.coverage)]

    return scores


def neighbours_prdc():
    from prdc import compute_prdc

    return lambda a, b: list(compute_prdc(a, b, 5).values())


def sliced():
    from ludus.metrics.wasserstein import directions, sliced

    return lambda a, b: sliced(a, b, directions(D, SLICES))


def sliced_pot():
    import ot

    from ludus.metrics.wasserstein import directions

    return lambda a, b: float(ot.sliced_wasserstein_distance(a, b, projections=directions(D, SLICES)))


PAIRS = {
    "frechet": (frechet, frechet_torchmetrics), "kernel": (kernel, kernel_torchmetrics),
    "precision, recall, density, coverage": (neighbours, neighbours_prdc), "sliced wasserstein": (sliced, sliced_pot),
}  # fmt: skip


def once(name: str, which: int) -> None:
    """One measurement, as JSON on the last line."""
    a, b = sets()
    metric = PAIRS[name][which]()
    metric(a[:200], b[:200])  # what is made at the first call
    before, times = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, []
    while sum(times) < LEAST:
        began = time.perf_counter()
        value = metric(a, b)
        times.append(time.perf_counter() - began)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    print(json.dumps({"seconds": statistics.median(times), "MB": peak / 1e3, "value": value}))


def measured(name: str, which: int) -> dict:
    words = [sys.executable, __file__, name, str(which)]
    one = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    done = subprocess.run(words, capture_output=True, text=True, check=True, env=one)
    return json.loads(done.stdout.splitlines()[-1])


def main(rounds: int) -> None:
    found = {"date": f"{datetime.date.today()}", "machine": platform.machine(), "threads": 1, "rows": N, "features": D,
             "command": "python benchmarks/metrics.py"}  # fmt: skip
    for name in PAIRS:
        both = [[measured(name, which) for which in (0, 1)] for _ in range(rounds)]
        ours, peer = zip(*both)
        if not np.allclose(ours[0]["value"], peer[0]["value"], rtol=1e-8, atol=0):
            raise SystemExit(f"{name} is {ours[0]['value']}, the peer's {peer[0]['value']}: not the same thing")
        ratio = statistics.median(p["seconds"] / o["seconds"] for o, p in both)
        found[name] = {
            "times the peer's speed": ratio,
            **{who: {key: statistics.median(each[key] for each in runs) for key in ("seconds", "MB")}
               | {"value": runs[0]["value"]} for who, runs in (("ludus", ours), ("peer", peer))},
        }  # fmt: skip
        ours, peer = found[name]["ludus"], found[name]["peer"]
        print(f"{name:38s} {ours['seconds']:7.3f} s {ours['MB']:6.0f} MB, peer {peer['seconds']:7.3f} s "
              f"{peer['MB']:6.0f} MB: {ratio:.1f} times")  # fmt: skip
    (RESULTS / "metrics.json").write_text(json.dumps(found, indent=1))


if __name__ == "__main__":
    if len(sys.argv) == 3:
        once(sys.argv[1], int(sys.argv[2]))
    else:
        main(int(sys.argv[1]) if len(sys.argv) > 1 else 3)
