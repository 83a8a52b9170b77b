"""Rows cut from volumes and frames are those that NumPy cuts, read as they are needed; prepared files hold them."""

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import h5py
import numpy as np
import pytest

from games import command
from ludus import api, cli, evaluate, figures, session
from ludus.data import condition, inspect, locate, smaller
from ludus.data.cuts import Cuts, boxes, cut, panels, tiles
from ludus.data.form import Form
from ludus.data.load import load
from ludus.data.raw import Axis, Raw, in_memory
from ludus.data.write import nxdata
from ludus.errors import Interrupted
from ludus.features.curves import curves
from ludus.figures import measured
from ludus.prepare import Job, prepare
from ludus.runs.disk import StoreError
from ludus.simulate import simulate
from test_data import refused

RNG = np.random.default_rng(0)
H, K = Axis("H", "r.l.u.", tuple(np.linspace(-2, -0.1, 8))), Axis("K", "r.l.u.", tuple(np.linspace(0, 1.1, 12)))
E = Axis("energy", "meV", tuple(np.linspace(0, 12, 15)))
COUNTS = Axis("counts", "1/s")
VOLUME = RNG.random((8, 12, 15)).astype(np.float32)  # H, K, energy


def recorded(array: np.ndarray, axes=(), **options) -> tuple[Raw, list[int]]:
    """An array, and how many of its values each reading took."""
    taken = []

    def read(region):
        block = array[region]
        taken.append(block.size)
        return block

    return Raw("x", array.shape, array.dtype, read, axes=axes, **options), taken


def regions(shape, n: int = 60):
    """Regions of all sorts, also empty ones, of the first axes."""
    draws = np.random.default_rng(1)
    for _ in range(n):
        ends = [sorted(draws.integers(0, length + 1, 2).tolist()) for length in shape]
        yield tuple(slice(*pair) for pair in ends)[: draws.integers(1, len(shape) + 1)]
    yield (slice(None),) * len(shape)


def same(raw: Raw, whole: np.ndarray) -> None:
    """Any region of what was cut is that of the array."""
    assert raw.shape == whole.shape and raw.dtype == whole.dtype
    for region in regions(whole.shape):
        np.testing.assert_array_equal(raw.read(region), whole[region])


def volume_file(path, array=VOLUME, axes=(H, K, E), **options) -> Path:
    with h5py.File(path, "w") as file:
        nxdata(file, "counts", array.shape, array.dtype, axes, COUNTS, **options)[...] = array
    return path


# -- panels ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dims", [[7], [3, 4], [2, 3, 4], [1, 3, 1, 2]])
def test_any_rows_are_few_boxes(dims):
    places = np.arange(np.prod(dims)).reshape(dims)
    for start in range(places.size + 1):
        for stop in range(start, places.size + 1):
            found = list(boxes(start, stop, dims))
            got = [places[box].ravel() for box in found]
            assert np.concatenate([[], *got]).tolist() == list(range(start, stop)) and len(found) < 2 * len(dims)


def test_each_step_along_a_named_axis_is_a_row():
    raw, _ = recorded(VOLUME, (H, K, E), signal=COUNTS)
    for text in ("energy", "axis=energy", "2"):
        found = panels(raw, text)
        same(found, np.moveaxis(VOLUME, 2, 0))
        assert found.axes == (E, H, K) and found.signal == COUNTS and found.group == 15
        np.testing.assert_array_equal(found.own["energy"], E.values)


def test_panels_of_many_volumes_follow_volume_by_volume():
    array = RNG.random((4, 8, 12, 15))
    raw, _ = recorded(array, (Axis(), H, K, E), own={"sample": np.array(list("abcd"))})
    found = panels(raw, "energy")
    same(found, np.moveaxis(array, 3, 1).reshape(60, 8, 12))
    assert found.group == 15 and "volumes × energy" in found.notes[0]
    assert found.own["sample"].tolist() == list("a" * 15 + "b" * 15 + "c" * 15 + "d" * 15)
    np.testing.assert_array_equal(found.own["energy"], np.tile(E.values, 4))
    assert panels(recorded(array)[0], "3").group == 15  # without any names, too


def test_several_axes_are_rows_in_the_order_given():
    array, temperature = RNG.random((4, 8, 12, 15)), Axis("T", "K", (1.5, 10.0, 100.0, 300.0))
    raw, _ = recorded(array, (temperature, H, K, E), own={"run": np.arange(4)})
    found = panels(raw, "energy,T")
    same(found, array.transpose(3, 0, 1, 2).reshape(60, 8, 12))
    assert found.group == 60 and panels(raw, "T,energy").group == 15  # of one temperature
    np.testing.assert_array_equal(found.own["T"], np.tile(temperature.values, 15))
    assert found.own["run"].tolist() == [0, 1, 2, 3] * 15
    assert panels(raw, "T,energy").own["run"][14:16].tolist() == [0, 1]


def test_only_what_is_asked_for_is_read():
    array = RNG.random((4, 8, 12, 15))
    raw, taken = recorded(array, (Axis(), H, K, E))
    panels(raw, "energy").rows(20, 25)
    assert taken == [5 * 8 * 12]  # five panels of the second volume, in one piece
    taken.clear()
    panels(raw, "energy").read((slice(0, 60), slice(2, 3), slice(4, 6)))
    assert sum(taken) == 60 * 2
    taken.clear()
    cut(raw, Cuts("energy", "4x6")).rows(4, 6)
    assert sum(taken) == 2 * 4 * 6


def test_panels_in_one_chunk_are_read_together():
    raw = replace(recorded(VOLUME, (H, K, E))[0], chunks=(4, 4, 5))
    assert panels(raw, "energy").chunk == 5 and panels(raw, "H").chunk == 4
    assert panels(replace(raw, chunks=(8, 12, 1)), "energy").chunk == 1
    assert panels(replace(raw, chunks=()), "energy").chunk == 15  # the last axis is the densest on the disk


def test_an_axis_that_is_not_there_is_named_with_those_that_are():
    raw, _ = recorded(VOLUME, (H, K, E))
    refused("no axis 'energi'", "0, H -2 to -0.1 r.l.u., 8 steps; 1, K", call=panels, args=(raw, "energi"))
    refused("no axis '3'", call=panels, args=(raw, "3"))
    refused("no axis ''", call=panels, args=(raw, "energy,"))
    refused("named twice", call=panels, args=(raw, "energy,2"))
    refused("leave 1 axis,", "name fewer", call=panels, args=(raw, "energy,H"))
    twice = replace(raw, axes=(H, H, E))
    refused("2 axes 'H': give its number", call=panels, args=(twice, "H"))
    four, _ = recorded(RNG.random((3, 4, 5, 6)), (Axis("L"), H, K, E))
    refused("leave 3 axes", "say --panels L,energy", call=panels, args=(four, "energy"))
    refused("leave 4 axes", "name more", call=panels, args=(recorded(np.zeros((2, 2, 2, 2, 2)))[0], "4"))


# -- tiles -------------------------------------------------------------------------------------------------------------


def test_neutron_pictures_are_cut_as_in_the_practical(tmp_path, monkeypatch):
    """20×200 into ten 20×20 panels, those with a maximum above 0.5."""
    monkeypatch.chdir(tmp_path)
    simulate("ins", 30, Path("ins.h5"), processes=1)
    with h5py.File("ins.h5") as file:
        x = file["images"][..., 0]
    whole = x.reshape(30, 20, 10, 20).transpose(0, 2, 1, 3).reshape(300, 20, 20)
    data = load("ins.h5:/images", "ins.h5:/labels", tiles="20x20", weakest=0.5, held_out=0.2)
    rows = data.form.to_user(np.concatenate([data.x, data.held_out_x]))[..., 0]
    strong = whole[whole.max((1, 2)) > 0.5]
    assert len(rows) == len(strong) and 30 < len(strong) < 300
    order = np.lexsort(rows.reshape(len(rows), -1).T), np.lexsort(strong.reshape(len(strong), -1).T)
    np.testing.assert_allclose(rows[order[0]], strong[order[1]], atol=1e-6)
    assert "20 columns" not in str(data.notes) and any("1 × 10 of each frame" in note for note in data.notes)
    frames = data.rows // 10  # where the training rows stood
    held = np.setdiff1d(np.flatnonzero(whole.max((1, 2)) > 0.5), data.rows) // 10
    assert not set(frames) & set(held)  # no frame is in both


@pytest.mark.parametrize(
    "shape, channels",
    [((5, 11, 9), "auto"), ((5, 11, 9, 3), "auto"), ((5, 2, 11, 9), "auto"), ((5, 9, 11, 9), "first")],
)
def test_tiles_of_frames(shape, channels):
    array = RNG.integers(0, 255, shape, dtype=np.uint8)
    found = tiles(in_memory("x", array), "4x3", channels)
    planes = array if len(shape) == 3 else array if shape[1] in (2, 9) and len(shape) == 4 else np.moveaxis(array, 3, 1)
    planes = planes.reshape(5, -1, *planes.shape[-2:])[:, :, :8, :9]
    whole = planes.reshape(5, -1, 2, 4, 3, 3).transpose(0, 2, 4, 1, 3, 5).reshape(30, -1, 4, 3)
    if len(shape) == 3:
        whole = whole[:, 0]
    elif shape[3] == 3:
        whole = np.moveaxis(whole, 1, 3)
    same(found, whole)
    assert found.group == 6 and "not used: 3 rows of pixels below" in found.notes[0]
    assert found.own["row"].tolist() == [1.5, 1.5, 1.5, 5.5, 5.5, 5.5] * 5
    assert found.own["column"].tolist() == [1, 4, 7] * 10


def test_tiles_of_a_single_frame():
    frame = RNG.random((12, 8))
    same(tiles(in_memory("x", frame), "4"), frame.reshape(3, 4, 2, 4).swapaxes(1, 2).reshape(6, 4, 4))
    colour = RNG.random((12, 8, 3))
    whole = colour.reshape(3, 4, 2, 4, 3).swapaxes(1, 2).reshape(6, 4, 4, 3)
    same(tiles(in_memory("x", colour), "4", "last"), whole)


def test_the_axes_of_tiles_begin_at_zero_where_steps_are_equal():
    uneven = Axis("y", "mm", (0.0, 1.0, 4.0, 9.0, 16.0, 25.0, 36.0, 49.0))
    raw = replace(in_memory("x", RNG.random((3, 8, 12))), axes=(Axis(), uneven, K))
    found = tiles(raw, "4x6")
    assert found.axes[1] == Axis()
    assert found.axes[2].label == "K (r.l.u.)" and np.allclose(found.axes[2].values, 0.1 * np.arange(6))
    assert found.own["y"][:3].tolist() == [3.5, 3.5, 31.5] and np.allclose(found.own["K"][:2], [0.25, 0.85])


def test_tiles_as_high_as_the_frame_keep_its_axis():
    raw = replace(in_memory("x", RNG.random((3, 8, 12))), axes=(Axis(), H, K))
    assert tiles(raw, "8x4").axes[1] == H and tiles(raw, "8x4").axes[2].values[0] == 0


def test_panels_first_and_then_tiles(tmp_path):
    whole = np.moveaxis(VOLUME, 2, 0).reshape(15, 2, 4, 3, 4).swapaxes(2, 3).reshape(90, 4, 4)
    raw, _ = recorded(VOLUME, (H, K, E))
    found = cut(raw, Cuts("energy", "4"))
    same(found, whole)
    assert found.group == 90 and found.own["energy"].tolist() == np.repeat(E.values, 6).tolist()
    assert list(found.own) == ["energy", "H", "K"]


def test_what_cannot_be_tiled():
    raw = in_memory("x", np.zeros((3, 8, 12)))
    refused("tiles of 9 × 9 are larger", "8 × 12", call=tiles, args=(raw, "9"))
    for text in ("0x4", "4x", "a", "4x4x4", "-4"):
        refused("such as 64x64", call=tiles, args=(raw, text))
    refused("which of its axes is the channels", call=tiles, args=(in_memory("x", np.zeros((3, 8, 12, 9))), "4"))
    refused("are points", call=tiles, args=(in_memory("x", np.zeros(9)), "4"))
    refused("nothing to cut", call=load, args=("ring",), tiles="2")


# -- as data -----------------------------------------------------------------------------------------------------------


def test_the_value_of_the_axis_is_a_condition(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    volume_file("x.nxs")
    data = load("x.nxs", ":energy", panels="energy", held_out=0.0)
    np.testing.assert_allclose(data.form.condition.decode(data.c), E.values, atol=1e-6)
    assert data.form.grid == (H, K) and data.form.signal == COUNTS
    assert Form.from_json(data.form.to_json()).grid == (H, K)
    assert "cut into panels along energy: 15 pictures of 8 × 12" in data.notes
    np.testing.assert_allclose(data.form.to_user(data.x), np.moveaxis(VOLUME, 2, 0), atol=1e-6)


def test_conditions_of_volumes_are_those_of_their_panels(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    array, told = RNG.random((12, 8, 9, 5)), np.arange(12) % 3
    data = load(array, told, panels="3", held_out=0.25)
    c = np.concatenate([data.c, data.held_out_c]).argmax(1)
    rows = np.concatenate([data.rows, np.setdiff1d(np.arange(60), data.rows)])
    assert c.tolist() == told[rows // 5].tolist()
    assert any("together" in note for note in data.notes)
    refused("60", call=load, args=(array, np.arange(7)), panels="3")


def test_inspect_describes_what_was_cut(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    volume_file("x.nxs")
    whole = inspect.describe("x.nxs")
    assert "axis 2: energy 0 to 12 meV, 15 steps" in whole.lines and "values: counts (1/s)" in whole.lines
    assert any("--panels energy makes it one along energy" in line for line in whole.lines)
    found = inspect.describe("x.nxs", panels="energy", tiles="4")
    assert found.lines[0].endswith("90 × 4 × 4 float32") and found.rows.shape == (64, 4, 4)
    assert "conditions that it holds: :energy, :H, :K, :/entry/data/energy" in found.lines
    assert found.lines[-1].endswith("--panels energy --tiles 4")
    assert found.grid[0].label == "H (r.l.u.)" and found.signal == COUNTS
    gaps = VOLUME.copy()
    gaps[0, 0, 0] = np.nan
    volume_file("gaps.nxs", gaps)
    assert inspect.describe("gaps.nxs").lines[-1].endswith("--nan drop")
    assert inspect.describe("gaps.nxs", nan="fill=0").lines[-1].endswith("--nan fill=0")


def test_what_runs_along_the_axis_of_panels_is_a_condition(tmp_path, monkeypatch):
    """Counters that stand beside a scan, or that its NXdata declares to run along that axis."""
    monkeypatch.chdir(tmp_path)
    cube = RNG.random((12, 12, 12)).astype(np.float32)
    names = [Axis(name, "", tuple(np.arange(12.0) + i)) for i, name in enumerate("HKt")]
    for name, array, axes in (("x.nxs", VOLUME, (H, K, E)), ("cube.nxs", cube, names)):
        volume_file(name, array, axes)
        with h5py.File(name, "a") as file:
            file["entry/data/T"] = np.linspace(1, 300, array.shape[2])
            file["entry/data"].attrs["T_indices"] = [2]
            file["entry/monitor"] = np.arange(array.shape[2]) * 2.0
            file["entry/angle"] = np.arange(array.shape[0]) * 3.0
    for name, along in (("x.nxs", "energy"), ("cube.nxs", "t")):
        data = load(name, ":/entry/data/T", panels=along, held_out=0.0)
        n = data.n
        assert data.form.condition.decode(data.c) == pytest.approx(np.linspace(1, 300, n), abs=1e-3)
        data = load(name, ":/entry/monitor", panels=along, held_out=0.0)
        assert data.form.condition.decode(data.c) == pytest.approx(np.arange(n) * 2, abs=1e-3)
    lines = inspect.describe("x.nxs", panels="energy").lines
    held = next(line for line in lines if line.startswith("conditions"))
    assert ":energy" in held and ":/entry/data/T" in held and ":/entry/monitor" in held and "angle" not in held
    # of rows and of another axis at once
    array = RNG.random((4, 8, 12, 15))
    volume_file("many.nxs", array, (Axis("run", "", (0.0, 1.0, 2.0, 3.0)), H, K, E))
    with h5py.File("many.nxs", "a") as file:
        file["entry/name"], file["entry/monitor"] = np.arange(4) * 7.0, np.arange(15.0)
    data = load("many.nxs", ":/entry/name,/entry/monitor", panels="run,energy", held_out=0.0)
    told = np.stack([np.repeat(np.arange(4) * 7, 15), np.tile(np.arange(15), 4)], 1)
    assert data.form.condition.decode(data.c) == pytest.approx(told, abs=1e-3)


def test_rows_of_one_volume_are_said_to_be_alike(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    volume_file("x.nxs")
    data = load("x.nxs", panels="energy", held_out=0.2)
    assert any("from 1 frame or volume, so rows that are trained on are like those held out" in n for n in data.notes)


def test_other_data_are_cut_as_those_of_the_run(tmp_path, monkeypatch):
    """`encode`, `evaluate --against` and so on: volumes are cut, and what was drawn from the run stays as it is."""
    monkeypatch.chdir(tmp_path)
    volume_file("x.nxs")
    volume_file("other.nxs", VOLUME[:, :, ::2] / 2, (H, K, Axis("energy", "meV", E.values[::2])))
    data = load("x.nxs", ":energy", panels="axis=energy", held_out=0.0)
    run = SimpleNamespace(form=data.form, recipe={"data": {"panels": "axis=energy", "weakest": 0.497}})
    x, told = session.rows_of(run, *locate.check("other.nxs", ":energy"))
    np.testing.assert_array_equal(x, np.moveaxis(VOLUME[:, :, ::2] / 2, 2, 0))
    np.testing.assert_allclose(told, E.values[::2])
    np.save("drawn.npy", x)
    np.testing.assert_array_equal(session.rows_of(run, locate.check("drawn.npy")[0])[0], x)
    strong, told = evaluate._rows(run, "other.nxs", ":energy")
    kept = x.max((1, 2)) > 0.497
    assert 0 < kept.sum() < len(x)
    np.testing.assert_array_equal(strong, x[kept])
    np.testing.assert_allclose(told, np.array(E.values[::2])[kept])
    np.save("else.npy", np.zeros((8, 12, 9)))
    refused("no axis 'energy'", call=session.rows_of, args=(run, locate.check("else.npy")[0]))


@pytest.mark.slow
def test_a_run_on_panels_reads_other_volumes(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    volume_file("x.nxs", np.tile(VOLUME, (1, 1, 4)), (H, K, Axis("energy", "meV", tuple(np.linspace(0, 12, 60)))))
    quick = ["--set", "snapshot.count=0", "--set", "doctor.mode=off", "--set", "evaluation.mode=off"]
    train = ["train", "vae", "--data", "x.nxs", "--panels", "energy", "--steps", "2", "--batch", "8", "--run", "r"]
    assert command(monkeypatch, capsys, *train, "--weakest", "0.5", *quick)[0] == 0
    volume_file("other.nxs")
    assert command(monkeypatch, capsys, "encode", "r", "other.nxs", "--out", "z.h5")[0] == 0
    with h5py.File("z.h5") as file:
        assert file["mean"].shape[0] == 15
    assert command(monkeypatch, capsys, "sample", "r", "-n", "5", "--out", "s.nxs")[0] == 0
    assert command(monkeypatch, capsys, "reconstruct", "r", "s.nxs", "--out", "again.nxs")[0] == 0
    with h5py.File("again.nxs") as file:
        assert file["reconstructed"].shape == (5, 8, 12)
    page = Path("r/report.html").read_text()
    assert "on the data’s axes" in page and "counts (1/s)" in page


# -- smaller -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["u1", "u2", "i2", "i4", "i8", "f2", "f4", "f8", "?"])
def test_sums_of_bins_are_exact_and_means_too(dtype):
    whole = RNG.integers(0, 2 if dtype == "?" else 120, (5, 11, 9)).astype(dtype)
    blocks = whole[:, :10].reshape(5, 5, 2, 3, 3).astype(float)
    total = smaller.bin(in_memory("x", whole), "2x3", "sum")
    same(total, blocks.sum((2, 4)).astype(total.dtype))
    kinds = {"u1": "u2", "u2": "u4", "i2": "i4", "i4": "i8", "i8": "f8", "f2": "f4", "f4": "f4", "f8": "f8", "?": "u1"}
    assert total.dtype == kinds[dtype]
    mean = smaller.bin(in_memory("x", whole), "2x3")
    np.testing.assert_allclose(mean.rows(0, 5), blocks.mean((2, 4)), rtol=1e-6)
    assert mean.notes == ("binned 2 × 3 pixels by their mean; not used: 1 row of pixels below",)


def test_the_largest_sum_fits():
    for dtype in (np.uint8, np.uint16, np.uint32, np.int16):
        whole = np.full((1, 4, 4), np.iinfo(dtype).max, dtype)
        assert int(smaller.bin(in_memory("x", whole), "4", "sum").rows(0, 1)[0, 0, 0]) == 16 * np.iinfo(dtype).max


def test_bins_leave_out_what_is_not_known_and_sums_do_not_hide_it():
    whole = np.ones((2, 4, 4), np.float32)
    whole[0, 0, 0], whole[1, :2, :2], whole[1, 3, 3] = np.nan, np.nan, 5
    found = smaller.bin(in_memory("x", whole), "2").rows(0, 2)
    assert found[0].tolist() == [[1, 1], [1, 1]] and np.isnan(found[1, 0, 0]) and found[1, 1, 1] == 2
    total = smaller.bin(in_memory("x", whole), "2", "sum").rows(0, 2)
    assert np.isnan(total[0, 0, 0]) and total[0, 1, 1] == 4


def test_a_crop_keeps_its_axes():
    raw, taken = recorded(VOLUME.transpose(2, 0, 1).copy(), (E, H, K))
    found = smaller.crop(raw, "2:7, :5")
    same(found, VOLUME.transpose(2, 0, 1)[:, 2:7, :5])
    assert found.axes[1].values == H.values[2:7] and found.axes[2].values == K.values[:5]
    taken.clear()
    found.rows(0, 1)
    assert taken == [25]
    both = smaller.bin(found, "5x1")
    assert both.axes[1].values == pytest.approx([np.mean(H.values[2:7])]) and both.axes[1].unit == "r.l.u."
    refused("2:9 is not within 0:8", call=smaller.crop, args=(raw, "2:9,:"))
    refused("7:2 is not within", call=smaller.crop, args=(raw, "7:2,:"))
    refused("such as 10:200,0:128", call=smaller.crop, args=(raw, "2:7"))
    refused("bins of 9 × 9 are larger", call=smaller.bin, args=(raw, "9"))
    refused("unknown way to bin 'max'", call=smaller.bin, args=(raw, "2", "max"))


@pytest.mark.parametrize(
    "values, dtype, said",
    [
        ([1.5], "u2", "1.5"), ([-1.0], "u2", "-1"), ([70_000], "u2", "70000"), ([np.nan], "u2", "nan"),
        ([7e4], "f2", "70000"), ([2049], "f2", "2049"), ([2**24 + 1], "f4", "16777217"), ([2**53 + 2], "f4", "row 7"),
    ],
)  # fmt: skip
def test_a_type_that_does_not_hold_a_value_is_refused(values, dtype, said):
    refused(said, "in row 7", call=smaller.cast, args=(np.array([values]), np.dtype(dtype), "x", [7]))


def test_what_a_type_holds_is_kept_and_floating_point_rounds():
    for values, dtype in (([3.0], "u2"), ([2048], "f2"), ([np.nan, np.inf, 0.1], "f2"), ([2**24], "f4")):
        found = smaller.cast(np.array([values]), np.dtype(dtype), "x", [0])
        np.testing.assert_allclose(found[0], values, rtol=1e-3)
        assert found.dtype == dtype


# -- prepared files ----------------------------------------------------------------------------------------------------


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_prepared_volume_is_small_and_says_what_it_is(here):
    volume = VOLUME * np.linspace(0.1, 1, 15, dtype=np.float32)
    volume_file("x.nxs", volume, chunks=(4, 4, 5), compression="gzip")
    lines = prepare("x.nxs", Path("small.h5"), Job("energy", "0:8,2:12", "2x5", weakest=0.2), ":energy")
    whole = np.moveaxis(volume, 2, 0)[:, :, 2:12].reshape(15, 4, 2, 2, 5).mean((2, 4), dtype=float)
    kept = np.flatnonzero(whole.max((1, 2)) > 0.2)
    assert 4 < len(kept) < 15 and f"kept {len(kept)} of 15 rows, those with a value above 0.2" in lines
    assert lines[-1] == "to train: ludus train r3gan --data small.h5 --condition small.h5:/labels"
    with h5py.File("small.h5") as file:
        np.testing.assert_allclose(file["images"], whole[kept], rtol=1e-6)
        assert file["images"].chunks is None and file["images"].dtype == "f4"
        np.testing.assert_allclose(file["labels"], np.array(E.values)[kept])
        assert file["entry/process/rows"][:].tolist() == kept.tolist()
        assert "ludus prepare x.nxs --panels energy --crop 0:8,2:12" in file["entry/process/command"].asstr()[()]
    data = load("small.h5", "small.h5:/labels", held_out=0.0)
    assert [axis.label for axis in data.form.grid] == ["H (r.l.u.)", "K (r.l.u.)"] and data.form.signal == COUNTS
    assert data.form.grid[1].values == pytest.approx([np.mean(K.values[2:7]), np.mean(K.values[7:12])])
    assert any("from 1 frame or volume" in note for note in data.notes)
    assert not Path("small.h5.partial").exists()


def test_prepared_tiles_of_a_frame_stay_together(here):
    frames = RNG.random((30, 8, 12)).astype(np.float32)
    frames[::3] /= 10
    np.save("x.npy", frames)
    prepare("x.npy", Path("small.h5"), Job(tiles="4", weakest=0.9))
    whole = frames.reshape(30, 2, 4, 3, 4).swapaxes(2, 3).reshape(180, 4, 4)
    kept = np.flatnonzero(whole.max((1, 2)) > 0.9)
    data = load("small.h5", ":row", held_out=0.3)
    held = np.setdiff1d(np.arange(len(kept)), data.rows)
    assert len(held) and not set(kept[held] // 6) & set(kept[data.rows] // 6)
    assert any("cut from one of 20 frames or volumes together" in note for note in data.notes)
    assert data.form.condition.decode(data.c) == pytest.approx(1.5 + 4 * (kept[data.rows] % 6 // 3))


def test_labels_of_any_kind_are_kept(here):
    frames, place = RNG.integers(0, 9, (8, 4, 4), dtype=np.uint8), np.array(["a", "µ", "", "c"] * 2)
    np.save("x.npy", frames)
    np.save("y.npy", place)
    prepare("x.npy", Path("a.h5"), Job(weakest=1.0, dtype="float16"), "y.npy")
    assert load("a.h5", "a.h5:/labels", held_out=0.0).form.condition.columns[0].labels == ("a", "c", "µ")
    np.save("z.npy", np.arange(16.0).reshape(8, 2))
    prepare("x.npy", Path("b.h5"), Job(tiles="2"), "z.npy")
    c = load("b.h5", "b.h5:/labels", held_out=0.0)
    np.testing.assert_allclose(c.form.condition.decode(c.c), np.repeat(np.arange(16.0).reshape(8, 2), 4, 0), atol=1e-5)
    Path("t.csv").write_text("T,phase\n" + "\n".join(f"{i / 2},{'xy'[i % 2]}" for i in range(8)))
    prepare("x.npy", Path("c.h5"), Job(), "t.csv")
    c = load("c.h5", "c.h5:/labels", held_out=0.0)
    assert c.form.condition.columns[1].labels == ("x", "y") and c.form.condition.width == 3


def test_a_killed_job_is_gone_on_with(here):
    frames = RNG.random((4000, 64, 64)).astype(np.float32)
    frames[1::2] *= 0.5
    np.save("x.npy", frames)
    job = ["x.npy", "--bin", "2", "--weakest", "0.8"]
    run = [sys.executable, "-m", "ludus", "prepare", *job, "--out"]
    subprocess.run([*run, "whole.h5"], check=True, capture_output=True)
    running = subprocess.Popen([*run, "x.h5"], stderr=subprocess.PIPE, stdout=subprocess.PIPE)
    while not done("x.h5.partial"):
        time.sleep(0.005)
    running.send_signal(signal.SIGKILL)
    running.communicate()
    if not Path("x.h5").exists():
        assert 0 < done("x.h5.partial") < 4000
        again = subprocess.run([*run, "x.h5"], check=True, capture_output=True)
        assert b"going on from" in again.stderr
    with h5py.File("x.h5") as a, h5py.File("whole.h5") as b:
        for name in ("images", "entry/process/rows"):
            np.testing.assert_array_equal(a[name], b[name])
    assert not Path("x.h5.partial").exists() and not list(here.glob("*.new"))


def done(partial: str) -> int:
    try:
        with h5py.File(partial, "r", locking=False) as file:
            return int(file["entry/process/read"][()])
    except (OSError, KeyError):
        return 0


def test_a_job_that_is_stopped_says_how_it_goes_on(here, monkeypatch):
    np.save("x.npy", RNG.random((40, 8, 8)))
    job = Job(bin="2")

    def asked(self, stop=None, start=0):
        yield 0, self.rows(0, 10)
        os.kill(os.getpid(), signal.SIGTERM)
        yield 10, self.rows(10, 20)

    with monkeypatch.context() as patch, pytest.raises(Interrupted, match="the same command goes on"):
        patch.setattr(Raw, "blocks", asked)
        prepare("x.npy", Path("x.h5"), job)
    refused("is of another job", "--bin 2", call=prepare, args=("x.npy", Path("x.h5"), Job(bin="4")))
    assert done("x.h5.partial") == 10
    np.save("x.npy", np.load("x.npy"))  # another file by now
    refused("x.npy has changed since", "x.h5.partial", "remove", call=prepare, args=("x.npy", Path("x.h5"), job))
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL


def test_a_job_on_several_files_sees_that_one_has_changed(here, monkeypatch):
    for i in range(3):
        np.save(f"{i}.npy", RNG.random((20, 8, 8)))

    def stopped(self, stop=None, start=0):
        yield start, self.rows(start, start + 10)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Raw, "blocks", stopped)
        with pytest.raises(Interrupted):
            prepare("*.npy", Path("x.h5"))
    os.utime("1.npy", (1, 1))
    text = refused("*.npy has changed since", "remove", call=prepare, args=("*.npy", Path("x.h5")))
    assert "{" not in text


def test_what_cannot_be_prepared(here, monkeypatch):
    np.save("x.npy", RNG.random((40, 8, 8)))
    Path("old.h5").write_bytes(b"")
    refused("old.h5 exists", call=prepare, args=("x.npy", Path("old.h5")))
    refused("is the file that is read", call=prepare, args=("x.npy", Path("x.npy")))
    refused("unknown dtype 'float12'", call=prepare, args=("x.npy", Path("x.h5"), Job(dtype="float12")))
    refused("is no uint16", call=prepare, args=("x.npy", Path("y.h5"), Job(dtype="uint16")))
    refused("no row has a value above weakest = 2", call=prepare, args=("x.npy", Path("x.h5"), Job(weakest=2.0)))
    assert not Path("x.h5").exists() and not Path("x.h5.partial").exists()
    refused("no axis 'energy'", call=prepare, args=("x.npy", Path("x.h5"), Job("energy")))
    refused("x.txt: a .h5 or .nxs file", call=run_cli, args=("prepare", "x.npy", "--out", "x.txt"))
    monkeypatch.setattr("ludus.runs.growing.shutil.disk_usage", lambda path: SimpleNamespace(free=1000))
    with pytest.raises(StoreError, match=r"needs .* are free: free some space, or make it smaller"):
        prepare("x.npy", Path("x.h5"))


def run_cli(*words):
    cli.app(list(words), standalone_mode=False)


@pytest.mark.slow
def test_memory_stays_where_it_was(here):
    """A file of 400 MB, whose blocks are 64 times their result, is prepared within 150 MB above an idle Python."""
    with h5py.File("x.h5", "w") as file:
        images = file.create_dataset("images", (200, 1024, 1024), "u2", chunks=(1, 1024, 1024), compression="lzf")
        for i in range(200):
            images[i] = i
    code = """if True:
        import resource, sys
        from pathlib import Path
        from ludus.prepare import Job, prepare
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        prepare("x.h5", Path("small.h5"), Job(bin="8"))
        print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024)"""
    found = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert float(found.stdout) < 150
    with h5py.File("small.h5") as file:
        assert file["images"][:, 0, 0].tolist() == list(range(200))


# -- drawn -------------------------------------------------------------------------------------------------------------


def texts(figure) -> set[str]:
    figure.canvas.draw_idle()
    found = [t.get_text() for axes in figure.axes for t in (axes.xaxis.label, axes.yaxis.label)]
    return set(found) - {""}


def test_pictures_stand_on_the_axes_of_the_data():
    x = RNG.random((9, 8, 12))
    drawn = figures.overview(x, (H, K), COUNTS)
    assert texts(drawn) == {"H (r.l.u.)", "K (r.l.u.)", "counts (1/s)"}
    large = next(axes for axes in drawn.axes if axes.get_xlabel() == "K (r.l.u.)")
    step = H.values[1] - H.values[0]
    assert large.images[0].get_extent() == pytest.approx([-0.05, 1.15, -0.1 + step / 2, -2 - step / 2])
    middle = np.argsort(x.max((1, 2)))[4]
    assert large.get_title(loc="left") == f"row {middle}"
    np.testing.assert_array_equal(large.images[0].get_array(), x[middle])  # row 0 at the top, where H is -2
    assert large.get_ylim()[1] < large.get_ylim()[0] or H.values[0] < H.values[-1]
    assert large.transData.transform((0, -2))[1] > large.transData.transform((0, -0.1))[1]
    assert texts(figures.overview(x)) == set() and len(figures.overview(x).axes) == 2  # nothing known: the grid alone


def test_uneven_axes_are_marked_at_some_pixels():
    uneven = Axis("q", "1/Å", (0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0))
    drawn = figures.described({"real": RNG.random((8, 12))}, (uneven, K), COUNTS)
    side = drawn.axes[0].yaxis
    for place, label in zip(side.get_ticklocs(), side.get_ticklabels()):
        assert float(label.get_text()) == uneven.values[int(place)]
    assert drawn.axes[0].images[0].get_extent()[2:] == pytest.approx([7.5, -0.5])
    assert measured.span(Axis("y", "", (3.0, 2.0, 1.0)), 3) == (3.5, 0.5)  # a falling one falls
    assert measured.span(Axis("y", "mm", (3.0,)), 1) == (-0.5, 0.5)


def test_the_names_of_columns_and_conditions_go_with_a_run(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    rows = "\n".join(f"{a},{b},{c},{i % 3}.5" for i, (a, b, c) in enumerate(RNG.normal(size=(40, 3))))
    Path("x.csv").write_text(f"height,weight,age,dose\n{rows}\n")
    assert "axis 1: columns height, weight, age, dose" in command(monkeypatch, capsys, "inspect", "x.csv")[1]
    quick = ("--set", "snapshot.count=0", "--set", "doctor.mode=off", "--steps", "2", "--run", "r")
    words = ("train", "gan", "--data", "x.csv:height,weight,age", "--condition", "x.csv:dose", *quick)
    assert command(monkeypatch, capsys, *words)[0] == 0
    run = api.load("r")
    assert run.form.columns == ("height", "weight", "age")
    drawn = session.drawing(run.form, run.sample(4), run.real)
    assert texts(drawn) == {"height, 1 of 3", "weight, 2 of 3"}
    assert texts(figures.points({"real": run.real})) == {"x₁ of 3", "x₂ of 3"}
    assert [each.name for each in curves(run.real, run.form.grid)][:2] == ["histogram of height", "histogram of weight"]
    assert command(monkeypatch, capsys, "sample", "r", "-n", "4", "-c", "1.5", "--out", "s.nxs")[0] == 0
    with h5py.File("s.nxs") as file:
        assert list(file["points"].attrs["columns"]) == ["height", "weight", "age"]
        assert file["conditions"].attrs["long_name"] == "dose"


def test_points_along_an_axis_are_named_by_its_values():
    form, energies = load(RNG.normal(size=(40, 2))).form, Axis("E", "meV", (1.5, 3.0))
    assert form.columns == () and replace(form, grid=(energies,)).columns == ("E 1.5 meV", "E 3 meV")
    assert replace(form, grid=(Axis("E", "meV", (1.5, 3.0, 4.0)),)).columns == ()  # of another length


@pytest.mark.parametrize("name, own", [
    ("x.nxs:/entry/data :energy (meV)", "energy (meV)"), ("x.nxs:/entry/data :current (1/s)", "current (1/s)"),
    ("/a/x.h5:/entry/T", "T"), ("t.csv:dose", "dose"), ("t.csv, phase", "phase"), ("y.npy", "y.npy"), ("(", "("),
    ("the array of conditions, column 1", "column 1"),
])  # fmt: skip
def test_the_own_name_of_a_condition(name, own):
    assert condition.short(name) == own


def test_a_condition_along_panels_has_its_unit(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    volume_file("x.nxs")
    form = load("x.nxs", ":energy", panels="energy", held_out=0.0).form
    assert Form.from_json(form.to_json()).condition.columns[0].name == "energy (meV)"


def test_curves_are_in_the_units_of_the_axes():
    x = RNG.random((20, 8, 12, 1))
    found = {each.name: each for each in curves(x, (H, K), COUNTS)}
    plain = {each.name: each for each in curves(x)}
    assert found.keys() == plain.keys()
    step = abs(K.step)
    across = found["power spectrum across columns"]
    np.testing.assert_allclose(across.at, plain["power spectrum across columns"].at / step)
    assert across.along == "frequency (cycles per r.l.u.)" and across.height == "power ((1/s)²)"
    assert found["correlation across columns"].at[-1] == pytest.approx(6 * step)
    assert found["column means"].at.tolist() == list(K.values) and found["column means"].along == "K (r.l.u.)"
    assert found["row means"].height == "mean counts (1/s)" and plain["row means"].height == "mean (data's units)"
    assert found["histogram"].along == "counts (1/s)"
    for name, each in found.items():
        np.testing.assert_array_equal(each(x), plain[name](x))


def test_an_axis_knows_its_step():
    assert Axis("a", "", tuple(np.arange(1000, dtype=np.float32) * 0.01 + 1000)).step == pytest.approx(0.01, rel=1e-3)
    assert Axis("a", "", (1.0, 2.0, 4.0)).step is None and Axis("a", "", (1.0, 1.0)).step is None
    assert Axis("a").step is None and Axis("a", "", (5.0,)).step is None and Axis("a", "", (2.0, 1.0)).step == -1
    assert Axis("", "meV").label == "meV" and Axis("E", "meV").label == "E (meV)" and Axis("E").label == "E"
