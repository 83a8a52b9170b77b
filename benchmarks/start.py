"""How long one waits before anything happens: `ludus --help`, the first turns of a run, a sample of 64; and for what.

    python benchmarks/start.py [ROUNDS]

Of `ludus train r3gan` with its defaults on 5,000 pictures of 28×28. Each is a whole command, the median of ROUNDS (5);
the first turns are over when metrics.jsonl has a line of losses, which is after ten. What an import costs is
what `python -X importtime` says of a package and of all its modules, without what others took that they imported.
Writes benchmarks/results/start.json.
"""

import datetime
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import numpy as np

RESULT = Path(__file__).parent / "results" / "start.json"
LUDUS = [sys.executable, "-m", "ludus"]
SHOWN = 8  # imports of each command


def seconds(words: list[str]) -> float:
    began = time.perf_counter()
    subprocess.run([*LUDUS, *words], check=True, capture_output=True)
    return time.perf_counter() - began


def first_turns(folder: str, source: str) -> float:
    """Seconds until a run with its defaults has played ten turns."""
    run = Path(folder) / f"first-{time.monotonic_ns()}"
    words = ["train", "r3gan", "--data", source, "--steps", "2000", "--run", str(run)]
    began = time.perf_counter()
    process = subprocess.Popen([*LUDUS, *words], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while not played(run / "metrics.jsonl"):
        if process.poll() is not None:
            raise SystemExit("the run ended before its tenth turn")
        time.sleep(0.002)
    took = time.perf_counter() - began
    process.kill()
    process.wait()
    return took


def played(metrics: Path) -> bool:
    return metrics.exists() and '"losses"' in metrics.read_text()


def imports(words: list[str]) -> dict[str, float]:
    """Seconds of the packages that take longest to import."""
    done = subprocess.run([sys.executable, "-X", "importtime", "-m", "ludus", *words], check=True, capture_output=True,
                          text=True)  # fmt: skip
    lines = [line for line in done.stderr.splitlines() if line.startswith("import time:")][1:]  # after the head
    found = Counter()
    for line in lines:
        own, _, name = line.removeprefix("import time:").split("|")
        found[name.strip().split(".")[0]] += int(own) / 1e6
    return dict(found.most_common(SHOWN))


def main(rounds: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        run, source = f"{folder}/run", f"{folder}/x.npy"
        np.save(source, np.random.default_rng(0).random((5000, 28, 28), np.float32))
        seconds(["train", "r3gan", "--data", source, "--steps", "10", "--run", run, "--set", "evaluation.mode=off"])
        sample = ["sample", run, "-n", "64", "--out"]
        waits = {
            "ludus --help": lambda: seconds(["--help"]),
            "ten turns": lambda: first_turns(folder, source),
            "sample of 64": lambda: seconds([*sample, f"{folder}/x-{time.monotonic_ns()}.npy"]),
            "sample of 64 as a picture": lambda: seconds([*sample, f"{folder}/x-{time.monotonic_ns()}.png"]),
        }
        found = {what: statistics.median(wait() for _ in range(rounds)) for what, wait in waits.items()}
        costs = {
            "ludus --help": imports(["--help"]), "sample of 64": imports([*sample, f"{folder}/y.npy"]),
            "train": imports(["train", "r3gan", "--data", source, "--steps", "1", "--run", f"{folder}/z",
                              "--set", "evaluation.mode=off"]),
        }  # fmt: skip
    for what, took in found.items():
        print(f"{what:28s} {took:.2f} s")
    for what, each in costs.items():
        print(f"imports of {what}: " + ", ".join(f"{name} {took:.2f}" for name, took in each.items()))
    about = {"date": f"{datetime.date.today()}", "machine": platform.machine(), "cores": len(os.sched_getaffinity(0)),
             "python": platform.python_version(), "command": "python benchmarks/start.py",
             "rounds": rounds}  # fmt: skip
    RESULT.write_text(json.dumps(about | {"seconds": found, "imports": costs}, indent=1) + "\n")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 5)
