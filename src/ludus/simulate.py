"""A world's draws as an HDF5 file: on all cores, resumable, the same for the same seed on any number of processes."""

import json
import multiprocessing
import os
import signal
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ludus import recipe
from ludus.callbacks.signals import interrupting
from ludus.data.raw import Axis
from ludus.data.write import add_axis, nxdata
from ludus.errors import unknown
from ludus.runs.growing import becoming, begun
from ludus.terminal import counting, say

if TYPE_CHECKING:
    import h5py

WORLDS = {"ins": "worlds.ins:Ins"}
EXACT = ("practical", "physical")  # modes whose pictures are without noise, the first by default
CHUNK = 4_000_000  # bytes of pictures drawn from one seed, by one process at a time


def arguments(world: str, settings: dict[str, Any]) -> dict[str, Any]:
    """The settings of a world, checked against its signature."""
    if world not in WORLDS:
        raise unknown("world", world, WORLDS)
    return recipe.arguments(WORLDS[world], settings, world)


def simulate(
    world: str,
    n: int,
    out: Path,
    seed: int = 0,
    settings: dict[str, Any] | None = None,
    processes: int | None = None,
    mask: str | None = None,
) -> Path:
    """n draws of a world into `out`, an HDF5 file with the truth, units and axes beside the pictures (NeXus).

    The file is drawn in chunks, each from (seed, its number). Until it is whole it is called `out`.partial, and the
    same command goes on with it. mask: an array (H, W) as `ludus train --data` names one, not 0 where there is no
    detector. Raises UserError where `out` exists, StoreError where there is no room, Interrupted on Ctrl-C or SIGTERM.
    """
    options = arguments(world, settings or {})
    options |= {} if mask is None else {"mask": mask}
    drawn = _world(world, options)  # what is wrong with the settings is said here, once
    chunk = max(1, CHUNK // (4 * drawn.shape[0] * drawn.shape[1]))
    recorded = json.dumps({"world": world, "n": n, "seed": seed, "chunk": chunk, **options}, sort_keys=True)
    needed = n * (4 * drawn.shape[0] * drawn.shape[1] + 100)

    def lay_out(file: "h5py.File") -> None:
        _lay_out(file, n, drawn, -(-n // chunk))

    with becoming(out) as partial, begun(partial, recorded, needed, lay_out, "simulation", "draw fewer") as file:
        _fill(file, world, options, seed, n, chunk, processes or len(os.sched_getaffinity(0)))
    return out


def _world(world: str, options: dict[str, Any]) -> Any:
    """The world of these options; the text under "mask" is read."""
    if "mask" not in options:
        return recipe.load_object(WORLDS[world])(**options)
    import torch

    from ludus.data import locate
    from ludus.data.sources import check_numbers, opened

    with opened(locate.check(options["mask"])[0]) as raw:
        check_numbers(raw)
        given = torch.from_numpy(np.array(raw.rows(0, raw.shape[0])) != 0)
    return recipe.load_object(WORLDS[world])(given, **{k: v for k, v in options.items() if k != "mask"})


def _lay_out(file: "h5py.File", n: int, world: Any, chunks: int) -> None:
    """Datasets of their full size, with what NeXus asks for around them; labels are NaN until their rows are there."""
    import h5py

    at_once = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    at_once.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
    at_once.set_fill_time(h5py.h5d.FILL_TIME_NEVER)
    signal = Axis("intensity, the brightest pixel before noise is 1", "1")
    nxdata(file, "images", (n, *world.shape, 1), "f4", signal=signal, dcpl=at_once)
    for name, (values, units, along, meaning) in world.axes().items():
        add_axis(file["entry/data"], name, values, units, along, meaning)
    labels = file.create_dataset("labels", data=np.full((n, len(world.labels)), np.nan, "f4"))
    labels.attrs["columns"] = world.labels
    file.create_dataset("parameters", data=np.full((n, 6), np.nan)).attrs.update(units="meV", **world.columns)

    entry = file["entry"]
    entry["title"] = world.title
    process = entry.create_group("process")
    process.attrs["NX_class"] = "NXprocess"
    process["program"], process["version"] = "ludus", version("ludus")
    process["tried"] = np.zeros(chunks, "i8")
    process["tried"].attrs["long_name"] = "draws made, for each chunk of rows"


def _fill(
    file: "h5py.File", world: str, options: dict[str, Any], seed: int, n: int, chunk: int, processes: int
) -> None:
    """Draws the chunks that are missing. A chunk's labels are written last: they say that it is there."""
    starts = range(0, n, chunk)
    missing = [i for i, start in enumerate(starts) if np.isnan(file["labels"][start, 0])]
    done = n - sum(min(chunk, n - starts[i]) for i in missing)
    if done:
        say(f"going on from {done:,} pictures")
    jobs = [(seed, i, min(chunk, n - starts[i])) for i in missing]
    with counting(n, "pictures", done) as count, interrupting() as check:
        for i, images, labels, parameters, tried in _drawn(world, options, jobs, min(processes, len(jobs))):
            rows = slice(starts[i], starts[i] + len(images))
            file["images"][rows], file["parameters"][rows] = images[..., None], parameters
            file["entry/process/tried"][i] = tried
            file.flush()
            file["labels"][rows] = labels
            file.flush()
            check()
            done += len(images)
            count(done, f"{100 * done / max(file['entry/process/tried'][:].sum(), 1):.0f} % of draws stable")


def _drawn(world: str, options: dict[str, Any], jobs: list[tuple], processes: int) -> Iterator[tuple]:
    """The chunks of all jobs, in the order in which they are ready."""
    if processes <= 1:
        _begin(world, options)
        yield from (_chunk(*job) for job in jobs)
        return
    spawn = multiprocessing.get_context("spawn")  # a fork of a process that has used torch's threads may hang
    with ProcessPoolExecutor(processes, spawn, _begin, (world, options, True)) as pool:
        try:
            for future in as_completed([pool.submit(_chunk, *job) for job in jobs]):
                yield future.result()
        finally:
            pool.shutdown(cancel_futures=True)


_here: Any = None  # the world of this process


def _begin(world: str, options: dict[str, Any], worker: bool = False) -> None:
    import torch

    global _here
    _here = _world(world, options)
    if worker:
        torch.set_num_threads(1)
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all; the parent says when to stop


def _chunk(seed: int, number: int, n: int) -> tuple[int, np.ndarray, np.ndarray, np.ndarray, int]:
    import torch

    key = int(np.random.SeedSequence([seed, number]).generate_state(1, np.uint64)[0] >> 1)
    drawn = _here.draw(n, torch.Generator().manual_seed(key))
    return number, drawn.images.numpy(), drawn.labels.numpy(), drawn.parameters.numpy(), drawn.tried


def exact_world(path: Path) -> str:
    """The world of a file that `simulate` wrote, if its pictures are without noise; else nothing."""
    import h5py

    try:
        with h5py.File(path, "r") as file:
            told = json.loads(file.attrs.get("recipe", "{}"))
    except (OSError, ValueError):
        return ""
    return told.get("world", "") if told.get("mode", EXACT[0]) in EXACT else ""
