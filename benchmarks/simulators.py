"""How fast worlds are simulated: pictures or points per second, with one process and with one for each core.

    python benchmarks/simulators.py

Neutron pictures of each mode are timed as a user makes them, the whole command `ludus simulate ins` with its start and
its file, and the peak memory of its largest process; points are drawn in memory by one process. On a machine with an
accelerator neutron pictures are also computed there, in memory. Writes benchmarks/results/simulators.json.
"""

import datetime
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch

from ludus.worlds.ins import Ins
from ludus.worlds.mixtures import grid, ring, spiral

RESULT = Path(__file__).parent / "results" / "simulators.json"
PICTURES = {"practical": 20_000, "physical": 5_000, "instrument": 200, "published": 20}  # of each mode
BETWEEN = """
import resource, subprocess, sys, time
began = time.perf_counter()
subprocess.run(sys.argv[1:], check=True)
print(time.perf_counter() - began, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
"""
POINTS = {"ring": ring, "grid": grid, "spiral": spiral}


def timed(mode: str, n: int, processes: int) -> tuple[float, float]:
    """Pictures per second, and the peak memory of the largest process in MB. A program inherits the peak of the one
    that starts it, so a small one stands between."""
    with tempfile.TemporaryDirectory() as folder:
        words = ["-m", "ludus", "simulate", "ins", "-n", str(n), "--mode", mode, "--processes", str(processes)]
        done = subprocess.run([sys.executable, "-c", BETWEEN, sys.executable, *words, "--out", f"{folder}/x.h5"],
                              check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
                              env={**os.environ, "OMP_NUM_THREADS": "1"})  # fmt: skip
    seconds, memory = map(float, done.stdout.split()[-2:])
    return n / seconds, memory / 1e3


def on_accelerator(n: int) -> float | None:
    """Neutron pictures per second there."""
    device = torch.accelerator.current_accelerator(check_available=True)
    if device is None:
        return None
    world = Ins().to(device.type)
    world.draw(100, torch.Generator().manual_seed(0))  # warms up
    torch.accelerator.synchronize()
    began = time.perf_counter()
    world.draw(n, torch.Generator().manual_seed(1))
    return n / (time.perf_counter() - began)


def points(world, n: int = 1_000_000) -> float:
    generator = torch.Generator().manual_seed(0)
    world.sample(1000, generator)
    began = time.perf_counter()
    world.sample(n, generator)
    return n / (time.perf_counter() - began)


if __name__ == "__main__":
    torch.set_num_threads(1)
    cores, found = len(os.sched_getaffinity(0)), {}
    for mode, n in PICTURES.items():
        (one, _), (all_of_them, memory) = timed(mode, n, 1), timed(mode, n, cores)
        found[f"ins, {mode}"] = {"pictures": n, "a second, 1 process": one, f"a second, {cores} processes": all_of_them,
                                 "ratio": all_of_them / one, "peak memory of a process, MB": memory}  # fmt: skip
        print(f"ins, {mode:12s} {one:8.0f} a second, {all_of_them:8.0f} with {cores} processes ({memory:.0f} MB)")
    for name, world in POINTS.items():
        found[name] = {"a second, 1 process, in memory": points(world())}
        print(f"{name:17s} {found[name]['a second, 1 process, in memory']:8.0f} a second, in memory")
    about = {"date": f"{datetime.date.today()}", "machine": platform.machine(), "cores": cores,
             "torch": torch.__version__, "command": "python benchmarks/simulators.py"}  # fmt: skip
    kept = json.loads(RESULT.read_text()) | {"cpu": about | found}
    if there := on_accelerator(12_000):
        kept["accelerator"] = about | {"pictures": 12_000, "a second, in memory": there}
    RESULT.write_text(json.dumps(kept, indent=1) + "\n")
