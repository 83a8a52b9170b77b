"""Data larger than memory: each row once an epoch, in an order that any resume finds again, within what was allowed."""

import contextlib
import json
import os
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch

import ludus
from ludus import evaluate, session
from ludus import recipe as recipes
from ludus.data import inspect, load, locate, rates, rows
from ludus.data import raw as raws
from ludus.data.raw import Raw
from ludus.data.sampler import Sampler
from ludus.data.scaling import Scaling
from ludus.data.sources import opened
from ludus.data.stream import LOOKED_AT, Batches, Blocks, Stream, blocks_of, memory_of, some_of
from ludus.errors import Interrupted, Lost, UserError
from ludus.runs import store
from ludus.trainer import Callback

RNG = np.random.default_rng(0)
PICTURES = RNG.integers(0, 200, (403, 9, 7), dtype=np.uint8)
LABELS = np.arange(403) % 3
SMALL = "20kB"  # four windows of some 75 of these rows


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A folder with a file of pictures and labels, in compressed chunks of 5 rows."""
    monkeypatch.chdir(tmp_path)
    with h5py.File("x.h5", "w") as file:
        file.create_dataset("x", data=PICTURES, chunks=(5, 9, 7), compression="gzip")
        file["y"] = LABELS
    return tmp_path


def sampler_of(data, seed=0, **options) -> Sampler:
    return Sampler(torch.from_numpy(data.x), torch.from_numpy(data.told) if data.told is not None else None, seed,
                   data.stream, **{"batch": 16} | options)  # fmt: skip


def stream_of(read, n=300) -> Stream:
    """A stream of n rows (1,), windows of 5 blocks of 4, from a function of a region."""
    raw = Raw("the source", (n, 1), np.dtype(np.int64), read)
    source = partial(contextlib.nullcontext, raw)
    return Stream("the source", source, np.arange(n), Blocks(4, 20), (1,), lambda block, out: np.copyto(out, block))


def numbers(region):
    """Rows that hold their own number."""
    return np.arange(300)[region[0], None]


# -- what comes --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "array, options",
    [
        (PICTURES, {}),
        (PICTURES.astype(">i2"), {"held_out": 0}),
        (RNG.normal(size=(203, 4, 5, 3)).astype(np.float32), {"channels": "last"}),
        (RNG.normal(5, 2, (3000, 3)), {"held_out": 0.3}),
        (RNG.lognormal(size=(503, 6, 5)), {"scaling": "log1p", "clip": "1,99"}),
        (np.where(RNG.random((503, 6, 5)) < 0.01, np.nan, RNG.random((503, 6, 5))), {"nan": "fill=0.5"}),
        (PICTURES, {"n": 250, "weakest": 195}),
        (PICTURES[:400].reshape(100, 4, 9, 7), {"panels": "1"}),
        (PICTURES[:50].repeat(8, 1), {"tiles": "9x7"}),
    ],
    ids=["uint8", "big-endian", "channels", "points", "clipped", "filled", "picked", "panels", "tiles"],
)
def test_an_epoch_is_each_training_row_once_as_memory_would_hold_it(array, options, tmp_path):
    np.save(tmp_path / "x.npy", array)
    whole = load.load(str(tmp_path / "x.npy"), **options)
    half = (whole.x.nbytes + whole.held_out_x.nbytes) // 2
    data = load.load(str(tmp_path / "x.npy"), memory=f"{half}B", **options)
    assert data.stream is not None and data.n == len(whole.x) > len(data.x)
    assert (data.form, data.fingerprint, data.held_out_hash) == (whole.form, whole.fingerprint, whole.held_out_hash)
    sampler = sampler_of(data)
    orders = []
    for _ in range(2):
        batches = [next(sampler).x for _ in range(data.n // 16)]
        orders.append(sampler.order.clone())
        assert np.array_equal(torch.cat(batches), whole.x[sampler.order[: 16 * len(batches)]])
    sampler.close()
    assert torch.equal(orders[0].sort().values, torch.arange(data.n)) and not torch.equal(*orders)
    assert np.array_equal(data.x, whole.x[np.searchsorted(whole.rows, data.rows)])
    assert set(map(bytes, data.held_out_x)) <= set(map(bytes, whole.held_out_x))


def test_conditions_go_along_and_all_are_known(here):
    whole, data = (load.load("x.h5:/x", "x.h5:/y", memory=memory) for memory in ("auto", SMALL))
    sampler = sampler_of(data)
    for _ in range(40):
        batch = next(sampler)
        rows = sampler.order[sampler.position - 16 : sampler.position]
        assert np.array_equal(batch.x, whole.x[rows]) and np.array_equal(batch.c, whole.c[rows])
    sampler.close()
    assert np.array_equal(data.told, whole.c) and len(data.c) == len(data.x) < len(whole.x)
    assert np.array_equal(data.c, whole.c[np.searchsorted(whole.rows, data.rows)])
    note = data.notes[-1]
    assert "larger than the memory of 20.0 kB: read in shuffled blocks of 5 rows, 15 at a time" in note
    assert f"{len(data.x)} of {len(whole.x)} training rows and {len(data.held_out_x)} of 40 held out" in note


def test_binarised_rows_are_the_same_rows(here):
    sampler = sampler_of(load.load("x.h5:/x", memory=SMALL), binarise=True)
    batch = next(sampler).x
    sampler.close()
    assert set(batch.unique().tolist()) == {-1, 1} and batch.shape == (16, 1, 9, 7)
    with pytest.raises(UserError, match=r"sampler.labelled = 0.5.*read in blocks.*sampler.labelled=0"):
        sampler_of(load.load("x.h5:/x", "x.h5:/y", memory=SMALL), labelled=0.5)


@pytest.mark.parametrize("kind", ["tiff", "zarr", "folder"])
def test_other_kinds_of_files(here, kind):
    if kind == "tiff":
        pytest.importorskip("tifffile").imwrite("x.tif", PICTURES, photometric="minisblack")
    elif kind == "zarr":
        pytest.importorskip("zarr").create_array("x.zarr", data=PICTURES, chunks=(5, 9, 7))
    else:
        image = pytest.importorskip("PIL.Image")
        Path("pictures").mkdir()
        for i, each in enumerate(PICTURES[:100]):
            image.fromarray(each).save(f"pictures/{i:03d}.png")
    name = {"tiff": "x.tif", "zarr": "x.zarr", "folder": "pictures"}[kind]
    whole, data = load.load(name), load.load(name, memory=SMALL)
    sampler = sampler_of(data)
    x = torch.cat([next(sampler).x for _ in range(data.n // 16)])
    sampler.close()
    assert np.array_equal(x, whole.x[sampler.order[: len(x)]])


# -- resuming ----------------------------------------------------------------------------------------------------------


def test_every_position_is_gone_to_exactly():
    first, other = (Sampler(torch.zeros(1, 1), None, 3, stream_of(numbers, 90), batch=7) for _ in range(2))
    states, batches = [], []
    for _ in range(3 * (90 // 7)):
        states.append(first.state)
        batches.append(next(first).x)
    assert {each["epoch"] for each in states[1:]} == {0, 1, 2}
    for i in [*range(len(states)), *RNG.permutation(len(states))]:
        other.seek(**states[i])
        assert torch.equal(next(other).x, batches[i])
    other.seek(0, 0, seed=4)
    assert not torch.equal(next(other).x, batches[0])
    other.close()
    other.seek(**states[20])  # it opens its source again
    assert torch.equal(next(other).x, batches[20])
    first.close()
    other.close()


def test_the_pace_of_reading_changes_nothing():
    def slow(region):
        time.sleep(RNG.random() / 200)
        return numbers(region)

    fast = Sampler(torch.zeros(1, 1), stream=stream_of(numbers), batch=11)
    slowly = Sampler(torch.zeros(1, 1), stream=stream_of(slow), batch=11)
    for _ in range(40):
        assert torch.equal(next(fast).x, next(slowly).x)
        time.sleep(RNG.random() / 500)
    fast.close()
    slowly.close()


def test_blocks_follow_from_the_window_whatever_the_memory():
    draws = np.random.default_rng(1)
    for _ in range(500):
        chunk, wide = int(draws.integers(1, 40)), int(draws.integers(1, 5000))
        raw = Raw("x", (10**7, wide), np.dtype(draws.choice(["u1", "f4", "f8"])), None, chunk=chunk)
        memory = int(4 * raw.row * max(16, chunk) * draws.uniform(1, 300))
        found = blocks_of(raw, memory)
        assert found.rows % chunk == 0 and found.window % found.rows == 0 and found.window >= chunk
        assert 2 * found.window * raw.row <= memory // 2
        assert blocks_of(raw, memory * int(draws.integers(1, 9)), found.window) == found
        assert found.together >= 16 or found.rows == chunk
        parts = [np.arange(1000), np.arange(1000, 1100), np.arange(0)]
        some = some_of(parts, raw, found, 0)
        for part, all_of_it in zip(some, parts):
            assert np.isin(part, all_of_it).all() and (np.diff(part) > 0).all() and len(part) <= LOOKED_AT
            assert 4 * wide * len(part) <= memory / 8 and bool(len(part)) == bool(len(all_of_it))
        assert all(np.array_equal(a, b) for a, b in zip(some, some_of(parts, raw, found, 0)))


TINY = {"snapshot.count": 0, "doctor.every": 10, "generator.width": 4, "discriminator.width": 4,
        "checkpoint.seconds": 1e6, "averaging.half_life": 5.0}  # fmt: skip


class Stop(Callback):
    """Asks a run to stop after a turn, as a signal does."""

    def __init__(self, turn):
        self.turn = turn

    def after(self, trainer):
        trainer.stop = trainer.turn == self.turn


def test_a_run_goes_on_bit_for_bit_with_other_memory(here, monkeypatch):
    settings = {"data.memory": SMALL} | {k: v for k, v in TINY.items() if not k.startswith("averaging")}
    train = dict(condition="x.h5:/y", network="mlp", steps=60, batch=16, settings=settings)
    whole = ludus.train("r3gan", "x.h5:/x", run="whole", **train)
    assert len(store.load("whole").state) and whole.recipe["data"]["window"] == 75
    make = session.trainer_of
    monkeypatch.setattr(session, "trainer_of", lambda *given: stopped(make(*given), 37))
    with pytest.raises(Interrupted, match="turn 37 of 60"):
        ludus.train("r3gan", "x.h5:/x", run="part", **train)
    monkeypatch.setattr(session, "trainer_of", make)
    recipe = recipes.nest({"data.memory": "auto"}, recipes.read(Path("part/recipe.toml")))
    Path("part/recipe.toml").write_text(recipes.text(recipe))
    ludus.resume("part")
    a, b = store.load("whole"), store.load("part")
    assert a.tensors.keys() == b.tensors.keys()
    assert all(np.array_equal(value, b.tensors[name], equal_nan=True) for name, value in a.tensors.items())
    assert a.state["sampler"] == b.state["sampler"] and a.state["sampler"]["epoch"] == 2
    assert whole.sample(3, c=1).shape == (3, 9, 7)


def stopped(trainer, turn):
    trainer.callbacks.append(Stop(turn))
    return trainer


def test_resuming_is_refused_where_the_order_would_be_another(here, monkeypatch):
    settings = {"snapshot.count": 0, "doctor.mode": "off"}
    ludus.train("gan", "x.h5:/x", network="mlp", run="run", steps=2, batch=16, settings=settings)
    monkeypatch.setattr(raws, "budget", lambda: 20_000)
    with pytest.raises(UserError, match=r"run began with all of .* in memory, and they do not fit now"):
        ludus.resume("run", steps=4)
    monkeypatch.undo()
    monkeypatch.chdir(here)
    settings["data.memory"] = SMALL
    ludus.train("gan", "x.h5:/x", network="mlp", run="streamed", steps=2, batch=16, settings=settings)
    with h5py.File("x.h5", "w") as file:
        file.create_dataset("x", data=PICTURES, chunks=(7, 9, 7))
    with pytest.raises(UserError, match="stored in other pieces than when streamed began"):
        ludus.resume("streamed", steps=4)
    with h5py.File("x.h5", "r+") as file:
        file["x"][17, 3, 3] += 1
    with pytest.raises(UserError, match="has changed since streamed began"):
        ludus.resume("streamed", steps=4)


# -- what goes wrong ---------------------------------------------------------------------------------------------------


def test_an_error_of_the_thread_is_the_trainers_in_one_line():
    calls = []

    def failing(region):
        calls.append(region)
        if len(calls) == 12:  # in the third window
            raise OSError("filter returned failure\nduring read")
        return numbers(region)

    stream = stream_of(failing)
    order = stream.order(0)
    assert len(stream.take(order[:20])) == len(stream.take(order[20:40])) == 20
    with pytest.raises(UserError) as caught:
        stream.take(order[40:45])
    text = str(caught.value)
    assert text.startswith("the source cannot be read any more (filter returned failure): once it is as it was")
    assert "\n" not in text
    assert np.array_equal(stream.take(order[40:45])[:, 0], order[40:45])  # it was once
    stream.close()


def test_a_file_that_vanishes_ends_the_run_and_leaves_its_checkpoint(here, monkeypatch):
    make = session.trainer_of

    class Lose(Callback):
        def after(self, trainer):
            if trainer.turn == 5:
                object.__setattr__(trainer.sampler.stream.raw, "read", gone)

    def gone(region):
        raise OSError("Stale file handle")

    def made(*given):
        trainer = make(*given)
        trainer.callbacks.append(Lose())
        return trainer

    monkeypatch.setattr(session, "trainer_of", made)
    settings = {"snapshot.count": 0, "doctor.mode": "off", "data.memory": SMALL}

    def train(run):
        return ludus.train("gan", "x.h5:/x", network="mlp", run=run, steps=30, batch=16, settings=settings)

    with pytest.raises(UserError, match=r"x.h5:/x cannot be read any more \(Stale file handle\): once it is as it was"):
        train("run")
    assert 5 <= store.load("run").turn < 20  # the last turn, without a save of the clock's
    monkeypatch.setattr(session, "trainer_of", make)
    assert ludus.resume("run").turn == 30
    train("whole")
    ended, whole = store.load("run").tensors, store.load("whole").tensors
    assert all(np.array_equal(ended[name], whole[name]) for name in whole)


def test_a_file_that_changes_is_not_trained_on(here):
    path = "numbers.npy"
    np.save(path, np.arange(200.0)[:, None])
    source = locate.parse(path)
    stream = Stream(
        path, lambda: opened(source), np.arange(200), Blocks(4, 20), (1,), lambda block, out: np.copyto(out, block),
        stamp=lambda: locate.stamp(source),
    )  # fmt: skip
    order = stream.order(0)
    stream.take(order[:10])
    with open(path, "r+b") as file:  # in place: a mapped file that is cut short ends the process
        file.seek(-8, os.SEEK_END)
        file.write(np.float64(-1).tobytes())
    with pytest.raises(Lost, match=r"numbers.npy cannot be read any more \(it has changed meanwhile\)"):
        stream.take(order[10:80])
    stream.close()


def test_memory_in_words(monkeypatch):
    monkeypatch.setattr(raws, "budget", lambda: 6 * 10**9)
    assert [memory_of(text) for text in ("auto", "500MB", "4 GB", "1.5gb", "800B")] == [
        6 * 10**9, 5 * 10**8, 4 * 10**9, 15 * 10**8, 800]  # fmt: skip
    for text in ("4", "much", "-1GB", "4GiB", ""):
        with pytest.raises(UserError, match=r"data.memory.*such as 500MB or 4GB, or auto"):
            memory_of(text)
    with pytest.raises(UserError, match=r"data.memory = 13GB: only 12.0 GB are free"):
        memory_of("13GB")


def test_what_cannot_be_shuffled_is_refused_before_it_is_read(here, monkeypatch):
    def never(*given, **more):
        raise AssertionError("it was read")

    with h5py.File("wide.h5", "w") as file:
        file.create_dataset("x", data=PICTURES, chunks=(400, 9, 1))
        file.create_dataset("never", (10**6, 1000, 1000), "f4", chunks=(1, 100, 100), compression="gzip")
    monkeypatch.setattr(load, "look", never)
    with pytest.raises(UserError, match=r"400 rows of 63 bytes lie in one chunk.*--set data.memory=.*ludus prepare"):
        load.load("wide.h5:/x", memory=SMALL)
    with pytest.raises(UserError, match=r"declares 1,000,000 × 1,000 × 1,000 values, 4.0 TB, and holds none"):
        load.load("wide.h5:/never")
    with pytest.raises(UserError, match=r"data.window = 300: two windows are 37.8 kB, and the memory is 20.0 kB"):
        load.load("x.h5:/x", memory=SMALL, window=300)
    monkeypatch.setattr(raws, "budget", lambda: 1000)
    with pytest.raises(UserError, match=r"needs 4.0 kB: 16 rows of 63 bytes at a time, to be shuffled"):
        load.load("x.h5:/x")


# -- what is read ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("scaling", ["auto", "none", "log1p", "asinh", "maximum"])
@pytest.mark.parametrize("dtype", ["u1", "f4"])
def test_the_extremes_of_each_row_give_the_scaling(scaling, dtype, monkeypatch):
    array = RNG.integers(1, 200, (60, 5, 4)).astype(dtype)
    options = {"scaling": scaling}
    if dtype == "f4":
        array[RNG.random(array.shape) < 0.02] = np.nan
        options["nan"] = "fill=201.3"
    found = load.load(array, **options).form.scaling
    monkeypatch.setattr(load, "extremes", lambda *given: None)
    assert load.load(array, **options).form.scaling == found


def test_float32_gives_the_numbers_of_float64():
    """Where `_short` says so, for all values of 16 bits and offsets and scales of all kinds."""
    short = 0
    for _ in range(300):
        dtype = np.dtype(RNG.choice(["u1", "i1", "u2", "i2", "?", ">u2"]))
        bounds = (0, 1) if dtype.kind == "b" else (np.iinfo(dtype).min, np.iinfo(dtype).max)
        low, high = np.sort(RNG.integers(*bounds, 2, endpoint=True))
        exact = RNG.random() < 0.7
        offset, scale = (low + high) / 2 + (0 if exact else 0.3), max(float(high - low) / 2, 0.5)
        x = np.arange(bounds[0], bounds[1] + 1).astype(dtype)[:, None]
        found = Scaling("minmax", (offset,), scale)
        short += found._short(x)
        assert found._short(x) == exact
        assert np.array_equal(found.apply(x), ((x.astype(float) - offset) / scale).astype(np.float32))
    assert short > 100
    assert not Scaling("minmax", (0.5,), 0.5)._short(np.ones(3, np.float32))
    assert not Scaling("minmax", (0.5,), 0.1)._short(np.ones(3, np.uint8))


def test_batches_use_memory_again_but_never_what_is_held():
    batches = Batches((3, 4))
    place = lambda array: array.__array_interface__["data"][0]  # noqa: E731
    first = batches.empty(5)
    at = place(first)
    part = first[2:]
    del first
    assert place(batches.empty(5)) != at  # a part of it is held
    del part
    assert place(batches.empty(5)) in (at, place(batches.empty(5)))
    held = torch.from_numpy(batches.empty(5))[1:].view(-1)
    held.fill_(7)
    batches.empty(5).fill(1)
    batches.empty(5).fill(2)
    assert (held == 7).all() and len(batches.given) <= 3


def test_a_long_look_says_how_far_it_is(here, monkeypatch, capsys):
    load.load("x.h5:/x")
    assert "rows/s" not in capsys.readouterr().err
    monkeypatch.setattr(rows, "LONG", 0)
    load.load("x.h5:/x")
    assert "403/403" in (said := capsys.readouterr().err) and "rows/s" in said and "looked at" in said


def test_only_the_blocks_that_are_needed_are_read():
    seen = []

    def read(region):
        seen.append(region[0])
        return np.zeros((region[0].stop - region[0].start, 10**5), np.uint8)

    raw = Raw("x", (10**6, 10**5), np.dtype(np.uint8), read)
    (block,) = load.chosen(raw, np.array([500_001]), lambda block: block)
    assert block.shape == (1, 10**5) and len(seen) == 1


@pytest.mark.judged
def test_an_evaluation_says_that_a_part_was_looked_at(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    np.save("x.npy", RNG.normal(size=(4000, 8)))
    run = ludus.train("gan", "x.npy", run="run", steps=3, batch=32,
                      settings={"data.memory": "30kB", "snapshot.count": 0, "doctor.mode": "off"})  # fmt: skip
    data = session.read_data(run.recipe)
    found, about = evaluate.of_run(run, data, n=100, quick=True)
    assert any(f"against {len(data.x)} of the 3,600 rows trained on" in note for note in found.notes)
    assert ("trained on", f"3,600 rows, {len(data.x)} of them looked at") in about.facts
    assert json.loads(Path("run/evaluation.json").read_text())["quick"]


# -- inspect -----------------------------------------------------------------------------------------------------------


def test_inspect_times_a_few_pieces(here, monkeypatch):
    monkeypatch.setattr(rates, "LEAST", 1000)
    lines = "\n".join(inspect.describe("x.h5:/x").lines)
    assert "rows/s in blocks" in lines and "at random; all of it once in" in lines and "fits in the memory of" in lines
    with h5py.File("tiles.h5", "w") as file:
        file.create_dataset("x", data=RNG.integers(0, 9, (128, 64, 64), dtype=np.uint8), chunks=(16, 16, 16))
    monkeypatch.setattr(rates, "memory_of", lambda text: 10**6)
    monkeypatch.setattr(rates, "SLOW", 10**9)
    lines = "\n".join(inspect.describe("tiles.h5").lines)
    assert "larger than the memory of 1.0 MB: read in shuffled blocks of 16 rows, 3 at a time" in lines
    assert "each row lies in 16 chunks of 16 rows" in lines
    assert "slower than many networks train: `ludus prepare`" in lines
    monkeypatch.setattr(rates, "memory_of", lambda text: 10**5)
    lines = "\n".join(inspect.describe("tiles.h5").lines)
    assert "16 rows of 4.1 kB lie in one chunk" in lines and "ludus prepare" in lines


LOOK = """
import sys, time
from ludus.data.inspect import describe
began = time.process_time()
lines = describe(sys.argv[1]).lines
peak = next(line for line in open("/proc/self/status") if line.startswith("VmHWM"))
print(time.process_time() - began, peak.split()[1])
print("\\n".join(lines))
"""


def printed(code, *words):
    """What a Python of its own prints."""
    command = [sys.executable, "-c", code, *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


@pytest.mark.parametrize("chunks", [None, (16, 128, 128)])
def test_a_terabyte_is_inspected_at_once(tmp_path, chunks):
    with h5py.File(tmp_path / "x.h5", "w") as file:
        x = file.create_dataset("x", (2_000_000, 512, 512), "u2", chunks=chunks, compression="gzip" if chunks else None)
        if chunks:
            x[:16] = RNG.poisson(2, (16, 512, 512))
    assert (tmp_path / "x.h5").stat().st_size < 3e6
    first, *lines = printed(LOOK, tmp_path / "x.h5").splitlines()
    seconds, peak = map(float, first.split())
    assert seconds < 5 and peak < 200_000  # kB
    assert any("1.0 TB" in line for line in lines)
    assert any("all of it once in" in line if chunks else "none of it was ever written" in line for line in lines)


# -- memory ------------------------------------------------------------------------------------------------------------

PASSES = """
import sys
import numpy as np
import torch
from ludus.data.load import load
from ludus.data.sampler import Sampler

def held():  # in bytes, of this process alone: pages of files that are mapped belong to the system's cache
    return 1024 * int(next(line for line in open("/proc/self/status") if line.startswith("RssAnon")).split()[1])

load(np.random.default_rng(0).random((20, 4, 4)))  # whatever is imported on the way
before = held()
data = load(sys.argv[1], memory="64MB")
sampler = Sampler(torch.from_numpy(data.x), None, 0, data.stream, batch=16)
seen = []
for _ in range(10):
    for _ in range(data.n // 16):
        next(sampler)
    seen.append(held() - before)
print(*seen)
"""


@pytest.mark.slow
def test_memory_is_flat_and_within_what_was_allowed(tmp_path):
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file.create_dataset("x", data=RNG.integers(0, 999, (5000, 180, 180), np.uint16), chunks=(4, 180, 180))
    assert (tmp_path / "x.h5").stat().st_size > 5 * 64e6
    seen = np.array(printed(PASSES, tmp_path / "x.h5").split(), float)
    assert seen[-1] < 1.02 * seen[0] and seen.max() < 64e6 + 16e6, seen / 1e6  # small change: libraries, a block
