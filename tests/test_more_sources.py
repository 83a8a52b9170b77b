"""Zarr stores, xarray's objects, tables of text, conditions from wherever they are: exact, or refused in one line."""

import json
import os
import pickle
import shutil
import subprocess
import sys
import tracemalloc
import warnings
import zipfile
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest

import ludus
from ludus.data import inspect, labelled, told
from ludus.data import raw as raws
from ludus.data.form import Form
from ludus.data.load import load
from ludus.data.locate import parse
from ludus.data.raw import Axis, in_memory
from ludus.data.readers import store, table
from ludus.data.readers import zarr as reader
from ludus.data.sources import opened
from ludus.errors import UserError
from ludus.inference import labels
from test_data import PICTURES, RNG, here, npy_header, refused  # noqa: F401  (a fixture)

xr, zarr = pytest.importorskip("xarray"), pytest.importorskip("zarr")
FRAMES = RNG.normal(100, 20, (40, 9, 7)).astype(np.float32)
TEMPERATURE = np.linspace(2, 300, 40)
PHASE = np.array(["ordered", "liquid"] * 20)
GRID = (Axis("qy", "1/angstrom", tuple(np.linspace(-1, 1, 9))), Axis("qx", "1/angstrom", tuple(np.linspace(0, 3, 7))))


def scan():
    """What a scientist has in xarray."""
    axes = {name: (name, np.array(axis.values), {"units": axis.unit}) for name, axis in zip(("qy", "qx"), GRID)}
    rows = {"scan": np.arange(40), "temperature": ("scan", TEMPERATURE, {"units": "K"}), "phase": ("scan", PHASE)}
    about = {"units": "counts", "long_name": "neutron counts"}
    return xr.DataArray(FRAMES, dims=("scan", "qy", "qx"), name="intensity", coords=axes | rows, attrs=about)


def written(path, format, **encoding):
    with warnings.catch_warnings(action="ignore"):  # of text, which is no standard in format 3
        scan().to_dataset().to_zarr(path, zarr_format=format, encoding={"intensity": encoding} if encoding else None)
    return str(path)


def by_hand(folder, shape=(40, 9, 7), chunks=(40, 9, 7), dtype="<f4", filters=None, compressor=None, **more):
    """An array of format 2 with no chunk, written without zarr."""
    Path(folder).mkdir(parents=True)
    kept = {"zarr_format": 2, "shape": shape, "chunks": chunks, "dtype": dtype, "fill_value": 0, "order": "C",
            "filters": filters, "compressor": compressor, **more}  # fmt: skip
    Path(folder, ".zarray").write_text(json.dumps(kept))
    return str(folder)


BYTES = {"name": "bytes", "configuration": {"endian": "little"}}


def by_hand_3(folder, codecs=(BYTES,), data_type="float32", **more):
    """The same of format 3."""
    Path(folder).mkdir(parents=True)
    kept = {"zarr_format": 3, "node_type": "array", "shape": [40, 9, 7], "data_type": data_type, "fill_value": 0,
            "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": [40, 9, 7]}}, "codecs": list(codecs),
            "chunk_key_encoding": {"name": "default", "configuration": {"separator": "/"}}, **more}  # fmt: skip
    Path(folder, "zarr.json").write_text(json.dumps(kept))
    return str(folder)


# -- Zarr --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("format", [2, 3])
def test_zarr_as_xarray_writes_it(here, format):  # noqa: F811
    path = written("scan.zarr", format)
    data, plain = load(path, ":temperature,phase", held_out=0), load(FRAMES, held_out=0)
    assert np.array_equal(data.x, plain.x) and load(path).fingerprint == load(FRAMES).fingerprint
    assert data.form.grid == GRID and data.form.signal == Axis("neutron counts", "counts")
    assert data.form.name == "scan.zarr:/intensity" and load("scan.zarr:/intensity").form == load(path).form
    values, classes = data.form.condition.columns
    assert classes.labels == ("liquid", "ordered") and np.array_equal(data.c[:2, 1:], [[0, 1], [1, 0]])
    assert data.c[:, 0] * values.scale + values.offset == pytest.approx(TEMPERATURE, abs=1e-4)
    text = "\n".join(inspect.describe(path).lines)
    for piece in ("40 × 9 × 7 float32", f"Zarr {format}", "qy -1 to 1 1/angstrom", "neutron counts (counts)",
                  ":phase, :scan, :temperature", "ludus train r3gan --data scan.zarr:/intensity"):  # fmt: skip
        assert piece in text
    labels = load(path, "scan.zarr:/phase", held_out=0)
    assert np.array_equal(labels.c, data.c[:, 1:])
    assert load("scan.zarr/intensity").form.grid == GRID  # a path as a shell completes it


@pytest.mark.parametrize("dtype", ["|u1", ">u2", "<i4", "<f2", ">f8", "|b1"])
@pytest.mark.parametrize("order, separator", [("C", "."), ("F", "/")])
def test_zarr_by_the_letter_of_the_specification(tmp_path, dtype, order, separator):
    """Chunks of plain bytes, written with no library, those at the edges filled up: what the specification of format 2
    says is what comes back."""
    raw = (RNG.random((10, 5, 4)) * 100).astype(dtype)
    folder = by_hand(tmp_path / "x.zarr", raw.shape, (4, 5, 3), dtype, order=order, dimension_separator=separator)
    padded = np.pad(raw, [(0, 2), (0, 0), (0, 2)])
    for i in range(3):
        for j in range(2):
            chunk = Path(folder, separator.join(map(str, (i, 0, j))))
            chunk.parent.mkdir(parents=True, exist_ok=True)
            chunk.write_bytes(padded[4 * i : 4 * i + 4, :, 3 * j : 3 * j + 3].tobytes(order))
    with opened(parse(folder)) as found:
        assert found.shape == raw.shape and found.dtype == raw.dtype and found.chunks == (4, 5, 3) and found.chunk == 4
        assert np.array_equal(found.rows(3, 9), raw[3:9]) and np.array_equal(found.read(()), raw)
        assert np.array_equal(found.read((slice(1, 7), slice(2, 4))), raw[1:7, 2:4])
        assert not found.notes and "not compressed" in found.storage


@pytest.mark.parametrize("how", [
    {"zarr_format": 2, "compressors": "auto"},
    {"zarr_format": 3, "compressors": None},
    {"zarr_format": 3, "shards": (20, 9, 7)},
    {"zarr_format": 3, "compressors": zarr.codecs.GzipCodec()},
    {"zarr_format": 3, "compressors": zarr.codecs.BloscCodec(cname="lz4", shuffle="bitshuffle")},
])  # fmt: skip
def test_zarr_with_its_codecs(tmp_path, how):
    held = zarr.create_array(tmp_path / "x.zarr", shape=PICTURES.shape, dtype="u1", chunks=(5, 9, 7), **how)
    held[:] = PICTURES
    with opened(parse(str(tmp_path / "x.zarr"))) as found:
        assert found.chunk == (20 if "shards" in how else 5) and np.array_equal(found.rows(3, 38), PICTURES[3:38])
        assert ("shards of 20" in found.storage) == ("shards" in how)
    assert load(str(tmp_path / "x.zarr")).fingerprint == load(PICTURES).fingerprint


@pytest.mark.parametrize("name, filters", [
    ("delta", [{"id": "delta", "dtype": "<f4"}]),
    ("shuffle", [{"id": "shuffle", "elementsize": 4}]),
    ("quantize", [{"id": "quantize", "digits": 6, "dtype": "<f4", "astype": "<f4"}]),
])  # fmt: skip
def test_zarr_with_the_filters_of_format_2(tmp_path, name, filters):
    import numcodecs

    raw = np.round(FRAMES)
    path = by_hand(tmp_path / "x.zarr", filters=filters, compressor={"id": "zlib", "level": 1})
    chunk = numcodecs.get_codec(filters[0]).encode(raw)
    Path(path, "0.0.0").write_bytes(numcodecs.Zlib(1).encode(chunk))
    with opened(parse(path)) as found:
        assert np.array_equal(found.read(()), raw) and f"{name} and zlib" in found.storage


def test_zarr_of_several_arrays(here):  # noqa: F811
    group = zarr.open_group("x.zarr", mode="w")
    for name in ("raw/a", "raw/b", "one"):
        group.create_array(name, data=FRAMES if name != "one" else TEMPERATURE)
    refused("x.zarr:/name", "x.zarr:/raw/a (40 × 9 × 7 float32)", "x.zarr:/one", args=("x.zarr",))
    refused("'/raw/c'", "x.zarr:/raw/a (40", args=("x.zarr:/raw/c",))
    refused("no array '/raw'", args=("x.zarr:/raw",))
    assert inspect.describe("x.zarr").lines[1:] == [
        "x.zarr:/one (40 float64)", "x.zarr:/raw/a (40 × 9 × 7 float32)", "x.zarr:/raw/b (40 × 9 × 7 float32)"
    ]  # fmt: skip
    assert load("x.zarr:raw/b", "x.zarr:/one").c.shape == (36, 1)
    Path("empty.zarr").mkdir()
    refused("empty.zarr", "no arrays", args=("empty.zarr",))
    Path("file.zarr").write_bytes(b"x")
    refused("'file.zarr' is a file", args=("file.zarr",))
    refused("no file 'gone.zarr'", "x.zarr", args=("gone.zarr:/raw",))
    shutil.move("x.zarr", "plain")  # known by what it holds
    assert load("plain:/raw/a").fingerprint == load(FRAMES).fingerprint


def test_zarr_says_which_chunks_are_missing(here):  # noqa: F811
    held = zarr.create_array("x.zarr", shape=(40, 9, 7), dtype="f4", chunks=(10, 9, 7), fill_value=-1)
    held[:20] = FRAMES[:20]
    note = "2 of 4 chunks were never written: they read as -1.0"
    assert note in inspect.describe("x.zarr").lines and note in load("x.zarr").notes
    Path("x.zarr/c/.DS_Store").write_bytes(b"x")
    with opened(parse("x.zarr")) as found:
        assert found.notes == (note,) and np.array_equal(found.rows(0, 20), FRAMES[:20])


@pytest.mark.parametrize("location", ["start", "end"])
def test_zarr_says_which_chunks_of_shards_are_missing(here, location):  # noqa: F811
    """The last shard goes beyond the rows: what is there of it is no more than they are."""
    shards = {"shape": (8, 9, 7), "index_location": location}
    held = zarr.create_array("x.zarr", shape=(21, 9, 7), dtype="f4", chunks=(2, 9, 7), shards=shards, fill_value=5)
    held[:4], held[20:] = FRAMES[:4], FRAMES[4:5]
    with opened(parse("x.zarr")) as found:
        assert found.notes == ("8 of 11 chunks were never written: they read as 5.0",)
        assert (found.rows(4, 20) == 5).all() and np.array_equal(found.rows(20, 21)[0], FRAMES[4])
    held[4:20] = FRAMES[4:20]
    with opened(parse("x.zarr")) as found:
        assert found.notes == ()


def test_times_are_values(here):  # noqa: F811
    """Of Zarr and of HDF5: whole seconds since some day are no classes."""
    times = np.datetime64("2024-05-01") + np.arange(40) * np.timedelta64(1, "h")
    xr.Dataset({"x": (("time", "a", "b"), FRAMES)}, {"time": times}).to_zarr("x.zarr", zarr_format=2)
    with h5py.File("x.h5", "w") as file:
        file["x"], file["t"] = FRAMES, np.arange(40)
        file["t"].attrs["units"] = "hours since 2024-05-01"
    for path, name in (("x.zarr", ":time"), ("x.h5", ":/t")):
        column = load(path, name, held_out=0).form.condition.columns[0]
        assert column.labels == () and column.offset == pytest.approx(19.5), path
    refused("times", "seconds, as floats", args=(times,))


class Evil:
    def __reduce__(self):
        return os.mkdir, ("opened",)


def evil_chunk():
    objects = np.empty(630, object)
    objects[:] = [Evil()] * 630
    return pickle.dumps([*objects, "|O", (40, 9, 7)])


PICKLE, UTF8 = {"id": "pickle"}, {"id": "vlen-utf8"}


@pytest.mark.parametrize("how", [
    {"dtype": "|O", "filters": [PICKLE]},
    {"dtype": "|O", "filters": [UTF8, PICKLE]},  # of which zarr sees the first when it looks for the type
    {"dtype": "|O", "filters": [UTF8]},
    {"dtype": [["a", "|O"]], "filters": [PICKLE]},
    {"dtype": "<f4", "filters": [PICKLE]},
    {"dtype": "<f4", "compressor": PICKLE},
    {"dtype": "<f4", "compressor": {"id": "pickle", "name": "zstd"}},
    {"dtype": "<f4", "filters": [{"id": "json2"}]},
    {"dtype": "<f4", "filters": [{"id": "delta", "dtype": "|O"}]},
    {"dtype": "<f4", "filters": [{"id": "fixedscaleoffset", "dtype": "<f4", "astype": "|O", "scale": 1, "offset": 0}]},
    {"dtype": "<M8[ns]"},
], ids=str)  # fmt: skip
def test_zarr_never_opens_a_pickle(here, how):  # noqa: F811
    path = by_hand("x.zarr", **how)
    Path(path, "0.0.0").write_bytes(evil_chunk())
    refused("x.zarr", "it is not opened", args=(path,))
    inspect.contents(parse(path))
    assert not Path("opened").exists()


@pytest.mark.parametrize("how", [
    {"codecs": [BYTES, {"name": "numcodecs.pickle"}]},
    {"codecs": [{"name": "numcodecs.zlib", "configuration": {"id": "pickle"}}]},
    {"codecs": [{"name": "sharding_indexed", "configuration": {"codecs": [{"name": "numcodecs.pickle"}]}}]},
    {"codecs": ["vlen-utf8"], "data_type": "string"},
    {"data_type": {"name": "struct", "configuration": {"fields": [["a", "float32"]]}}},
    {"codecs": [3]},
], ids=str)  # fmt: skip
def test_zarr_3_has_the_same_rules(here, how):  # noqa: F811
    refused("x.zarr", "it is not opened", args=(by_hand_3("x.zarr", **how),))


def test_zarr_with_two_kinds_of_metadata_is_read_as_it_was_checked(here):  # noqa: F811
    path = by_hand("x.zarr", filters=[PICKLE])
    Path(path, "0.0.0").write_bytes(evil_chunk())
    kept = json.loads(Path(path, ".zarray").read_text()) | {"filters": None, "node_type": "array"}
    Path(path, "zarr.json").write_text(json.dumps(kept))  # says that it is of format 2, and has no filter
    refused("x.zarr", "damaged", args=(path,))
    shutil.rmtree(path)
    by_hand_3(path)
    Path(path, ".zarray").write_text(json.dumps(kept | {"filters": [PICKLE]}))
    Path(path, "0.0.0").write_bytes(evil_chunk())
    with opened(parse(path)) as found:
        assert found.storage.startswith("Zarr 3") and not found.read(()).any()
    assert not Path("opened").exists()


def test_zarr_never_leads_out_of_its_folder(here):  # noqa: F811
    Path("secret").write_bytes(FRAMES.tobytes())
    path = by_hand("in/x.zarr")
    Path(path, "0.0.0").symlink_to(Path("secret").resolve())
    refused("holds a link", args=(path,))
    Path(path, "0.0.0").unlink()
    by_hand("out/y")
    Path("out/y/0.0.0").write_bytes(FRAMES.tobytes())
    zarr.open_group("in/g.zarr", mode="w", zarr_format=2)
    Path("in/g.zarr/y").symlink_to(Path("out/y").resolve())
    refused("is a link", args=("in/g.zarr:/y",))
    refused("no arrays", args=("in/g.zarr",))
    refused("no array", args=("in/g.zarr:/../../out/y",))
    Path(path, ".zarray").unlink()
    Path(path, ".zarray").symlink_to(Path("out/y/.zarray").resolve())
    refused("is a link", args=(path,))
    os.mkfifo("out/y/1.0.0")  # which would be waited for without end
    refused("holds a link", args=("out/y",))
    Path("linked.zarr").symlink_to(Path("in/g.zarr").resolve())  # what the user names may be a link
    by_hand("in/g.zarr/z")
    assert inspect.contents(parse("linked.zarr")) == []


def test_zarr_that_is_damaged(here):  # noqa: F811
    path = written("scan.zarr", 3)
    chunk = Path(path, "intensity/c/0/0/0")
    chunk.write_bytes(chunk.read_bytes()[:-50])
    refused("scan.zarr:/intensity", "near row 0", args=(path,))
    meta = Path(path, "intensity/zarr.json")
    meta.write_text(meta.read_text()[:-40])
    refused("zarr.json is damaged", "copy finished", args=("scan.zarr:/intensity",))
    meta.write_text("[]")
    refused("zarr.json is damaged", args=("scan.zarr:/intensity",))
    meta.write_text("[" * 100_000)
    refused("zarr.json is damaged", args=("scan.zarr:/intensity",))
    path = by_hand("short.zarr")
    Path(path, "0.0.0").write_bytes(FRAMES.tobytes()[:-4])
    refused("short.zarr", "near row 0", args=(path,))


def test_zarr_metadata_with_anything_in_it_is_read_or_refused(here):  # noqa: F811
    """Each value of good metadata is put in the place of another, or something else is."""
    rng = np.random.default_rng(3)
    values = [None, -1, 0, 2.5, "", "x", [], {}, [[]], [None], {"name": 3}, "|O", 2**70, [2**40, 9, 7], True]
    good = 0
    for round in range(300):
        path = (by_hand, by_hand_3)[round % 2](f"x{round}.zarr")
        file = Path(path, ("zarr.json", ".zarray")[round % 2 == 0])
        kept = json.loads(file.read_text())
        node = kept
        while True:
            keys = list(node) if isinstance(node, dict) else range(len(node))
            key = keys[rng.integers(len(keys))]
            if not isinstance(node[key], (dict, list)) or not node[key] or rng.random() < 0.5:
                break
            node = node[key]
        node[key] = [*values, *kept.values()][rng.integers(len(values) + len(kept))]
        file.write_text(json.dumps(kept))
        try:
            with opened(parse(path)) as found:
                found.rows(0, 1)
            good += 1
        except UserError as error:
            assert "\n" not in str(error)
        shutil.rmtree(path)
    assert 20 < good < 200


def test_zarr_that_declares_too_much(here):  # noqa: F811
    path = by_hand("x.zarr", (10**6, 1000, 1000), (10**6, 1000, 1000))
    refused("x.zarr (one chunk)", "4.0 TB", "budget", args=(path,))
    refused("x.zarr (one chunk)", call=inspect.describe, args=(path,))


def test_zarr_that_is_packed(here):  # noqa: F811
    for name, attributes in {
        "a": {"scale_factor": 0.1}, "b": {"add_offset": 3}, "c": {"_FillValue": -999}, "d": {"missing_value": 0.0},
    }.items():  # fmt: skip
        path = by_hand(f"{name}.zarr")
        Path(path, ".zattrs").write_text(json.dumps(attributes))
        refused("is packed", *attributes, "xarray", args=(path,))
    path = written("gaps.zarr", 3)  # xarray says that gaps are NaN, as they are anyway
    assert "_FillValue" in Path(path, "intensity/zarr.json").read_text() and load(path).form.name
    assert [store.is_nan(each) for each in (None, "NaN", "AAAAAAAA+H8=", float("nan"), 0, "AAAAAAAAAAA=", "x", [])] == [
        True, True, True, True, False, False, False, False]  # fmt: skip


def test_zarr_coordinates_that_do_not_fit_are_left_out(here):  # noqa: F811
    group = zarr.open_group("x.zarr", mode="w", zarr_format=2)
    group.create_array("x", data=FRAMES).attrs["_ARRAY_DIMENSIONS"] = ["t", "y", "x/../y"]
    group.create_array("y", data=np.arange(4.0)).attrs["units"] = "mm"
    group.create_array("t", data=PHASE).attrs["units"] = "words"
    with opened(parse("x.zarr")) as found:
        assert found.axes == (Axis("t", "words"), Axis("y"), Axis("x/../y")) and list(found.own) == ["t"]
    by_hand("x.zarr/evil", (40,), (40,), "|O", [PICKLE])
    Path("x.zarr/broken").mkdir()
    Path("x.zarr/broken/.zarray").write_text("{")
    refused("unknown condition", ":evil", ":t", args=("x.zarr:/x", ":evil"))


def test_zarr_needs_its_package(here, monkeypatch):  # noqa: F811
    path = written("scan.zarr", 2)
    monkeypatch.setitem(sys.modules, "zarr", None)
    refused("pip install 'ludus[formats]'", args=(path,))
    assert reader.contents(path) == []  # what is in it is found without


def test_zarr_is_read_by_chunks(here):  # noqa: F811
    held = zarr.create_array("x.zarr", shape=(6000, 64, 64), dtype="u2", chunks=(7, 64, 64), fill_value=3)
    held[::1000] = np.tile(np.arange(64 * 64).reshape(64, 64), (6, 1, 1))
    load(FRAMES)
    with opened(parse("x.zarr")) as found:
        found.rows(0, 1)
        tracemalloc.start()
        total = sum(int(block.sum()) for _, block in found.blocks())
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert total == 6 * 4096 * 4095 // 2 + 5994 * 4096 * 3 and peak < 4 * raws.BLOCK


# -- xarray ------------------------------------------------------------------------------------------------------------


def test_xarray_is_taken_with_its_axes():
    data = load(scan(), ":temperature,phase", held_out=0)
    assert np.array_equal(data.x, load(FRAMES, held_out=0).x) and load(scan()).fingerprint == load(FRAMES).fingerprint
    assert data.form.grid == GRID and data.form.signal == Axis("neutron counts", "counts")
    assert data.c.shape == (40, 3) and data.form.condition.columns[1].labels == ("liquid", "ordered")
    assert Form.from_json(json.loads(json.dumps(data.form.to_json()))) == data.form
    plain = load(xr.DataArray(FRAMES, dims=("n", "y", "x")), held_out=0)
    assert plain.form.grid == (Axis("y"), Axis("x")) and plain.form.signal == Axis()
    assert load(FRAMES, scan().temperature, held_out=0).c[:, 0] == pytest.approx(data.c[:, 0])
    refused("says nothing", ":phase", args=(FRAMES, ":phase"))
    refused("unknown condition", "':phas'", "Did you mean ':phase'", args=(scan(), ":phas"))


def test_xarray_datasets():
    data = scan().to_dataset()
    assert load(data).form == load(scan()).form
    data["field"] = "scan", np.arange(40) % 3
    assert load(data, ":field").form.condition.columns[0].labels == (0, 1, 2)
    data["other"] = data.intensity + 1
    refused("3 variables", "intensity (40 × 9 × 7 float32)", "dataset['name']", args=(data,))
    refused("0 variables", args=(xr.Dataset(),))
    refused("DataTree", args=(xr.DataTree(data),))


def test_xarray_with_what_cannot_be_used():
    gaps = scan().where(scan().temperature > 100)
    refused("NaN", "--nan drop", args=(gaps,))
    assert len(load(gaps, ":temperature", nan="drop", held_out=0).x) == (TEMPERATURE > 100).sum()
    refused("complex", args=(scan() * 1j,))
    refused("single number", args=(xr.DataArray(3.0),))
    times = xr.DataArray(FRAMES, dims=("t", "y", "x"), coords={"t": np.arange(40).astype("M8[s]")})
    assert load(times).form.name and labelled.raw_of(times, "x").axes[0] == Axis("t")
    refused("datetime64", "convert times to seconds, as floats", args=(times, ":t"))
    words = scan().assign_coords(note=("scan", np.array(["a", None] * 20, object)))
    assert np.isnan(load(words, ":note", held_out=0).c[1]).all()


def test_xarray_is_read_where_it_lies(here):  # noqa: F811
    """An array that xarray has opened from a file, and not read, is read by blocks."""
    with h5py.File("x.nc", "w") as file:
        file.create_dataset("x", (6000, 64, 64), "u2", chunks=(7, 64, 64), fillvalue=3)
    held = xr.open_zarr(written("scan.zarr", 3), chunks=None).intensity
    assert load(held).fingerprint == load(FRAMES).fingerprint and not held.variable._in_memory


def test_xarray_is_not_imported():
    code = "import sys, ludus.data.load, ludus.data.sources as s; s.array([[1., 2.]]); print('xarray' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "False"


# -- tables ------------------------------------------------------------------------------------------------------------


def columns(text, name="x.csv"):
    Path(name).write_text(text, encoding="utf-8", newline="")
    return {key: (each.dtype.kind, each.tolist()) for key, each in table.read(name).items()}


def test_columns_have_the_type_of_their_cells(here):  # noqa: F811
    found = columns("a,b,c,d,e\n1,0.5,x,,1\n-2,1e3,Na,,2.5\n,NaN,NA,,7\n")
    assert found == {
        "a": ("i", [1, -2, None]), "b": ("f", [0.5, 1000, None]), "c": ("U", ["x", "Na", None]),
        "d": ("f", [None] * 3), "e": ("f", [1, 2.5, 7]),
    }  # fmt: skip
    assert columns("1,2\n3,4.5\n") == {"0": ("i", [1, 3]), "1": ("f", [2, 4.5])}  # no header: all are numbers
    assert columns("a\n1\n\n3\n")["a"] == ("i", [1, None, 3])  # an empty line of a single column is an empty cell
    assert columns("a,b\n1,2\n\n3,4\n\n") == {"a": ("i", [1, 3]), "b": ("i", [2, 4])}
    assert columns(",t\n0,2.5\n1,3.5\n") == {"0": ("i", [0, 1]), "t": ("f", [2.5, 3.5])}  # as pandas writes it
    assert columns('\ufeffa;b\r\n"x;y";2\r\n z ;3\r\n') == {"a": ("U", ["x;y", "z"]), "b": ("i", [2, 3])}
    assert columns("a\tb\n1\t2\n", "x.tsv") == {"a": ("i", [1]), "b": ("i", [2])}
    assert columns("a\n1_000\n2\n")["a"][0] == "U" and columns("a\n99999999999999999999\n1\n")["a"][0] == "f"
    np.savetxt("s.csv", np.arange(6).reshape(3, 2), delimiter=",", header="a,b")
    assert table.read("s.csv")["a"].tolist() == [0, 2, 4]
    np.savetxt("s.csv", np.arange(6).reshape(3, 2), header="a b")
    assert table.read("s.csv")["a"].tolist() == [0, 2, 4]
    assert columns("1.5  2\n-3 4e5\n") == {"0": ("f", [1.5, -3]), "1": ("f", [2, 400000])}
    assert columns("a,b\nn/a,1\n2,N/A\n") == {"a": ("i", [None, 2]), "b": ("i", [1, None])}
    assert columns("my column\none word\n")["my column"][0] == "U"


def test_a_table_that_cannot_be_read(here):  # noqa: F811
    for text, fragments in {
        "a,b\n1,2\n1,2,3\n": ["line 3", "3 cells", "first has 2"],
        "a,a\n1,2\n": ["two columns 'a'"],
        "a,b\n": ["no rows"],
        "": ["empty"],
        'a,b\n"1,2\n': ["line"],
        "a b\n1 2\n1 2 3\n": ["line 3", "3 cells", "first has 2"],
        "a;b\n1,5;2\n2,5;3\n": ["decimal commas", "'a'", "1,5"],
        "a\n" + "x" * 200_000 + "\n": ["line 2"],
    }.items():
        Path("x.csv").write_text(text)
        refused("x.csv", *fragments, args=(FRAMES, "x.csv"))
    Path("x.csv").write_text("Größe\n1\n", encoding="utf-16")
    refused("x.csv", "UTF-8", args=(FRAMES, "x.csv"))
    Path("x.csv").write_text("temperature,field\n" + "1.5,2\n" * 40)
    refused("'temprature'", "Did you mean 'temperature'", args=(FRAMES, "x.csv:temprature"))


def test_a_table_larger_than_the_budget(here, monkeypatch):  # noqa: F811
    Path("x.csv").write_text("a\n" + "1\n" * 1000)
    monkeypatch.setattr(raws, "budget", lambda: 10_000)
    refused("x.csv", "budget of 10.0 kB", call=table.read, args=("x.csv",))


def test_columns_are_conditions(here):  # noqa: F811
    lines = [f"{t},{i % 3},{p}" for i, (t, p) in enumerate(zip(TEMPERATURE, PHASE))]
    lines[4] = ",,"
    Path("x.csv").write_text("T,field,phase\n" + "\n".join(lines) + "\n")
    data = load(FRAMES, "x.csv", held_out=0)
    assert [len(each.labels) for each in data.form.condition.columns] == [0, 3, 2] and data.c.shape == (40, 6)
    assert np.isnan(data.c[4]).all() and np.isnan(data.c).sum() == 6
    assert np.array_equal(data.c[5], [data.c[5, 0], 0, 0, 1, 1, 0])
    text = "\n".join(data.notes)
    assert "condition x.csv, T: values" in text and "condition x.csv: unknown in 1 of 40 rows" in text
    both = load(FRAMES, "x.csv:phase,T", held_out=0)
    assert np.array_equal(both.c, data.c[:, [4, 5, 0]], equal_nan=True)
    one = load(FRAMES, "x.csv:field", held_out=0)
    assert np.array_equal(one.c, data.c[:, 1:4], equal_nan=True) and one.form.condition.columns[0].labels == (0, 1, 2)
    asked = data.form.encode_condition("150,2,liquid")
    assert np.array_equal(asked[:, 1:], [[0, 0, 1, 1, 0]]) and np.isnan(data.form.encode_condition(["", 2, None])[0, 0])
    assert load(FRAMES, "x.csv:phase,T").fingerprint != load(FRAMES, "x.csv").fingerprint
    given = told.conditions_of(in_memory("frames", FRAMES), parse("x.csv")).read(())
    assert data.form.encode_condition(given, 40) == pytest.approx(data.c, nan_ok=True, abs=1e-6)
    Path("short.csv").write_text("T\n1\n2\n")
    refused("short.csv", "2 rows", "40", args=(FRAMES, "short.csv"))


def test_a_table_is_matched_to_files_by_their_names(here):  # noqa: F811
    names = [f"a/{i}.png" for i in range(20)] + [f"b/{i}.png" for i in range(20, 40)]
    raw = replace(in_memory("scans", FRAMES), own={"file": np.array(names)})

    def labels(text):
        Path("x.csv").write_text(text)
        return table.labels("x.csv", "", raw)

    found = labels("file,t\n" + "".join(f"{name},{i}\n" for i, name in reversed(list(enumerate(names)))))
    assert found.tolist() == list(range(40))
    found = labels("t,phase,Filename\n7,x,39.png\n8,,./a/3.png\n9,y,b\\20.png\n")
    assert found[[39, 3, 20]].tolist() == [(7, "x"), (8, None), (9, "y")]
    assert np.ma.getmaskarray(found)["t"].sum() == 37 and found[0].tolist() == (None, None)
    refused("no file 'a/40.png'", "Did you mean 'a/", call=labels, args=("file,t\na/3.png,1\na/40.png,2\n",))
    refused("'a/3.png' is named twice", call=labels, args=("file,t\na/3.png,1\n3.png,2\n",))
    raw.own["file"][0] = "b/3.png"
    refused("'3.png' is", "b/3.png", "a/3.png", call=labels, args=("file,t\n3.png,1\n",))
    # several rows of one file have its line; without a column of names, or without files, lines are rows
    several = replace(raw, own={"file": np.array(["x.tif", "y.tif"] * 20)})
    Path("x.csv").write_text("name,t\ny.tif,1\n")
    assert table.labels("x.csv", "", several).tolist() == [None, 1] * 20
    assert table.labels("x.csv", "t", in_memory("array", FRAMES)).tolist() == [1]
    Path("x.csv").write_text("name\ncat\n")
    assert table.labels("x.csv", "", in_memory("array", FRAMES)).tolist() == ["cat"]


def test_a_folder_of_pictures_with_its_labels(here):  # noqa: F811
    from PIL import Image

    for i, picture in enumerate(PICTURES):
        Path(f"scans/{i % 2}").mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture).save(f"scans/{i % 2}/{i}.png")
    rows = "".join(f"{i}.png,{i / 10}\n" for i in range(39, 4, -1))
    Path("scans/labels.csv").write_text("file,T\n" + rows)
    data = load("scans", "scans/labels.csv:T", held_out=0)
    order = np.array([*range(0, 40, 2), *range(1, 40, 2)])  # folder by folder
    column = data.form.condition.columns[0]
    assert np.isnan(data.c[order < 5]).all()
    assert data.c[order >= 5, 0] * column.scale + column.offset == pytest.approx(order[order >= 5] / 10, abs=1e-5)
    assert np.array_equal(load("scans", ":folder", held_out=0).c.argmax(1), np.repeat([0, 1], 20))


def test_a_table_as_data(here):  # noqa: F811
    points = RNG.normal(size=(40, 2))
    np.savetxt("x.csv", np.column_stack([points, np.arange(40) % 2]), delimiter=",", header="x,y,kind", comments="",
               fmt=["%.17g", "%.17g", "%d"])  # fmt: skip
    data = load("x.csv:x,y", ":kind", held_out=0)
    assert np.array_equal(data.x, load(points, held_out=0).x) and np.array_equal(data.c[:2], [[1, 0], [0, 1]])
    assert load("x.csv").form.shape == (3,) and load("x.csv:y").form.axes == "N"
    assert any("table of 3 columns" in line for line in inspect.describe("x.csv").lines)
    Path("y.csv").write_text("x,y,name\n" + "1,,a\n2,2,b\n" * 20)
    refused("column 'name' holds text", "y.csv:x,y", args=("y.csv",))
    assert inspect.describe("y.csv").lines[1:] == ["y.csv:x (40 int64)", "y.csv:y (40 int64)", "y.csv:name (40 <U1)"]
    refused("20 NaN", "--nan drop", args=("y.csv:x,y",))
    Path("z.csv").write_text("name\na\n")
    refused("no columns of numbers", args=("z.csv",))


# -- conditions --------------------------------------------------------------------------------------------------------


def test_what_python_gives_as_conditions():
    first = load(FRAMES, np.arange(40) % 2, held_out=0)
    for given in (
        [i % 2 for i in range(40)], np.array([i % 2 for i in range(40)], object), xr.DataArray(np.arange(40) % 2),
        np.ma.masked_array(np.arange(40) % 2), (np.arange(40) % 2).tolist(),
    ):  # fmt: skip
        data = load(FRAMES, given, held_out=0)
        assert np.array_equal(data.c, first.c) and data.fingerprint == first.fingerprint
    known = np.arange(40) % 4 > 0
    with_gaps = [i % 2 if known[i] else None for i in range(40)]
    masked = np.ma.masked_array(np.arange(40) % 2, ~known)
    for given in (with_gaps, np.array(with_gaps, object), masked):  # whole numbers stay classes
        data = load(FRAMES, given, held_out=0)
        assert data.form.condition.columns[0].labels == (0, 1) and np.isnan(data.c[~known]).all()
        assert np.array_equal(data.c[known], first.c[known]) and data.fingerprint != first.fingerprint
        assert any("unknown in 10 of 40 rows" in note for note in data.notes)
    floats = load(FRAMES, [float(i) if known[i] else None for i in range(40)], held_out=0)
    assert floats.form.condition.columns[0].labels == () and np.isnan(floats.c[~known]).all()
    refused("unknown in every row", args=(FRAMES, np.ma.masked_all(40, int)))
    refused("Python objects (dict)", args=(FRAMES, [{}] * 40))
    refused("Python objects (list)", args=(FRAMES, np.array([[1], [1, 2]] * 20, object)))


def test_columns_of_several_kinds_in_python():
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame({"T": TEMPERATURE, "field": np.arange(40) % 3, "phase": PHASE})
    frame.loc[3, ["T", "phase"]] = None
    records = np.empty(40, [("T", float), ("field", int), ("phase", "U7")])
    records["T"], records["field"], records["phase"] = frame["T"], frame["field"], PHASE
    records["phase"][3] = ""
    expected = load(FRAMES, records, held_out=0)
    assert [each.labels for each in expected.form.condition.columns] == [(), (0, 1, 2), ("liquid", "ordered")]
    assert np.isnan(expected.c[3]).tolist() == [True, False, False, False, True, True]
    for given in (frame, frame.to_records(index=False), frame.values.tolist()):
        assert np.array_equal(load(FRAMES, given, held_out=0).c, expected.c, equal_nan=True)
    # rows that are asked for later, as they were given
    form = expected.form
    for given in (records, frame.astype(object).where(frame.notna(), None).values):
        assert form.encode_condition(given, 40) == pytest.approx(expected.c, nan_ok=True, abs=1e-6)


def test_labels_and_values_side_by_side_are_read_and_judged():
    """Of a network that is certain of the classes it reads, and 3 K off."""
    records = np.empty(40, [("phase", "U7"), ("T", float), ("field", int)])
    records["phase"], records["T"], records["field"] = PHASE, TEMPERATURE, np.arange(40) % 3
    data = load(FRAMES, records, held_out=0)
    read = data.c.copy()
    read[:, 2] += 3 / data.form.condition.columns[1].scale
    read[:10, :2] = read[:10, 1::-1]  # ten phases are wrong
    fits = labels.temperatures(data.form.condition, read, data.c)
    assert len(fits) == 2
    found = labels.labelled(data.form.condition, read, fits)
    assert found.labels.shape == (40, 3) and found.probabilities.shape == (40, 5) and found.confidence.shape == (40, 2)
    assert np.array_equal(found.labels[10:, 0], PHASE[10:]) and not (found.labels[:10, 0] == PHASE[:10]).any()
    assert labels.errors(data.form.condition, found, data.c) == [pytest.approx(3, abs=1e-4)]
    verdicts = labels.verdicts(data.form.condition, found, data.c)
    assert [(name, each.error[0]) for name, each in verdicts] == [("column 0: ", 0.25), ("column 2: ", 0)]


def test_spaces_around_words_are_none_of_them():
    words = np.array(["up", " up", "down ", "down", "  "] * 8)
    for given in (words, np.char.encode(words), words.astype(object), words.tolist()):
        data = load(FRAMES, given, held_out=0)
        assert data.form.condition.columns[0].labels == ("down", "up")
        assert np.array_equal(data.c[:4], [[0, 1], [0, 1], [1, 0], [1, 0]]) and np.isnan(data.c[4]).all()


@pytest.mark.parametrize("unknown, labels", [
    (-1, np.array([0, 1, -1, 2] * 10)), (-1, np.array([0.0, 1, -1, 2] * 10)), 
    ("?", np.array(["a", "b", "?", " c"] * 10)), (-999.0, np.array([0.0, 1.5, -999, 2] * 10)),
], ids=str)  # fmt: skip
def test_a_label_may_mean_unknown(unknown, labels):
    data = load(FRAMES, labels, unknown=unknown, held_out=0)
    assert np.isnan(data.c).all(1).tolist() == [False, False, True, False] * 10
    assert any("in 10 of 40 rows" in note for note in data.notes)
    form = Form.from_json(json.loads(json.dumps(data.form.to_json())))
    assert form == data.form and np.isnan(form.encode_condition(str(unknown))).all()
    assert form.encode_condition(labels, 40) == pytest.approx(data.c, nan_ok=True, abs=1e-6)
    plain = load(FRAMES, labels, held_out=0)
    assert not np.isnan(plain.c).any() and plain.form.encode_condition(labels[2]).shape == (1, plain.c.shape[1])


def test_rows_of_one_frame_have_its_condition(here):  # noqa: F811
    """Rows that were cut from frames have the condition of their frame, or each its own."""
    raw = replace(in_memory("tiles", FRAMES), group=4, own={"row": np.arange(40)})
    for_each = told.conditions_of(raw, None, np.arange(10))
    assert np.array_equal(for_each.read(()), np.repeat(np.arange(10), 4))
    assert np.array_equal(told.conditions_of(raw, None, np.arange(40)).read(()), np.arange(40))
    Path("x.csv").write_text("T,phase\n" + "".join(f"{i}.5,\n" if i == 3 else f"{i}.5,p{i % 2}\n" for i in range(10)))
    found = told.conditions_of(raw, parse("x.csv")).read(())
    assert found["T"].tolist() == np.repeat(np.arange(10) + 0.5, 4).tolist()
    assert found["phase"].mask.tolist() == np.repeat(np.arange(10) == 3, 4).tolist()
    assert np.array_equal(told.conditions_of(raw, parse(":row")).read(()), np.arange(40))
    refused("11 rows", "40", call=load, args=(FRAMES, np.arange(11)))
    refused("11 rows", "40, of 10 frames", call=told.conditions_of, args=(raw, None, np.arange(11)))


def test_what_the_data_say_themselves(here):  # noqa: F811
    with h5py.File("x.h5", "w") as file:
        file["images"], file["T"], file["phase"] = FRAMES, TEMPERATURE, np.char.encode(PHASE)
    data = load("x.h5:/images", ":/T,/phase", held_out=0)
    assert np.array_equal(data.c, load(scan(), ":temperature,phase", held_out=0).c)
    pair = replace(in_memory("x", FRAMES), own={"q": np.stack([TEMPERATURE, -TEMPERATURE], 1), "a,b": PHASE})
    assert told.own(pair, "q").read(()).dtype.names == ("q 0", "q 1")
    assert np.array_equal(told.own(pair, "a,b").read(()), PHASE)  # a name may have a comma
    refused("unknown condition", "':b'", call=told.own, args=(pair, "q,b"))


def test_npz_that_is_packed_otherwise(here):  # noqa: F811
    """500 MB of zeros in 600 bytes of bzip2 come all at once, whatever is asked for."""
    for packing in (zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA):
        with zipfile.ZipFile("x.npz", "w", packing) as archive, archive.open("x.npy", "w") as file:
            file.write(npy_header((50, 1000, 1000), "|u1"))
            for _ in range(50):
                file.write(bytes(10**6))
        assert Path("x.npz").stat().st_size < 20_000
        tracemalloc.start()
        refused("x.npz:x", "np.savez_compressed", args=("x.npz",))
        assert tracemalloc.get_traced_memory()[1] < 10**6
        tracemalloc.stop()


def test_coordinates_along_the_axis_of_panels_are_conditions():
    about = {"T": ("time", TEMPERATURE, {"units": "K"}), "time": np.arange(40), "qy": np.array(GRID[0].values),
             "angle": ("qy", np.arange(9.0)), "phase": ("time", PHASE)}  # fmt: skip
    array = xr.DataArray(FRAMES.transpose(1, 2, 0), dims=("qy", "qx", "time"), coords=about)
    for given in (array, array.to_dataset(name="counts").assign(monitor=("time", np.arange(40.0)))):
        data = load(given, ":T,phase", panels="time", held_out=0)
        assert data.form.condition.columns[1].labels == ("liquid", "ordered")
        assert data.c[:, 0] * data.form.condition.columns[0].scale + data.form.condition.columns[0].offset == (
            pytest.approx(TEMPERATURE, abs=1e-4))  # fmt: skip
        refused(":angle", ":T", args=(given, ":angle"), panels="time")
    assert load(given, ":monitor", panels="time", held_out=0).form.condition.width == 1
    assert load(array, ":angle", panels="qy", held_out=0).form.condition.width == 1


def test_a_run_on_xarray_with_conditions_of_its_own(tmp_path):
    settings = {"evaluation.mode": "off", "generator.width": 8, "discriminator.width": 8}
    run = ludus.train("r3gan", scan(), condition=":temperature,phase", network="mlp", steps=2, batch=8,
                      run=tmp_path / "run", settings=settings)  # fmt: skip
    x = run.sample(3, "150,liquid")
    assert x.shape == (3, 9, 7) and run.form.grid == GRID and run.form.signal.unit == "counts"
    with pytest.raises(UserError, match="hand it over again"):
        ludus.resume(tmp_path / "run", steps=4)
    assert ludus.resume(tmp_path / "run", steps=3, data=scan()).turn == 3
