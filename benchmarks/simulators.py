"""How fast `ludus simulate ins` is: accepted 20×200 pictures per second on one core and on all, and its memory.

    python benchmarks/ins_speed.py [N]

Writes N (20,000) pictures twice into a temporary folder, with one process and with one for each core, and prints JSON.
On a machine with an accelerator the pictures are also computed there, in memory.
"""

import datetime
import json
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch

from ludus.worlds.ins import Ins


def timed(n: int, processes: int, folder: str) -> tuple[float, int]:
    """Seconds of a whole run of the command, start and all, and the peak memory of its largest process in bytes."""
    out = str(Path(folder) / f"{processes}.h5")
    words = [sys.executable, "-m", "ludus", "simulate", "ins", "-n", str(n), "--out", out]
    began = time.monotonic()
    subprocess.run([*words, "--processes", str(processes)], check=True, capture_output=True,
                   env={**os.environ, "OMP_NUM_THREADS": "1"})  # fmt: skip
    return time.monotonic() - began, 1024 * resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss


def on_accelerator(n: int) -> dict:
    device = torch.accelerator.current_accelerator(check_available=True)
    if device is None:
        return {}
    world = Ins().to(device.type)
    world.draw(100, torch.Generator().manual_seed(0))  # warms up
    torch.accelerator.synchronize()
    began = time.monotonic()
    world.draw(n, torch.Generator().manual_seed(1))
    return {"accelerator": str(device), "pictures/s there": round(n / (time.monotonic() - began))}


if __name__ == "__main__":
    n, cores = int(sys.argv[1]) if len(sys.argv) > 1 else 20_000, len(os.sched_getaffinity(0))
    with tempfile.TemporaryDirectory() as folder:
        one, _ = timed(n, 1, folder)
        both, memory = timed(n, cores, folder)
    result = {
        "date": f"{datetime.date.today()}", "machine": platform.machine(), "torch": torch.__version__, "pictures": n,
        "seconds, 1 process": round(one, 1), f"seconds, {cores} processes": round(both, 1),
        "pictures/s, 1 process": round(n / one), f"pictures/s, {cores} processes": round(n / both),
        "ratio": round(one / both, 2), "peak memory of a process, MB": round(memory / 1e6), **on_accelerator(n),
    }  # fmt: skip
    print(json.dumps(result, indent=1))
