"""Published tables of mode collapse, a row at a time, in PacGAN's metric; the numbers they print stand beside ours.

    python benchmarks/collapse.py ring --quick               # 3 rows x 3 seeds, about 15 minutes on two cores
    python benchmarks/collapse.py grid --full                # all rows x 10 seeds
    python benchmarks/collapse.py ring --rows r3gan pacgan4 --seeds 5 --minutes 3

Each run is one process with one thread, as many at a time as there are cores. 2,500 samples; a mode is captured when a
sample lies within 3 sd of it; reverse KL as in `metrics.modes` (a perfect sampler: 0.0014 on the ring, 0.0048 on the
grid, from counting alone, HQ 98.9 %). What differs from the published protocol is said in PROTOCOL and kept in the
result, benchmarks/results/collapse-WORLD-BUDGET.json.
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
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import torch

import ludus
from ludus.metrics.modes import modes
from ludus.worlds.mixtures import WORLDS

SAMPLES = 2500
PROTOCOL = (
    "published: z of 2 dimensions, G 4x400 with batch norm, D of 3 maxout layers, 400,000 turns of 100, 10 trials; "
    "here: z of 32, multilayer perceptrons 3x128 without batch norm, batch 256, an average of the weights, the turns "
    "that fit into the minutes"
)
PLAIN = ["trainer.betas=[0.5,0.999]"]
# row: method, settings, published {world: (modes, HQ %, reverse KL)}
ROWS = {
    "gan": ("gan", PLAIN, {"ring": (6.3, 98.2, 0.45), "grid": (17.3, 94.8, 0.70)}),
    "minibatch": ("gan", [*PLAIN, "discriminator.minibatch=discrimination"], {}),
    "unrolled5": ("unrolled_gan", [*PLAIN, "method.unroll=5"], {"ring": (7.6, 35.6, None), "grid": (23.6, 16, None)}),
    "unrolled10": ("unrolled_gan", [*PLAIN, "method.unroll=10"], {}),
    "pacgan2": ("gan", [*PLAIN, "lens.pack=2"], {"ring": (7.9, 95.6, 0.07), "grid": (23.8, 91.3, 0.13)}),
    "pacgan4": ("gan", [*PLAIN, "lens.pack=4"], {"ring": (7.8, 95.9, 0.07), "grid": (24.8, 93.6, 0.04)}),
    "wgan_gp": ("wgan_gp", [], {}),
    "veegan": ("veegan", PLAIN, {"ring": (8, 52.9, None), "grid": (24.6, 40, None)}),
    "r3gan": ("r3gan", [], {}),
}
QUICK = ["gan", "pacgan4", "r3gan"]
BARS = {"ring": (7.9, 93.6, 0.07), "grid": (24.8, 93.6, 0.04)}


def trial(world: str, row: str, seed: int, minutes: float) -> dict:
    """One run of one row, and what its samples score."""
    method, settings, _ = ROWS[row]
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder) / "run"
        words = [sys.executable, "-m", "ludus", "train", method, "--data", world, "--minutes", str(minutes),
                 "--seed", str(seed), "--run", str(run)]  # fmt: skip
        words += [word for setting in settings for word in ("--set", setting)]
        done = subprocess.run(words, env={**os.environ, "OMP_NUM_THREADS": "1"}, capture_output=True, text=True)
        if done.returncode:
            return {"row": row, "seed": seed, "failed": done.stderr.splitlines()[-1]}
        trained = ludus.load(run)
        x, truth = trained.sample(SAMPLES), WORLDS[world]()
        found = modes(x, truth.means.numpy(), truth.sd)
    return {"row": row, "seed": seed, "turns": trained.turn, "modes": found.captured,
            "HQ %": 100 * found.quality, "reverse KL": found.reverse_kl}  # fmt: skip


def summary(world: str, row: str, trials: list[dict]) -> dict:
    """Mean ± standard error over the seeds, the published numbers, and whether the issue's bar is met."""
    good = [t for t in trials if "failed" not in t]
    out = {"row": row, "seeds": len(trials), "failed": len(trials) - len(good)}
    for name in ("turns", "modes", "HQ %", "reverse KL"):
        values = [t[name] for t in good]
        mean = sum(values) / len(values) if values else math.nan
        error = math.sqrt(sum((v - mean) ** 2 for v in values) / max(len(values) - 1, 1) / max(len(values), 1))
        out[name] = [round(mean, 4), round(error, 4)]
    out["published modes, HQ %, reverse KL"] = ROWS[row][2].get(world)
    at_least, quality, kl = BARS[world]
    out["bar met"] = out["modes"][0] >= at_least and out["HQ %"][0] >= quality and out["reverse KL"][0] <= kl
    return out


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("world", choices=["ring", "grid"])
    budget = parser.add_mutually_exclusive_group(required=True)
    budget.add_argument("--quick", action="store_const", dest="budget", const=("quick", QUICK, 3, 2.7))
    budget.add_argument("--full", action="store_const", dest="budget", const=("full", list(ROWS), 10, 20.0))
    budget.add_argument("--rows", nargs="+", choices=list(ROWS))
    parser.add_argument("--seeds", type=int)
    parser.add_argument("--minutes", type=float)
    given = parser.parse_args()
    name, rows, seeds, minutes = given.budget or ("own", given.rows, 3, 2.7)
    seeds, minutes = given.seeds or seeds, given.minutes or minutes
    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        jobs = [(row, seed) for seed in range(seeds) for row in rows]
        trials = list(pool.map(lambda job: trial(given.world, *job, minutes), jobs))
    table = [summary(given.world, row, [t for t in trials if t["row"] == row]) for row in rows]
    for line in table:
        print(json.dumps(line))
    out = Path(__file__).parent / "results" / f"collapse-{given.world}-{name}.json"
    out.parent.mkdir(exist_ok=True)
    kept = {
        "date": f"{datetime.date.today()}", "command": " ".join(["python", "benchmarks/collapse.py", *sys.argv[1:]]),
        "machine": f"{platform.machine()}, {len(os.sched_getaffinity(0))} cores", "torch": torch.__version__,
        "minutes": minutes, "protocol": PROTOCOL, "bar (modes, HQ %, reverse KL)": BARS[given.world],
        "table": table, "trials": trials,
    }  # fmt: skip
    out.write_text(json.dumps(kept, indent=1) + "\n")
    print(out)


if __name__ == "__main__":
    main()
