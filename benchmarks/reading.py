"""How much of the rate at which a file is read reaches a network, for the ways in which frames are stored.

    python benchmarks/reading.py                   # about three minutes, 1.5 GB on the disk for as long
    python benchmarks/reading.py --frames 256

Frames of 512 × 512 uint16 with two counts a pixel on average. "raw": their blocks read one after another and let go,
nothing else; and the same blocks in a shuffled order, in which no system reads ahead. "reached": batches of 64 as
float32 in the network's range, shuffled, as a run on data larger than memory gets them, and not trained on; the two
threads are kept on cores of their own, as a virtual machine's scheduler may put both on one, which halves it. All from
the system's cache, so that reading costs what the format costs; what lies there plainly is at no cost then, and so is
read once more with that cache emptied. "converted": what one core makes float32 of, from memory. "memory": what a
process holds after each of ten passes over a file that is five times as large as what it was allowed, from
/proc/self/status: RssAnon, its own memory, without the system's cache, in which the pages of mapped files are. To
benchmarks/results/reading.json.
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
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from ludus.data import locate
from ludus.data.load import load
from ludus.data.sampler import Sampler
from ludus.data.sources import opened

SIDE, BATCH, SECONDS, TIMES = 512, 64, 5.0, 3
MEMORY = 400_000_000  # allowed for data that are 805 MB in training
HERE = Path(__file__).parent


def layouts(x: np.ndarray, folder: Path) -> dict[str, str]:
    """The same frames stored in each way: name -> where."""
    import h5py
    import hdf5plugin
    import zarr

    lz4, frame = hdf5plugin.Bitshuffle(cname="lz4"), (1, SIDE, SIDE)
    ways = {
        "contiguous": {},
        "gzip-4, 1 frame": {"chunks": frame, "compression": "gzip", "compression_opts": 4},
        "bitshuffle+lz4, 1 frame": {"chunks": frame, **lz4},
        "bitshuffle+lz4, 16 x 128 x 128": {"chunks": (16, 128, 128), **lz4},
        "bitshuffle+lz4, 32 frames": {"chunks": (32, SIDE, SIDE), **lz4},
    }
    found = {}
    for i, (name, how) in enumerate(ways.items()):
        with h5py.File(folder / f"{i}.h5", "w") as file:
            file.create_dataset("x", data=x, **how)
        found[name] = f"{folder / f'{i}.h5'}:/x"
    zarr.create_array(str(folder / "x.zarr"), data=x, chunks=frame)
    np.save(folder / "x.npy", x)
    return found | {"zarr, zstd, 1 frame": str(folder / "x.zarr"), "npy": str(folder / "x.npy")}


def larger(x: np.ndarray, folder: Path) -> str:
    """The same frames several times over, compressed."""
    import h5py
    import hdf5plugin

    with h5py.File(folder / "larger.h5", "w") as file:
        shape = (TIMES * len(x), SIDE, SIDE)
        kept = file.create_dataset("x", shape, x.dtype, chunks=(1, SIDE, SIDE), **hdf5plugin.Bitshuffle(cname="lz4"))
        for i in range(TIMES):
            kept[i * len(x) : (i + 1) * len(x)] = x
    return f"{folder / 'larger.h5'}:/x"


def timed(one: Callable[[], int], forget: Callable[[], None] = lambda: None) -> float:
    """Frames per second, the median of passes that give their number, after one that is not counted."""
    one()
    found, until = [], time.perf_counter() + SECONDS
    while time.perf_counter() < until or len(found) < 3:
        forget()
        began = time.perf_counter()
        found.append(one() / (time.perf_counter() - began))
    return float(np.median(found))


def rates(where: str, forget: Callable[[], None]) -> dict:
    """What is read and what reaches a network, in frames per second; forget: comes before each pass."""
    data = load(where, memory=f"{MEMORY}B", held_out=0)
    blocks, place = data.stream.blocks, locate.parse(where)
    data.stream.source = on_core(1, data.stream.source)
    sampler = Sampler(torch.from_numpy(data.x), None, 0, data.stream, batch=BATCH)

    def reached() -> int:
        for _ in range(data.n // BATCH):
            next(sampler)
        return data.n // BATCH * BATCH

    with opened(place) as raw:

        def read(order: np.ndarray) -> int:
            for start in (int(i) * blocks.rows for i in order):
                block = raw.rows(start, min(start + blocks.rows, raw.shape[0]))
                block if block.flags.owndata else block.copy()  # what is mapped is read when it is copied
            return raw.shape[0]

        order = np.arange(math.ceil(raw.shape[0] / blocks.rows))
        found = {"raw": timed(lambda: read(order), forget),
                 "raw, shuffled": timed(lambda: read(np.random.default_rng(0).permutation(order)), forget)}  # fmt: skip
    found["reached"] = timed(reached, forget)
    sampler.close()
    return {"block": blocks.rows, "window": blocks.window, **{key: round(value, 1) for key, value in found.items()},
            "ratio": round(found["reached"] / found["raw"], 3),
            "ratio, shuffled": round(found["reached"] / found["raw, shuffled"], 3)}  # fmt: skip


def on_core(core: int, source: Callable) -> Callable:
    """Opens a source after the thread that does so has gone to a core."""

    def opening():
        if hasattr(os, "sched_setaffinity"):
            os.sched_setaffinity(0, {core})
        return source()

    return opening


def converted(x: np.ndarray) -> float:
    """Frames per second that one core makes float32 of, in the network's range, from memory."""
    form, out = load(x[:64], held_out=0).form, np.empty((BATCH, 1, SIDE, SIDE), np.float32)
    return timed(lambda: sum(len(form.to_network(x[i : i + BATCH], out=out)) for i in range(0, len(x) - BATCH, BATCH)))


def dropping(path: Path) -> Callable[[], None]:
    """Has the system forget a file that is on the disk."""

    def forget() -> None:
        with open(path, "rb") as file:
            os.fsync(file.fileno())
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)

    return forget


def held() -> int:
    """Bytes of this process alone."""
    line = next(each for each in Path("/proc/self/status").read_text().splitlines() if each.startswith("RssAnon"))
    return 1024 * int(line.split()[1])


def passes(where: str, memory: int) -> list[int]:
    """What is held after each of ten passes, more than before the first; in a process of its own."""
    load(np.random.default_rng(0).random((20, 4, 4)))  # whatever is imported on the way
    before, found = held(), []
    data = load(where, memory=f"{memory}B")
    sampler = Sampler(torch.from_numpy(data.x), None, 0, data.stream, batch=8)
    for _ in range(10):
        for _ in range(data.n // 8):
            next(sampler)
        found.append(held() - before)
    sampler.close()
    return found


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--frames", type=int, default=768)
    parser.add_argument("--passes", nargs=2, help=argparse.SUPPRESS)
    given = parser.parse_args()
    torch.set_num_threads(1)
    on_core(0, lambda: None)()
    if given.passes:
        print(json.dumps(passes(given.passes[0], int(given.passes[1]))))
        return
    x = np.random.default_rng(0).poisson(2, (given.frames, SIDE, SIDE)).astype(np.uint16)
    results = {
        "date": str(datetime.date.today()),
        "command": "python benchmarks/reading.py",
        "hardware": f"{os.cpu_count()} cores of a shared machine, {platform.machine()}",
        "frames": f"{given.frames} of {SIDE} x {SIDE} uint16, {x.nbytes / 1e6:.0f} MB; {MEMORY / 1e6:.0f} MB allowed",
        "converted": round(converted(x), 1),
        "layouts": {},
    }
    with tempfile.TemporaryDirectory() as folder:
        where = layouts(x, Path(folder))
        for name, place in where.items():
            found = results["layouts"][name] = rates(place, lambda: None)
            if name == "contiguous":
                found["from the disk"] = rates(place, dropping(Path(place.split(":")[0])))
            print(name, json.dumps(found), flush=True)
        memory = TIMES * x.nbytes // 5
        command = [sys.executable, __file__, "--passes", larger(x, Path(folder)), str(memory)]
        grown = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
        results["memory"] = {"allowed": memory, "held after each pass": grown,
                             "growth": round(grown[-1] / grown[0] - 1, 4)}  # fmt: skip
    print(json.dumps(results["memory"]))
    (HERE / "results" / "reading.json").write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
