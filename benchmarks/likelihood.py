"""log p(x) of MNIST under VAE and IWAE, beside the numbers that were printed for them.

    python benchmarks/likelihood.py --quick                      # four rows, 12 minutes each, two at a time
    python benchmarks/likelihood.py --full --seeds 3             # the paper's 3,280 epochs, for a GPU or a week
    python benchmarks/likelihood.py --rows iwae5 --minutes 5

The paper's networks (Burda et al. 2016): 50 latents, two layers of 200 tanh units each way, Bernoulli pixels that are
binarised anew at each draw, Adam (1e-3, falling). -log p(x) is the importance-weighted bound with 5,000 draws, on
binarised test images. What differs: batch 100 in place of 20, half a cosine in place of eight stages of the rate, an
average of the weights, 54,000 of the 60,000 training images, plain Adam (theirs began with second moments of 1), and in
--quick the turns that fit into the minutes and 1,000 of the 10,000 test images. Static binarisation (one fixed draw of
Larochelle & Murray 2011) gives numbers about 2 nats higher and is not what is done here. The result is
benchmarks/results/likelihood-BUDGET.json.
"""

import argparse
import datetime
import json
import os
import platform
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch

import ludus
from ludus.data.load import load

NETWORKS = [
    "encoder.name=mlp", "encoder.width=200", "encoder.depth=2", "encoder.activation=tanh",
    "decoder.name=mlp", "decoder.width=200", "decoder.depth=2", "decoder.activation=tanh",
    "decoder.likelihood=bernoulli", "sampler.binarise=true", "sampler.batch=100", "prior.dimension=50",
    "doctor.mode=off", "snapshot.count=0",
]  # fmt: skip
# row: method, settings, published -log p(x): the paper (VAE, IWAE), two reimplementations
ROWS = {
    "vae": ("vae", [], "86.76 (paper), 87.78 (xqding)"),
    "iwae1": ("iwae", ["method.k=1"], "86.76 (paper), 87.75 (nbip), 87.75 (xqding)"),
    "iwae5": ("iwae", ["method.k=5"], "85.54 (paper), 85.50 (nbip), 85.46 (xqding)"),
    "iwae50": ("iwae", ["method.k=50"], "84.78 (paper), 84.65 (nbip), 84.59 (xqding)"),
}
QUICK = {"vae": (92.0, 89.0), "iwae1": (92.0, 89.0), "iwae5": (90.0, 87.0)}  # bar, goal
FULL = {"iwae1": (86.7, 86.7), "iwae5": (85.4, 85.4), "iwae50": (84.5, 84.5)}


def trial(row: str, seed: int, minutes: float | None, rows: int) -> dict:
    """One run, and minus its mean log-likelihood on test images with the error of that mean."""
    method, settings, _ = ROWS[row]
    budget = ["--minutes", str(minutes)] if minutes else ["--steps", str(3280 * 540)]
    with tempfile.TemporaryDirectory() as folder:
        words = [sys.executable, "-m", "ludus", "train", method, "--data", "mnist", *budget,
                 "--seed", str(seed), "--run", f"{folder}/run"]  # fmt: skip
        words += [word for setting in [*NETWORKS, *settings] for word in ("--set", setting)]
        subprocess.run(words, env={**os.environ, "OMP_NUM_THREADS": "1"}, check=True, capture_output=True)
        run = ludus.load(f"{folder}/run")
        test = load("mnist:test", held_out=0.0)
        order = np.random.default_rng(0).permutation(len(test.x))[:rows]
        found = run.log_likelihood(test.form.to_user(test.x[order]), draws=5000)
    error = float(found.value.std(ddof=1) / np.sqrt(rows))
    kept = {"row": row, "seed": seed, "turns": run.turn, "-log p": round(-float(found.value.mean()), 3),
            "error": round(error, 3), "median ess": round(float(np.median(found.ess)), 1),
            "k-hat above 0.7 %": round(100 * float(np.mean(found.k_hat > 0.7)), 1)}  # fmt: skip
    print(json.dumps(kept), file=sys.stderr, flush=True)
    return kept


def summary(row: str, trials: list[dict], bars: dict) -> dict:
    """The mean over the seeds, beside what was published and what is asked for."""
    values = np.array([t["-log p"] for t in trials])
    spread = round(float(values.std(ddof=1) / np.sqrt(len(values))), 3) if len(values) > 1 else trials[0]["error"]
    out = {"row": row, "seeds": len(trials), "-log p": [round(float(values.mean()), 2), spread]}
    out["published"] = ROWS[row][2]
    if row in bars:
        bar, goal = bars[row]
        out |= {"bar": bar, "met": bool(values.mean() <= bar), "goal": goal, "goal met": bool(values.mean() <= goal)}
    return out


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    budget = parser.add_mutually_exclusive_group(required=True)
    budget.add_argument("--quick", action="store_true")
    budget.add_argument("--full", action="store_true")
    budget.add_argument("--rows", nargs="+", choices=list(ROWS))
    cores = len(os.sched_getaffinity(0))
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--minutes", type=float, default=12.0)
    parser.add_argument("--jobs", type=int, default=cores)
    given = parser.parse_args()
    name = "quick" if given.quick else "full" if given.full else "own"
    minutes, images = (None, 10_000) if given.full else (given.minutes, 1000)
    torch.set_num_threads(1)
    with ThreadPoolExecutor(given.jobs) as pool:
        todo = [(row, seed) for seed in range(given.seeds) for row in given.rows or ROWS]
        trials = list(pool.map(lambda job: trial(*job, minutes, images), todo))
    bars = FULL if given.full else QUICK
    lines = [summary(row, [t for t in trials if t["row"] == row], bars) for row in given.rows or ROWS]
    for line in lines:
        print(json.dumps(line))
    accelerator = f", {torch.cuda.get_device_name()}" if torch.cuda.is_available() else ""
    kept = {
        "date": f"{datetime.date.today()}", "command": " ".join(["python", "benchmarks/likelihood.py", *sys.argv[1:]]),
        "machine": f"{platform.machine()}, {cores} cores{accelerator}", "torch": torch.__version__,
        "minutes": minutes, "jobs at a time": given.jobs, "test images": images, "table": lines, "trials": trials,
    }  # fmt: skip
    out = Path(__file__).parent / "results" / f"likelihood-{name}.json"
    out.write_text(json.dumps(kept, indent=1, ensure_ascii=False) + "\n")
    print(out)


if __name__ == "__main__":
    main()
