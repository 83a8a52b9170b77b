"""Data come in exactly and go back exactly; whatever cannot be used is refused in one line that says what to do."""

import gzip
import hashlib
import io
import json
import os
import pickle
import subprocess
import sys
import tracemalloc
import warnings
import zipfile
from pathlib import Path

import h5py
import numpy as np
import pytest

from ludus.data import inspect, locate, mnist
from ludus.data import raw as raws
from ludus.data.form import Form
from ludus.data.load import load
from ludus.errors import UserError

RNG = np.random.default_rng(0)
PICTURES = RNG.integers(0, 200, (40, 9, 7), dtype=np.uint8)


def refused(*fragments, call=load, args=(), **options):
    """The call is refused in one line that holds every fragment."""
    with pytest.raises(UserError) as caught:
        call(*args, **options)
    text = str(caught.value)
    assert "\n" not in text
    for fragment in fragments:
        assert str(fragment) in text, f"{fragment!r} is not in: {text}"
    return text


@pytest.fixture
def here(tmp_path, monkeypatch):
    """An empty folder to be in, without MNIST anywhere."""
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.chdir(work)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.delenv("LUDUS_DATA", raising=False)
    return work


def all_rows(data):
    return np.concatenate([data.x, data.held_out_x])


# -- there and back ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "raw",
    [
        PICTURES,
        RNG.integers(0, 2**16, (20, 6, 5, 1), dtype=np.uint16),
        RNG.integers(-500, 500, (20, 6, 5)).astype(">i2"),
        RNG.normal(1000, 3, (20, 6, 5, 3)).astype(np.float32),
        RNG.normal(1e6, 200, (20, 6, 5)),
        RNG.normal(0, 1e-20, (20, 6, 5)),
        RNG.integers(0, 2, (20, 6, 5)).astype(bool),
        RNG.normal(5, 2, (50, 3)).astype(">f8"),
        RNG.normal(5, 2, 50),
        RNG.normal(0, 1, (20, 6, 5)).astype(np.float16),
    ],
    ids=["uint8", "uint16", "big-endian", "float32x3", "offset", "tiny", "bool", "points", "line", "half"],
)
@pytest.mark.parametrize("scaling", ["auto", "minmax", "standard", "none"])
def test_round_trip_is_exact_to_float32(raw, scaling):
    data = load(raw, scaling=scaling, held_out=0)
    form = Form.from_json(json.loads(json.dumps(data.form.to_json())))
    assert form == data.form
    back = form.to_user(data.x)
    assert back.shape == raw.shape and back.dtype == np.float32 and back.flags.c_contiguous
    spread = float(raw.max()) - float(raw.min())
    unit = np.finfo(np.float32).eps  # of the network's number times the spread, and of the user's number
    assert np.abs(back - raw.astype(np.float64)).max() <= unit * (2 * spread + np.abs(raw.astype(np.float64)).max())
    assert np.array_equal(form.to_network(raw), data.x)


@pytest.mark.parametrize("shape, net", [((10, 20, 200, 1), (1, 20, 200)), ((10, 33, 50, 3), (3, 33, 50))])
def test_channels_last_come_back_last(shape, net):
    raw = RNG.integers(0, 256, shape, dtype=np.uint8)
    data = load(raw, held_out=0)
    assert data.form.shape == net == data.x.shape[1:] and data.form.kind == "images"
    assert data.x[3, net[0] - 1, 7, 11] == pytest.approx((raw[3, 7, 11, -1] - 127.5) / 127.5, abs=1e-6)
    assert np.array_equal(np.round(data.form.to_user(data.x)), raw)


def test_channels_first_and_said():
    raw = RNG.integers(0, 256, (10, 3, 20, 30), dtype=np.uint8)
    assert load(raw).form.axes == "NCHW"
    assert load(raw, channels="last").form.shape == (30, 3, 20)
    cube = RNG.normal(size=(10, 4, 4, 4))
    refused("4 × 4 × 4", "--channels first or last", args=(cube,))
    assert load(cube, channels="first").form.axes == "NCHW"
    refused("--channels first or last", args=(np.zeros((10, 8, 8, 8)),))
    refused("4 axes", args=(cube,), channels="none")
    refused("none of them for channels", args=(PICTURES,), channels="last")
    refused("5 axes", args=(np.zeros((5, 2, 2, 2, 2)),))


def test_minmax_fills_the_range_and_is_fitted_on_training_rows():
    data = load(PICTURES)
    assert data.form.bounded and data.x.min() == -1 and data.x.max() == 1
    raw = np.zeros((100, 3, 3))
    raw[:, 0, 0] = np.arange(100)
    other = load(raw, held_out=0.5)
    train = other.form.to_user(other.x)[:, 0, 0]
    assert other.form.scaling.offset == (train.max() / 2,) and other.x.max() == 1


def test_points_keep_their_geometry():
    raw = RNG.normal([3, -7], [1, 4], (4000, 2))
    data = load(raw, held_out=0)
    assert not data.form.bounded and data.form.kind == "points"
    assert data.x.mean(0) == pytest.approx([0, 0], abs=1e-6)
    assert np.square(data.x).mean() == pytest.approx(1, abs=1e-6)
    assert data.form.scaling.offset == pytest.approx(raw.mean(0), rel=1e-12)
    assert data.form.scaling.scale == pytest.approx(np.sqrt(raw.var(0).mean()), rel=1e-12)


def test_moments_across_blocks(monkeypatch):
    monkeypatch.setattr(raws, "BLOCK", 8 * 3 * 7)
    raw = RNG.normal(1e7, 1, (1000, 3))
    data = load(raw, held_out=0.3)
    kept = np.isin(raw[:, 0].astype(np.float32), data.form.to_user(data.x)[:, 0])
    assert kept.sum() >= 700
    assert data.form.scaling.scale == pytest.approx(1, abs=0.05)
    assert np.abs(np.corrcoef(np.sort(all_rows(data)[:, 0]), np.sort(raw[:, 0]))[0, 1]) > 0.999999


def test_pictures_for_drawing():
    colour = RNG.integers(0, 256, (10, 3, 20, 30), dtype=np.uint8)
    form = load(colour).form
    assert np.array_equal(form.pictures(colour), colour.transpose(0, 2, 3, 1))
    grey = load(PICTURES).form
    assert np.array_equal(grey.pictures(PICTURES), PICTURES)
    two = RNG.normal(size=(10, 8, 8, 2))
    assert np.array_equal(load(two).form.pictures(two), two[..., 0])
    refused("points", call=load(RNG.normal(size=(10, 2))).form.pictures, args=(np.zeros((1, 2)),))


# -- the split and the fingerprint -------------------------------------------------------------------------------------


def test_split_is_by_seed_and_loses_no_row():
    raw = np.arange(1000.0)[:, None]
    data, same, other = load(raw), load(raw, seed=0), load(raw, seed=1)
    assert len(data.held_out_x) == 100
    rows = np.round(data.form.to_user(all_rows(data))[:, 0])
    assert np.array_equal(np.sort(rows), np.arange(1000))
    assert data.held_out_hash == same.held_out_hash != other.held_out_hash
    assert data.fingerprint == same.fingerprint == other.fingerprint
    assert len(load(raw[:10], held_out=0.01).held_out_x) == 1
    assert len(load(raw, held_out=0).held_out_x) == 0


def test_conditions_stay_with_their_rows():
    raw = np.arange(500.0)[:, None]
    data = load(raw, raw[:, 0] * 3 + 1, held_out=0.2)
    for x, c in ((data.x, data.c), (data.held_out_x, data.held_out_c)):
        value = c[:, 0] * data.form.condition.columns[0].scale + data.form.condition.columns[0].offset
        assert value == pytest.approx(data.form.to_user(x)[:, 0] * 3 + 1, abs=1e-2)


def test_fingerprint_is_of_the_content(here):
    raw = RNG.normal(size=(20, 5, 4)).astype(np.float32)
    np.save("x.npy", raw)
    np.save("big.npy", raw.astype(">f4"))
    np.save("fortran.npy", np.asfortranarray(raw))
    np.savez("x.npz", raw)
    with h5py.File("x.h5", "w") as file:
        file.create_dataset("a/x", data=raw, chunks=(3, 5, 4), compression="gzip")
    prints = {load(s).fingerprint for s in (raw, "x.npy", Path("big.npy"), "fortran.npy", "x.npz", "x.h5:/a/x", "x.h5")}
    assert len(prints) == 1
    other = raw.copy()
    other[7, 1, 1] += 1e-6
    different = [load(other), load(raw.astype(np.float64)), load(raw.reshape(20, 4, 5)), load(raw, np.arange(20))]
    assert len({each.fingerprint for each in different} | prints) == 5
    assert np.array_equal(load("fortran.npy").x, load("x.h5").x)


def test_some_rows():
    raw = np.arange(100.0)[:, None]
    data = load(raw, n=20)
    rows = np.round(data.form.to_user(all_rows(data))[:, 0]).astype(int)
    assert len(set(rows)) == 20 and rows.max() > 50 and any("picked 20 of 100 rows" in note for note in data.notes)
    refused("100 rows", "n = 200", args=(raw,), n=200)
    refused("n = 2", args=(raw,), n=2)


def test_a_part_with_every_row_of_a_block_held_out(monkeypatch):
    monkeypatch.setattr(raws, "BLOCK", 8)  # a row a block
    raw = np.arange(60.0)[:, None]
    data = load(raw, nan="drop", held_out=0.3)
    assert np.array_equal(np.sort(np.round(data.form.to_user(all_rows(data))[:, 0])), np.arange(60))


def test_notes_say_what_was_done():
    raw = PICTURES.astype(np.float32)
    raw[3, 2, 1] = np.nan
    text = "\n".join(load(raw, np.arange(40) % 3, nan="drop").notes)
    for piece in (
        "40 × 9 × 7 float32",
        "9 × 7 pixels",
        "scaled to [-1, 1]",
        "dropped",
        "held out: 4 of 39",
        "3 classes: 0, 1, 2",
    ):
        assert piece in text


def test_an_offset_too_large_for_float32_is_said():
    raw = np.linspace(1e6, 1e6 + 1, 40)[:, None]
    data = load(raw)
    text = "\n".join(data.notes)
    assert "1000000 to 1000001" in text and "float32 steps of 0.0625, coarse" in text and "subtract the offset" in text
    steps = data.form.to_user(data.x)[:, 0] / 0.0625
    assert np.array_equal(steps, np.round(steps)) and len(set(steps)) <= 17  # as the note says
    fine = ["seven digits", "float32 steps"]
    for other in (raw - 1e6, RNG.normal(1e6, 200, (40, 2)), np.arange(40) + 2**23, PICTURES):
        assert not any(each in note for note in load(other).notes for each in fine)
    assert "seven digits" in "\n".join(load(np.linspace(0, 1e9, 40)).notes)
    assert "123456789.25 to 123456789.75" in load(np.linspace(123456789.25, 123456789.75, 40)).notes[0]
    assert "range: 1000000 to 1000001" in inspect.describe(raw).lines


# -- conditions --------------------------------------------------------------------------------------------------------


def test_classes_are_one_hot_in_the_order_of_their_labels():
    labels = np.array([5, 2, 9, 2] * 10)
    data = load(PICTURES, labels, held_out=0)
    assert data.form.conditions == 3 and data.form.condition.columns[0].labels == (2, 5, 9)
    assert np.array_equal(data.c[:4], [[0, 1, 0], [1, 0, 0], [0, 0, 1], [1, 0, 0]])
    assert data.c.dtype == np.float32


def test_what_a_user_types_is_encoded():
    form = load(PICTURES, np.arange(40) % 4).form
    three = np.eye(4, dtype=np.float32)[3]
    for given in (3, 3.0, "3", " 3 ", np.int64(3), np.uint8(3), [3], np.array([[3]])):
        assert np.array_equal(form.encode_condition(given), [three])
    assert np.array_equal(form.encode_condition("3", 5), np.tile(three, (5, 1)))
    assert np.array_equal(form.encode_condition("0,1,2,3"), np.eye(4))
    assert np.isnan(form.encode_condition(None, 2)).all() and form.encode_condition(None, 2).shape == (2, 4)
    refused("unknown class '7'", "0, 1, 2, 3", call=form.encode_condition, args=("7",))
    refused("2 conditions for 5", "mean one each; give 1 or 5", call=form.encode_condition, args=("1,2", 5))
    for given in ("3.0", "3e0", 3.0):
        assert np.array_equal(form.encode_condition(given), [three])
    refused("unknown class '3.5'", call=form.encode_condition, args=("3.5",))
    assert np.isnan(form.encode_condition([None] * 4, 4)).all() and form.encode_condition([None] * 3).shape == (3, 4)
    some = form.encode_condition([3, None], 2)
    assert np.array_equal(some[0], three) and np.isnan(some[1]).all()
    refused("without a condition", call=load(PICTURES).form.encode_condition, args=("3",))


def test_text_labels_and_truth_values():
    names = np.array(["cat", "dog, big"] * 20)
    form = load(PICTURES, names).form
    assert np.array_equal(form.encode_condition("dog, big"), [[0, 1]])
    assert np.array_equal(form.encode_condition("cat", 2), [[1, 0], [1, 0]])
    refused("'cot'", "Did you mean 'cat'", call=form.encode_condition, args=("cot",))
    yes = load(PICTURES, names == "cat").form
    assert yes.condition.columns[0].labels == (0, 1) and np.array_equal(yes.encode_condition(True), [[0, 1]])
    for given, code in (("True", [0, 1]), ("true", [0, 1]), ("False", [1, 0]), ("1", [0, 1]), ("0.0", [1, 0])):
        assert np.array_equal(yes.encode_condition(given), [code])
    told = load(PICTURES, np.array(["True", "nan"] * 20)).form  # words that are the user's own keep their meaning
    assert np.array_equal(told.encode_condition("True,nan"), [[1, 0], [0, 1]])
    assert np.isnan(told.encode_condition(None)).all()
    assert Form.from_json(json.loads(json.dumps(form.to_json()))) == form
    refused("text", args=(PICTURES, names), condition_kind="values")


def test_a_constant_column_keeps_its_scale():
    """Fifty times 0.1 have a standard deviation of 3e-17, which is no scale to divide by."""
    c = np.stack([np.full(50, 0.1), np.linspace(0, 1, 50)], 1)
    found = load(RNG.normal(size=(50, 4, 4)), c, held_out=0)
    assert found.form.condition.columns[0].scale == 1 and np.abs(found.c[:, 0]).max() < 1e-12


def test_values_are_standardised_column_by_column():
    values = RNG.normal([3, -100], [0.1, 20], (40, 2))
    data = load(PICTURES, values, held_out=0)
    assert data.c.mean(0) == pytest.approx([0, 0], abs=1e-6) and data.c.std(0) == pytest.approx([1, 1], abs=1e-6)
    expected = (np.array([3.2, -80]) - values.mean(0)) / values.std(0)
    for given in ("3.2,-80", [3.2, -80], np.array([[3.2, -80]])):
        assert data.form.encode_condition(given, 3) == pytest.approx(np.tile(expected, (3, 1)), rel=1e-6)
    refused("2 entries, not 1", call=data.form.encode_condition, args=("3.2",))
    refused("'warm' is not a number", call=data.form.encode_condition, args=("warm,2",))
    assert np.isnan(data.form.encode_condition([None] * 4, 4)).all()
    assert np.isnan(data.form.encode_condition([None, -80])).tolist() == [[True, False]]
    refused("condition 1e+300", "float32", call=data.form.encode_condition, args=("1e300,2",))
    refused("is not a number", call=data.form.encode_condition, args=([10**400, 2],))
    refused("3 conditions for 5", "give 1 or 5", call=data.form.encode_condition, args=([[1, 2]] * 3, 5))
    refused("different lengths", call=data.form.encode_condition, args=([None, [1, 2]],))


def test_missing_conditions_are_nan():
    values = np.linspace(0, 1, 40)
    values[5] = np.nan
    data = load(PICTURES, values, held_out=0)
    assert np.isnan(data.c[5]).all() and np.isnan(data.c).sum() == 1
    assert np.nanmean(data.c) == pytest.approx(0, abs=1e-6)
    assert any("unknown (NaN) in 1 of 40 rows" in note for note in data.notes)
    classes = load(
        PICTURES, np.where(np.isnan(values), np.nan, np.arange(40) % 2), condition_kind="classes", held_out=0
    )
    assert classes.form.condition.columns[0].labels == (0, 1)
    assert np.isnan(classes.c[5]).all() and np.array_equal(classes.c[7], [0, 1])


def test_columns_of_classes_stand_side_by_side():
    data = load(PICTURES, np.stack([np.arange(40) % 2, np.arange(40) % 3], 1), held_out=0)
    assert np.array_equal(data.c[4], [1, 0, 0, 1, 0])
    assert np.array_equal(data.form.encode_condition("1,2"), [[0, 1, 0, 0, 1]])


def test_conditions_that_cannot_be_used():
    refused("30 rows", "40", args=(PICTURES, np.arange(30)))
    many = np.arange(400).reshape(400, 1)
    refused("400 distinct", "condition_kind", args=(many.astype(float), many))
    assert load(many.astype(float), many, condition_kind="values").form.conditions == 1
    assert load(many.astype(float), many, condition_kind="classes").form.conditions == 400
    refused("(n, columns)", args=(PICTURES, np.zeros((40, 2, 2))))
    refused("infinite", args=(PICTURES, np.full(40, np.inf)))
    refused("NaN in every row", args=(PICTURES, np.full(40, np.nan)))
    refused("complex128", args=(PICTURES, np.zeros(40, complex)))
    refused("too large", "1e+300", args=(PICTURES, np.linspace(-1e300, 1e300, 40)))
    assert any("1 class: 4" in note for note in load(PICTURES, np.full(40, 4)).notes)


# -- gaps and hopeless data --------------------------------------------------------------------------------------------


def test_gaps_are_counted_and_need_a_decision():
    raw = PICTURES.astype(np.float64)
    raw[3, 2, 1] = raw[3, 2, 2] = np.nan
    raw[8, 0, 0] = -np.inf
    refused("2 NaN and 1 infinite values in 2 of 40 rows", "--nan drop", "--nan fill=0", args=(raw,))
    dropped = load(raw, np.arange(40.0), nan="drop", held_out=0)
    assert np.array_equal(np.round(dropped.form.to_user(dropped.x)), np.delete(raw, [3, 8], 0))
    assert (
        np.round(dropped.c[3, 0] * dropped.form.condition.columns[0].scale + dropped.form.condition.columns[0].offset)
        == 4
    )
    filled = load(raw, nan="fill=7", held_out=0).form.to_user(load(raw, nan="fill=7", held_out=0).x)
    assert filled[3, 2, 1] == filled[3, 2, 2] == filled[8, 0, 0] == pytest.approx(7, abs=1e-4)
    for wrong in ("fill", "fill=x", "fill=nan", "7", "mean"):
        refused("fill=V", repr(wrong), args=(raw,), nan=wrong)
    refused("float32, which cannot hold", args=(raw.astype(np.float32),), nan="fill=1e39")


def test_masked_entries_are_gaps():
    masked = np.ma.masked_array(PICTURES, PICTURES < 50)
    refused(f"{(PICTURES < 50).sum():,} NaN", args=(masked,))
    assert load(np.ma.masked_array(PICTURES)).fingerprint == load(PICTURES).fingerprint


@pytest.mark.parametrize(
    "raw, fragments",
    [
        (np.full((20, 4, 4), np.nan), ["no finite value"]),
        (np.full((20, 4, 4), 0.1), ["constant", "0.1"]),
        (np.zeros((0, 4, 4)), ["empty", "(0, 4, 4)"]),
        (np.zeros((20, 0)), ["empty"]),
        (np.arange(6.0).reshape(3, 2), ["3 rows", "4 are needed"]),
        (np.ones((20, 3), complex), ["complex"]),
        (np.array([["a"]] * 20), ["text"]),
        (np.zeros(20, [("a", float)]), ["records"]),
        (np.array(3.0), ["single number"]),
        (np.array([{}] * 20), ["Python objects (dict)"]),
        (np.array([[1e300], [0.0]] * 10), ["1e+300", "float32"]),
        (np.array([[1e-300], [0.0]] * 10), ["1e-300", "float32"]),
        (np.zeros(20, "M8[s]"), ["datetime64[s]"]),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else "",
)
def test_hopeless_arrays(raw, fragments):
    refused(*fragments, args=(raw,))


@pytest.mark.skipif(np.dtype(np.longdouble).itemsize == 8, reason="long doubles are float64 here")
def test_long_doubles_are_refused():
    refused("convert it to float64", args=(np.arange(40, dtype=np.longdouble),))
    refused("condition", "convert it to float64", args=(PICTURES, np.arange(40, dtype=np.longdouble)))


def test_mixed_shapes_name_the_first_odd_row():
    rows = [np.ones((4, 4)) * i for i in range(6)]
    assert load(rows).x.shape[1:] == (1, 4, 4)
    rows[4] = np.ones((4, 5))
    refused("row 4 is (4, 5)", "(4, 4)", args=(rows,))
    ragged = np.empty(6, object)
    ragged[:] = rows
    refused("row 4 is (4, 5)", args=(ragged,))
    refused("row 1", args=([[1, 2], [1, [2, 3]]],))


def test_too_few_rows_remain():
    raw = np.full((20, 2), np.nan)
    raw[:3] = 1
    refused("3 rows without gaps, of 20", args=(raw,), nan="drop")
    refused("held_out = 0.99", args=(RNG.normal(size=(20, 2)),), held_out=0.99)
    refused("held_out = 1", args=(PICTURES,), held_out=1.0)
    refused("scaling", "'log'", args=(PICTURES,), scaling="log")
    refused("seed = -1", args=(PICTURES,), seed=-1)
    refused(f"seed = {2**63}", args=("ring",), seed=2**63)
    refused("seed = 1.5", "whole number", args=(PICTURES,), seed=1.5)
    assert load("ring", n=100, seed=np.int64(3)).fingerprint == load("ring", n=100, seed=3).fingerprint
    assert len(load("ring", n=100, seed=2**63 - 1).x) == 90


# -- NPY and NPZ -------------------------------------------------------------------------------------------------------


def npy_header(shape, descr="<f4"):
    head = io.BytesIO()
    np.lib.format.write_array_header_1_0(head, {"descr": descr, "fortran_order": False, "shape": shape})
    return head.getvalue()


def test_npy_that_claims_more_than_it_holds(here):
    Path("x.npy").write_bytes(npy_header((1_000_000, 1000, 1000)) + bytes(64))
    refused("x.npy", "truncated", f"{4 * 10**12:,}", "4.0 TB", "holds 64", args=("x.npy",))
    np.save("y.npy", PICTURES)
    whole = Path("y.npy").read_bytes()
    Path("y.npy").write_bytes(whole[:-100])
    refused("truncated", f"{PICTURES.nbytes:,} bytes", f"{PICTURES.nbytes - 100:,}", args=("y.npy",))
    Path("z.npy").write_bytes(npy_header((-1, 4)))
    refused("z.npy", args=("z.npy",))


def test_npy_beyond_the_budget(here, monkeypatch):
    np.save("x.npy", PICTURES)
    monkeypatch.setattr(raws, "budget", lambda: 5000)
    data = load("x.npy")
    assert "larger than the memory of 5.0 kB" in data.notes[-1] and len(data.x) < data.n == 36
    monkeypatch.setattr(raws, "budget", lambda: 4000)
    refused("x.npy", "memory of 4.0 kB", "needs 4.0 kB", "data.memory=", args=("x.npy",))
    monkeypatch.undo()
    assert raws.budget() > 10**6


def test_pickles_are_never_opened(here):
    class Evil:
        def __reduce__(self):
            return os.mkdir, ("opened",)

    objects = np.empty(20, object)
    objects[:] = [Evil() for _ in range(20)]
    np.save("x.npy", objects, allow_pickle=True)
    np.savez("x.npz", a=objects)
    Path("bare.npy").write_bytes(pickle.dumps(Evil()))
    Path("x.pkl").write_bytes(pickle.dumps(Evil()))
    refused("x.npy", "pickle", args=("x.npy",))
    refused("x.npz:a", "pickle", args=("x.npz",))
    refused("bare.npy", "not an NPY file", args=("bare.npy",))
    refused("x.pkl", "pickle", args=("x.pkl",))
    inspect_it = refused("pickle", call=inspect.describe, args=("x.npy",))
    assert inspect_it and not Path("opened").exists()


def test_npz(here):
    np.savez_compressed("x.npz", x=PICTURES, y=np.arange(40) % 2)
    data = load("x.npz:x", "x.npz:y", held_out=0)
    assert np.array_equal(np.round(data.form.to_user(data.x)), PICTURES) and data.c[3, 1] == 1
    refused("2 arrays", "x.npz:x (40 × 9 × 7 uint8)", "x.npz:y (40 int64)", args=("x.npz",))
    refused("'z'", "x, y", args=("x.npz:z",))
    whole = Path("x.npz").read_bytes()
    Path("cut.npz").write_bytes(whole[: len(whole) // 2])
    refused("cut.npz", "NPZ", args=("cut.npz:x",))
    with zipfile.ZipFile("x.npz") as archive:
        place = archive.infolist()[0].header_offset + 200
    Path("flip.npz").write_bytes(whole[:place] + bytes([whole[place] ^ 255]) + whole[place + 1 :])
    refused("flip.npz", args=("flip.npz:x",))


def test_npz_bombs_are_not_unpacked(here, monkeypatch):
    monkeypatch.setattr(raws, "budget", lambda: 10**7)
    with zipfile.ZipFile("bomb.npz", "w", zipfile.ZIP_DEFLATED) as archive, archive.open("x.npy", "w") as file:
        file.write(npy_header((60, 1000, 1000), "|u1"))
        for _ in range(60):
            file.write(bytes(10**6))
    assert Path("bomb.npz").stat().st_size < 10**6
    tracemalloc.start()
    refused("bomb.npz:x", "budget of 10.0 MB", args=("bomb.npz",))
    assert tracemalloc.get_traced_memory()[1] < 10**7
    tracemalloc.stop()
    with zipfile.ZipFile("liar.npz", "w") as archive:
        archive.writestr("x.npy", npy_header((1000, 1000)) + bytes(10))
    refused("liar.npz:x", "truncated", args=("liar.npz",))


# -- HDF5 --------------------------------------------------------------------------------------------------------------


@pytest.fixture
def h5(here):
    with h5py.File("x.h5", "w") as file:
        file["entry/x"] = PICTURES
        file["entry/y"] = np.arange(40) % 2
        file["other"] = PICTURES.astype(np.float32)
        file["soft"] = h5py.SoftLink("/entry/x")
        file["words"] = np.array(["a", "b"] * 20, object)
        file["number"] = 3.0
        file["empty"] = h5py.Empty("f4")
    return "x.h5"


def test_hdf5_and_its_conditions(h5):
    data = load("x.h5:/entry/x", "x.h5:/entry/y", held_out=0)
    assert np.array_equal(np.round(data.form.to_user(data.x)), PICTURES) and np.array_equal(data.c[5], [0, 1])
    assert load("x.h5:soft").fingerprint == load("x.h5:entry/x").fingerprint
    assert load("x.h5:/other", "x.h5:words").form.condition.columns[0].labels == ("a", "b")


def test_hdf5_without_the_right_name(h5):
    refused("x.h5:/name", "/entry/x (40 × 9 × 7 uint8)", "/other", args=("x.h5",))
    refused("'/entry/z'", "x.h5", "/entry/x (40 × 9 × 7 uint8)", args=("x.h5:/entry/z",))
    refused("'/entry/x/y'", args=("x.h5:/entry/x/y",))
    refused("x.h5:/entry is a group", "/entry/x", args=("x.h5:/entry",))
    refused("single number", args=("x.h5:/number",))
    refused("empty", args=("x.h5:/empty",))
    refused("text", args=("x.h5:/words",))


def test_hdf5_never_leads_to_another_file(here):
    with h5py.File("secret.h5", "w") as file:
        file["g/x"] = PICTURES
    Path("secret.bin").write_bytes(bytes(800))
    layout = h5py.VirtualLayout((40, 9, 7), np.uint8)
    layout[:] = h5py.VirtualSource("../secret.h5", "g/x", (40, 9, 7))
    with h5py.File("x.h5", "w") as file:
        file["external"] = h5py.ExternalLink("secret.h5", "/g")
        file["indirect"] = h5py.SoftLink("/external/x")
        file["dangling"] = h5py.SoftLink("/nowhere")
        file["loop"] = h5py.SoftLink("/loop")
        file.create_virtual_dataset("virtual", layout)
        file.create_dataset("stored", (100,), "f8", external=[("secret.bin", 0, 800)])
        file["group/self"] = file["/"]
    refused("another file", "secret.h5", args=("x.h5:/external",))
    refused("another file", "secret.h5", args=("x.h5:/external/x",))
    refused("another file", "secret.h5", args=("x.h5:/indirect",))
    refused("no dataset", "/virtual", args=("x.h5:/dangling",))
    refused("leads back to itself", args=("x.h5:/loop",))
    refused("../secret.h5", "outside of its folder", args=("x.h5:/virtual",))
    refused("another file", args=("x.h5:/stored",))
    refused("no dataset '/group/none'", args=("x.h5:/group/none",))
    listed = inspect.contents(locate.parse("x.h5"))
    assert sum("/virtual" in line for line in listed) <= 1


def test_hdf5_that_declares_terabytes(here):
    with h5py.File("x.h5", "w") as file:
        file.create_dataset("x", (10**6, 1000, 1000), "f4", chunks=(1, 100, 100), compression="gzip")
    assert Path("x.h5").stat().st_size < 10_000
    refused("x.h5:/x", "4.0 TB", "never written", args=("x.h5",))


def test_hdf5_that_is_damaged(here):
    with h5py.File("x.h5", "w") as file:
        file.create_dataset("x", data=PICTURES, chunks=(10, 9, 7), compression="gzip", fletcher32=True)
        place = file["x"].id.get_chunk_info(2).byte_offset + 30
    whole = bytearray(Path("x.h5").read_bytes())
    Path("cut.h5").write_bytes(whole[:-200])
    refused("cut.h5", "truncated", args=("cut.h5",))
    Path("no.h5").write_bytes(b"this is text")
    refused("no.h5", "HDF5", args=("no.h5",))
    whole[place] ^= 255
    Path("flip.h5").write_bytes(whole)
    refused("flip.h5:/x", "row", args=("flip.h5",))


def test_hdf5_is_read_by_blocks(here):
    rows = 6000
    with h5py.File("x.h5", "w") as file:
        file.create_dataset("x", (rows, 64, 64), "u2", chunks=(7, 64, 64), compression="gzip", fillvalue=3)
        file["x"][::1000] = np.arange(64 * 64).reshape(64, 64)
    load(np.arange(40.0))  # whatever is imported on the way
    tracemalloc.start()
    data = load("x.h5")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert data.x.nbytes + data.held_out_x.nbytes == 4 * rows * 64 * 64
    assert peak < 4 * rows * 64 * 64 + 4 * raws.BLOCK


def test_missing_filter_is_named(here, monkeypatch):
    with h5py.File("x.h5", "w") as file:
        file.create_dataset("x", data=PICTURES, compression="gzip")
    monkeypatch.setattr(h5py.h5z, "filter_avail", lambda code: False)
    monkeypatch.setitem(sys.modules, "hdf5plugin", None)
    refused("filter 1", "deflate", "pip install 'ludus[formats]'", args=("x.h5",))


# -- names -------------------------------------------------------------------------------------------------------------


def test_missing_files_name_their_neighbours(here):
    np.save("spectra.npy", PICTURES)
    refused("'spectre.npy'", "spectra.npy", args=("spectre.npy",))
    refused("'gone/x.npy'", "no folder 'gone'", args=("gone/x.npy",))
    Path("sub").mkdir()
    refused("nothing to read in 'sub'", ".npy", args=("sub",))
    refused("'mnits'", "Did you mean 'mnist'", "x.npy", args=("mnits",))
    refused("'x.h5'", args=("x.h5:/a:b",))
    Path("x.svg").write_bytes(b"x")
    refused("'x.svg'", ".npy", args=("x.svg",))
    refused("one array", args=("spectra.npy:y",))
    refused("C:", args=("C:\\data\\x.h5:/y",))
    refused("unknown data ''", args=("",))
    refused("'spectre.npy'", args=(PICTURES, "spectre.npy"))
    refused("no file", args=("x\0y.npy",))


def test_odd_paths(here):
    for name in ("C:x.npy", "run 3:ä.npy"):
        np.save(name, PICTURES)
        assert load(name).fingerprint == load(PICTURES).fingerprint
    with h5py.File("run:3.h5", "w") as file:
        file["a:b"] = PICTURES
    assert load("run:3.h5:/a:b").fingerprint == load(PICTURES).fingerprint


def test_parts_of_what_is_built_in():
    refused("part of ring", "'labels'", "'label'", args=("ring:labels",))
    refused("labels, not data", "--condition ring:label", args=("ring:label",))
    refused("belongs to ring", "grid", args=("grid", "ring:label"))
    refused("ring:label", args=("ring", "ring"))
    refused("belongs to ring", "array in memory", args=(PICTURES, "ring:label"))


def test_locate_imports_nothing_heavy():
    code = (
        "import sys, ludus.data.locate as l; l.check('ring', 'ring:label');"
        "print({'numpy', 'torch', 'h5py', 'sklearn'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "set()"


# -- what is built in --------------------------------------------------------------------------------------------------


def test_worlds_are_drawn_by_seed():
    data, same, other = load("ring", "ring:label"), load("ring", "ring:label"), load("ring", "ring:label", seed=1)
    assert data.x.shape == (45_000, 2) and data.c.shape == (45_000, 8)
    assert np.array_equal(data.x, same.x) and not np.array_equal(data.x, other.x)
    assert data.fingerprint == same.fingerprint != other.fingerprint
    angle = 2 * np.pi / 8 * data.c.argmax(1)
    means = np.stack([np.cos(angle), np.sin(angle)], 1)
    assert np.abs(data.form.to_user(data.x) - means).max() < 0.06  # the labels belong to the same draws
    assert len(load("grid", n=100).x) == 90
    spiral = load("spiral", "spiral:label", n=500)
    assert spiral.form.conditions == 1 and not spiral.form.condition.columns[0].labels


def test_digits():
    data = load("digits", "digits:label", held_out=0)
    assert data.x.shape == (1797, 1, 8, 8) and data.c.shape == (1797, 10)
    back = np.round(data.form.to_user(data.x))
    assert back.shape == (1797, 8, 8) and back.max() == 16
    assert np.array_equal(data.c.argmax(1)[:10], np.arange(10))
    from sklearn.datasets import load_digits

    assert np.array_equal(back, load_digits().images)


def has_mnist():
    try:
        mnist.find(mnist.name(""))
    except UserError:
        return False
    return True


@pytest.mark.skipif(not has_mnist(), reason="MNIST's files are not here")
def test_mnist():
    data = load("mnist", "mnist:label")
    assert data.x.shape == (54_000, 1, 28, 28) and data.held_out_x.shape == (6000, 1, 28, 28)
    assert data.form.scaling.offset == (127.5,) and data.form.scaling.scale == 127.5
    counts = (data.c.sum(0) + data.held_out_c.sum(0)).astype(int).tolist()
    assert counts == [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]
    test = load("mnist:test", "mnist:label", held_out=0)
    assert len(test.x) == 10_000 and test.c.argmax(1)[:5].tolist() == [7, 2, 1, 0, 4]
    raw = mnist.read("test")
    assert np.array_equal(np.round(test.form.to_user(test.x)), raw)


@pytest.fixture
def tiny_mnist(here, monkeypatch):
    """Published labels of three digits, and what the mirror would send."""
    plain = bytes([0, 0, 8, 1, 0, 0, 0, 3, 5, 0, 4])
    name = "train-labels-idx1-ubyte"
    monkeypatch.setattr(mnist, "FILES", {name: (hashlib.md5(plain).hexdigest(), (3,))})
    return name, plain


def serve(monkeypatch, content):
    asked = []

    def urlopen(url, timeout):
        asked.append(url)
        if isinstance(content, Exception):
            raise content
        return io.BytesIO(content)

    monkeypatch.setattr("urllib.request.urlopen", urlopen)
    return asked


def test_mnist_is_fetched_once_and_checked(tiny_mnist, monkeypatch, tmp_path):
    name, plain = tiny_mnist
    refused("--download", "--data digits", call=mnist.read, args=("label",))
    asked = serve(monkeypatch, gzip.compress(plain))
    assert mnist.read("label", download=True).tolist() == [5, 0, 4]
    assert mnist.read("label", download=True).tolist() == [5, 0, 4] and mnist.read("label").tolist() == [5, 0, 4]
    assert asked == [mnist.MIRROR + name + ".gz"]
    assert [path.name for path in (tmp_path / "home/.cache/ludus/mnist").iterdir()] == [name + ".gz"]


@pytest.mark.parametrize("change", [lambda b: b[:-1] + b"\x09", lambda b: b + b"\0" * 10**6, lambda b: b[:-2]])
def test_other_content_is_refused_and_not_kept(tiny_mnist, monkeypatch, tmp_path, change):
    name, plain = tiny_mnist
    serve(monkeypatch, gzip.compress(change(plain)))
    refused("MD5", name, call=mnist.read, args=("label", True))
    assert not (tmp_path / "home/.cache/ludus/mnist").exists()


def test_fetching_fails_in_words(tiny_mnist, monkeypatch):
    _, plain = tiny_mnist
    serve(monkeypatch, OSError("no route to host"))
    refused("no route to host", mnist.MIRROR, "by hand", call=mnist.read, args=("label", True))
    serve(monkeypatch, gzip.compress(plain)[:10] + b"\xff" * 9)
    refused("damaged", call=mnist.read, args=("label", True))


def test_mnist_files_are_found_where_they_are_said_to_be(tiny_mnist, monkeypatch, here):
    name, plain = tiny_mnist
    refused("--download", call=locate.check, args=("mnist",))
    assert locate.check("mnist", "mnist:label", download=True)[1].part == "label"
    for folder, suffix in (
        (here / "given", ""),
        (here / "given/mnist", ".gz"),
        (here.parent / "shared/data/mnist", ".gz"),
    ):
        folder.mkdir(parents=True)
        path = folder / (name + suffix)
        path.write_bytes(gzip.compress(plain) if suffix else plain)
        monkeypatch.setenv("LUDUS_DATA", str(here / "given"))
        assert mnist.find(name).resolve() == path and mnist.read("label").tolist() == [5, 0, 4]
        path.unlink()
        path.with_suffix(".x").write_bytes(b"")


# -- inspect -----------------------------------------------------------------------------------------------------------


def test_inspect_describes_and_proposes(here):
    with h5py.File("x y.h5", "w") as file:
        file.create_dataset("x", data=PICTURES, chunks=(10, 9, 7), compression="gzip")
    found = inspect.describe("x y.h5")
    text = "\n".join(found.lines)
    for piece in ("40 × 9 × 7 uint8", "chunks of 10 × 9 × 7", "gzip", f"range: {PICTURES.min()} to {PICTURES.max()}",
                  "gaps: none", "9 × 7 pixels", "ludus train r3gan --data 'x y.h5:/x'"):  # fmt: skip
        assert piece in text
    assert np.array_equal(found.rows, PICTURES)


def test_inspect_looks_at_what_training_refuses(here):
    raw = RNG.normal(size=(100, 4, 4, 4)).astype(np.float32)
    raw[2, 1, 1, 1] = np.nan
    np.save("x.npy", raw)
    found = inspect.describe("x.npy")
    text = "\n".join(found.lines)
    assert "1 NaN values in 1 of 100 rows" in text and "--channels last --nan drop" in text
    assert found.rows.shape == (64, 4, 4)
    refused("unknown channels 'frist'", "'first'", call=inspect.describe, args=("x.npy", "frist"))
    refused("unknown channels 'frist'", args=("x.npy",), channels="frist")
    np.save("flat.npy", np.zeros((10, 3, 3)))
    assert "range: 0 to 0" in "\n".join(inspect.describe("flat.npy").lines)
    np.save("far.npy", np.linspace(-1e300, -0.0, 40).reshape(10, 2, 2))
    with warnings.catch_warnings(action="error"):
        assert "range: -1e+300 to 0" in inspect.describe("far.npy").lines


@pytest.mark.parametrize("value", [np.nan, 3.0])
def test_inspect_proposes_no_training_that_would_be_refused(here, value):
    np.save("x.npy", np.full((20, 4, 4), value))
    lines = inspect.describe("x.npy").lines
    assert "nothing to train on" in lines[-1] and not any("to train:" in line for line in lines)


def test_inspect_lists_several_arrays(h5):
    np.savez("x.npz", a=PICTURES, b=np.arange(40))
    assert inspect.describe("x.npz").lines[1:] == ["x.npz:a (40 × 9 × 7 uint8)", "x.npz:b (40 int64)"]
    text = "\n".join(inspect.describe(h5).lines)
    assert "x.h5:/entry/x (40 × 9 × 7 uint8)" in text and "x.h5:/other" in text
    assert inspect.describe("ring").rows.shape == (5000, 2)


def test_inspect_reads_a_part_of_what_is_large(here, monkeypatch):
    monkeypatch.setattr(inspect, "LOOK", 10 * 63)
    np.save("x.npy", PICTURES)
    assert any("(first 10 rows)" in line for line in inspect.describe("x.npy").lines)
    with h5py.File("x.h5", "w") as file:
        file.create_dataset("x", (10**6, 1000, 1000), "f4", chunks=(1, 100, 100))
    with h5py.File("row.h5", "w") as file:
        file.create_dataset("x", (1, 10**6, 10**6), "f4", chunks=(1, 100, 100))
    found = inspect.describe("x.h5")
    assert any("4.0 TB" in line for line in found.lines) and found.rows.shape == (1, 1000, 1000)
    refused("one row", "8.0 TB", call=inspect.describe, args=("row.h5",))
