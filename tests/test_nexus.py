"""HDF5 as NeXus and netCDF mean it: signal, axes and units are found; nothing is read that should not be."""

import os
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest

import games
from ludus import cli
from ludus.data import inspect, layout, locate
from ludus.data.load import load
from ludus.data.raw import UNNAMED, Axis
from ludus.data.readers import hdf5, nexus
from ludus.data.write import nxdata
from ludus.errors import UserError

RNG = np.random.default_rng(0)
DATA = RNG.random((20, 6, 5)).astype(np.float32)
ROWS, ENERGY, Q = np.linspace(2, 300, 20), np.linspace(0.5, 5.5, 6), np.linspace(0.3, 4.2, 5)


@pytest.fixture
def here(tmp_path, monkeypatch):
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.chdir(work)
    return work


def refused(*fragments, call=load, args=("x.nxs",)):
    """The call is refused in one line that holds every fragment."""
    with pytest.raises(UserError) as caught:
        call(*args)
    text = str(caught.value)
    assert "\n" not in text and all(str(each) in text for each in fragments), text
    return text


def group(file, path, nx_class="NXdata", **attributes):
    made = file.require_group(path)
    made.attrs.update(NX_class=nx_class, **attributes)
    return made


def field(place, name, values, units="", **attributes):
    place[name] = values
    place[name].attrs.update({"units": units, **attributes} if units else attributes)
    return place[name]


def scan(path="x.nxs", where="/entry/data", axes=("temperature", "energy", "Q"), energy=ENERGY, **attributes):
    """A NeXus file with one NXdata, as a careful program writes it."""
    with h5py.File(path, "a") as file:
        group(file, "/", "NXroot")
        group(file, where.rpartition("/")[0], "NXentry")
        data = group(file, where, signal="counts", axes=list(axes), **attributes)
        field(data, "counts", DATA, "1/meV")
        for name, values, unit in (("temperature", ROWS, "K"), ("energy", energy, "meV"), ("Q", Q, "1/angstrom")):
            field(data, name, values, unit)
    return path


def read(path="x.nxs", part=""):
    with hdf5.opened(path, part) as raw:
        assert raw.rows(0, raw.shape[0]).shape == raw.shape
        return raw


def known(raw):
    return [(axis.name, axis.unit, axis.values) for axis in raw.axes]


WHOLE = [("temperature", "K", tuple(ROWS)), ("energy", "meV", tuple(ENERGY)), ("Q", "1/angstrom", tuple(Q))]


# -- which dataset -----------------------------------------------------------------------------------------------------


def test_the_only_nxdata_is_meant(here):
    scan()
    raw = read()
    assert raw.name == "x.nxs:/entry/data/counts" and known(raw) == WHOLE
    assert raw.signal == Axis("counts", "1/meV")
    with hdf5.opened("x.nxs") as raw:
        assert np.array_equal(raw.rows(3, 5), DATA[3:5])
    for part in ("/entry/data", "entry/data/", "/entry/data/counts", "entry", "/"):
        assert known(read(part=part)) == WHOLE
    assert inspect.contents(locate.parse("x.nxs")) == []
    form = load("x.nxs").form
    assert [axis.name for axis in form.grid] == ["energy", "Q"] and form.signal == raw.signal


def test_defaults_lead_to_one_of_several(here):
    for i in (1, 2, 3):
        scan(where=f"/entry{i}/data")
    refused("several signals", "x.nxs:/entry1/data (counts, 1/meV, 20 × 6 × 5)", "x.nxs:/entry3/data (counts")
    listed = inspect.contents(locate.parse("x.nxs"))
    assert "x.nxs:/entry1/data/Q (5 float64)" in listed
    assert listed[2] == "x.nxs:/entry2/data (counts, 1/meV, 20 × 6 × 5)"
    assert known(read(part="/entry2/data")) == WHOLE
    with h5py.File("x.nxs", "a") as file:
        scan_ = group(file, "/entry2/small")
        field(scan_, "counts", DATA[:, :2])
        scan_.attrs["signal"] = "counts"
        file.attrs["default"] = np.bytes_("entry2")
    told = refused("several signals", "x.nxs:/entry2/small (counts, 20 × 2 × 5)")
    assert "entry1" not in told
    with h5py.File("x.nxs", "a") as file:
        file["entry2"].attrs["default"] = np.array(["data"], object)
    assert read().name == "x.nxs:/entry2/data/counts" and read(part="entry2").name == "x.nxs:/entry2/data/counts"
    with h5py.File("x.nxs", "a") as file:  # a default that leads nowhere says nothing
        file["entry2"].attrs["default"] = "gone"
    refused("several signals")


def test_several_possible_signals_of_one_group(here):
    with h5py.File("x.nxs", "w") as file:
        data = group(file, "entry/data", axes=["energy"], energy_indices=[1])
        field(data, "a", DATA, "counts"), field(data, "b", DATA + 1), field(data, "energy", ENERGY)
        data["a_errors"] = DATA
    refused("does not say which", "x.nxs:/entry/data/a (counts, 20 × 6 × 5), x.nxs:/entry/data/b (20 × 6 × 5)")
    assert "x.nxs:/entry/data/a (counts, 20 × 6 × 5)" in inspect.contents(locate.parse("x.nxs"))
    assert read(part="/entry/data/b").axes[1].values == tuple(ENERGY)
    with h5py.File("x.nxs", "a") as file:
        del file["entry/data/b"]
    assert read().name == "x.nxs:/entry/data/a"  # the only one that can be meant
    with h5py.File("x.nxs", "a") as file:
        file["entry/data"].attrs["signal"] = "gone"
        del file["entry/data/a"]
        del file["entry/data/a_errors"]
    refused("no signal", "/entry/data/energy", args=("x.nxs:/entry/data",))


def test_a_signal_may_be_a_link_within_the_file(here):
    scan()
    with h5py.File("x.nxs", "a") as file:
        file["entry/detector/counts"] = DATA
        file["raw"] = file["entry/data/counts"]  # a second name of the same
        data = group(file, "entry/data2", signal="counts", axes=["energy"], energy_indices=1)
        data["counts"], data["energy"] = h5py.SoftLink("/entry/detector/counts"), h5py.SoftLink("/entry/data/energy")
    assert known(read(part="entry/data2")) == [UNNAMED_, WHOLE[1], UNNAMED_]
    assert known(read(part="entry/detector/counts")) == known(read(part="entry/data2"))
    assert known(read(part="/raw")) == WHOLE


UNNAMED_ = ("", "", ())


def test_files_without_nxdata_are_as_ever(here):
    with h5py.File("x.h5", "w") as file:
        field(file, "x", DATA, "counts", long_name="neutron\ncounts")
        file["y"] = np.arange(20)
    raw = read("x.h5")
    assert raw.name == "x.h5:/x" and raw.axes == () and raw.signal == Axis("neutron counts", "counts")


def test_events_are_refused(here):
    with h5py.File("x.nxs", "w") as file:
        events = group(file, "entry/bank1_events", "NXevent_data")
        events["event_id"], events["event_time_offset"] = np.arange(50), np.arange(50.0)
        file["entry/instrument/pixels"] = np.zeros((4, 4))
    for source in ("x.nxs", "x.nxs:/entry/bank1_events", "x.nxs:/entry/bank1_events/event_id"):
        refused("list of events", "histogram", args=(source,))
    refused("list of events", call=inspect.describe)
    with h5py.File("x.nxs", "a") as file:
        data = group(file, "entry/data", signal="events")
        data["events"], data["detector_number"] = file["entry/bank1_events"], np.arange(50)
    refused("list of events")
    with h5py.File("x.nxs", "a") as file:
        del file["entry/data"].attrs["signal"]
    refused("list of events", args=("x.nxs:/entry/data",))


# -- axes --------------------------------------------------------------------------------------------------------------


def test_edges_become_midpoints(here):
    edges = np.array([0, 1, 3, 4, 8, 9, 20.0])
    scan(energy=edges)
    assert read().axes[1] == Axis("energy", "meV", (0.5, 2, 3.5, 6, 8.5, 14.5))


@pytest.mark.parametrize("length", [1, 5, 8])
def test_other_lengths_are_an_error(here, length):
    scan(energy=np.arange(length))
    refused("'energy'", f"has {length} values", "the data 6 along it", "7 edges", "x.nxs:/entry/data/counts")


@pytest.mark.parametrize(
    "axes, attributes, expected",
    [
        ([".", "energy", "Q"], {}, [UNNAMED_, *WHOLE[1:]]),
        ([".", ".", "Q"], {}, [UNNAMED_, UNNAMED_, WHOLE[2]]),
        (["temperature"], {}, [WHOLE[0], UNNAMED_, UNNAMED_]),
        (["energy"], {"energy_indices": np.int32(1)}, [UNNAMED_, WHOLE[1], UNNAMED_]),
        (["Q", "energy"], {"Q_indices": [2], "energy_indices": "1"}, [UNNAMED_, *WHOLE[1:]]),
        (["temperature", "k", "Q"], {}, [WHOLE[0], ("k", "", ()), WHOLE[2]]),  # a name is all that is said of it
        (["temperature:energy:Q"], {}, WHOLE),
        (["temperature,energy,Q"], {}, WHOLE),
        (["temperature", "energy", "Q"], {"other_indices": [1]}, WHOLE),
        (["temperature", "grid", "Q"], {"grid_indices": [1, 2]}, [WHOLE[0], ("grid", "", ()), WHOLE[2]]),
    ],
    ids=str,
)
def test_axes_by_name(here, axes, attributes, expected):
    scan(axes=axes, **attributes)
    with h5py.File("x.nxs", "a") as file:
        file["entry/data/grid"] = np.zeros((6, 5))
        file["entry/data/other"] = np.zeros(6)
    assert known(read()) == expected


def test_indices_alone_are_enough(here):
    scan(energy_indices=[1], Q_indices=[2])
    with h5py.File("x.nxs", "a") as file:
        del file["entry/data"].attrs["axes"]
    assert known(read()) == [UNNAMED_, *WHOLE[1:]]


def test_the_manuals_own_example(here):
    """NXdata's page: temperature could be selected in place of pressure, which is the default."""
    with h5py.File("x.nxs", "w") as file:
        data = group(file, "entry/data_2d", signal="data", axes=["time", "pressure"], pressure_indices=1,
                     temperature_indices=1, time_indices=0)  # fmt: skip
        data["data"] = RNG.random((1000, 20))
        data["pressure"], data["temperature"], data["time"] = np.arange(20), 300 + np.arange(20), np.arange(1000)
    time, pressure = read().axes
    assert (time.name, time.values, pressure.name, pressure.values) == (
        "time", tuple(range(1000)), "pressure", tuple(range(20)),
    )  # fmt: skip


def test_old_files_say_it_on_the_datasets(here):
    with h5py.File("x.nxs", "w") as file:
        data = group(file, "entry/data")
        field(data, "data", DATA, "counts", signal=np.int32(1), axes="[temperature:energy:Q]")
        field(data, "more", DATA, signal=2)
        for name, unit, values in WHOLE:
            field(data, name, values, unit)
    assert read().name == "x.nxs:/entry/data/data" and known(read()) == WHOLE


@pytest.mark.parametrize("fastest_first", [False, True])
def test_the_oldest_files_number_their_axes(here, fastest_first):
    """Programs count from the slowest dimension, the example of the manual, data[j][i], from the fastest."""
    with h5py.File("x.nxs", "w") as file:
        data = group(file, "entry/data")
        field(data, "data", DATA, signal="1")
        field(data, "another", ENERGY * 2, axis=2)
        for i, (name, unit, values) in enumerate(WHOLE):
            field(data, name, values, unit, axis=3 - i if fastest_first else str(i + 1), primary=1)
        field(data, "errors", DATA)
    assert known(read()) == WHOLE


def test_axes_of_one_pixel_of_words_and_of_millions(here, monkeypatch):
    with h5py.File("x.nxs", "w") as file:
        data = group(file, "entry/data", signal="x", axes=["word", "one", "y"])
        data["x"], data["one"], data["y"] = DATA[:, :1], 3.0, np.arange(5)
        data["word"] = np.array([f"sample {i}" for i in range(20)], object)
    assert [axis.values for axis in read().axes] == [(), (3.0,), (0, 1, 2, 3, 4)]
    monkeypatch.setattr("ludus.data.readers.nexus.LONG", 10)
    scan("long.nxs")
    assert read("long.nxs").axes[0] == Axis("temperature", "K")


@pytest.mark.parametrize(
    "value, expected",
    [
        ("1/angstrom", "1/angstrom"),
        (np.bytes_("counts"), "counts"),
        (np.array([b"meV"]), "meV"),
        (np.array(["Å"], object), "Å"),
        (np.bytes_("Å^-1".encode("latin-1")), "Å^-1"),
        ("no such unit!", "no such unit!"),
        (h5py.Empty("f4"), ""),
        (np.array([], "S3"), ""),
        (1, "1"),
        (" two\nlines ", "two lines"),
        (None, ""),
    ],
    ids=str,
)
def test_units_are_kept_as_text(here, value, expected):
    scan()
    with h5py.File("x.nxs", "a") as file:
        for name in ("energy", "counts"):
            del file["entry/data"][name].attrs["units"]
            if value is not None:
                file["entry/data"][name].attrs["units"] = value
    raw = read()
    assert (raw.axes[1].unit, raw.signal.unit) == (expected, expected)


def test_netcdf_by_dimension_scales(here):
    with h5py.File("x.nc", "w") as file:
        dimensions = ("time", ROWS, "days"), ("lat", ENERGY, "degree"), ("x", np.zeros(5))
        scales = [field(file, *each) for each in dimensions]
        file["t"] = np.where(DATA < 0.1, np.float32(-9999), DATA)
        for i, scale in enumerate(scales):
            scale.make_scale(f"{nexus.NO_VARIABLE}.         5" if i == 2 else scale.name)
            file["t"].dims[i].attach_scale(scale)
        file["t"].attrs.update(units="K", long_name="temperature", _FillValue=np.float32(-9999))
    raw = read("x.nc")
    assert known(raw) == [("time", "days", tuple(ROWS)), ("lat", "degree", tuple(ENERGY)), ("x", "", ())]
    assert raw.signal == Axis("temperature", "K")
    with hdf5.opened("x.nc") as raw:
        block = raw.read((slice(0, 20), slice(2, 4)))
    assert np.isnan(block).sum() == (DATA[:, 2:4] < 0.1).sum() and np.nanmin(block) >= 0.1
    assert block.dtype == np.float32


@pytest.mark.parametrize(
    "attributes, dtype",
    [({"scale_factor": 0.1}, "i2"), ({"add_offset": 5.0}, "f4"), ({"_FillValue": np.int16(-1)}, "i2")],
    ids=str,
)
def test_packed_values_are_refused(here, attributes, dtype):
    with h5py.File("x.nc", "w") as file:
        field(file, "t", np.ones((20, 6, 5), dtype), **attributes)
    refused("x.nc:/t is packed", *attributes, "xarray", args=("x.nc",))


def test_packed_nexus_and_netcdf_3_are_refused(here):
    scan()
    with h5py.File("x.nxs", "a") as file:
        file["entry/data/counts_scaling_factor"] = 0.5
    refused("packed (counts_scaling_factor)")
    for name in ("offset", "counts_offset"):
        with h5py.File("x.nxs", "a") as file:
            old = next(each for each in file["entry/data"] if each.endswith(("_scaling_factor", "offset")))
            file["entry/data"].move(old, name)
        refused(f"packed ({name})")
    Path("x.nc").write_bytes(b"CDF\x01" + bytes(100))
    refused("netCDF 3", "xarray", args=("x.nc",))


def test_scippnexus_reads_the_same(here):
    """Another reader of NeXus, on each form that it knows."""
    snx, sc = pytest.importorskip("scippnexus"), pytest.importorskip("scipp")
    scan("named.nxs")
    scan("placed.nxs", axes=["temperature", "energy", "Q"], energy_indices=[1], Q_indices=[2])
    with h5py.File("old.nxs", "w") as old, h5py.File("oldest.nxs", "w") as oldest:
        for file, more in ((old, {"axes": "temperature:energy:Q"}), (oldest, {})):
            group(file, "entry", "NXentry")
            data = group(file, "entry/data")
            field(data, "counts", DATA, "1/meV", signal=1, **more)
            for i, (name, unit, values) in enumerate(WHOLE):
                field(data, name, values, unit, **({} if more else {"axis": i + 1}))
    for path in ("named.nxs", "placed.nxs", "old.nxs", "oldest.nxs"):
        with snx.File(path) as file:
            theirs = file["entry/data"][()]
        raw = read(path)
        assert theirs.dims == tuple(axis.name for axis in raw.axes), path
        assert theirs.unit == sc.Unit(raw.signal.unit)
        for axis in raw.axes:
            mine = sc.array(dims=[axis.name], values=axis.values, unit=axis.unit)
            assert sc.identical(theirs.coords[axis.name], mine)


# -- what a file says of its rows --------------------------------------------------------------------------------------


@pytest.fixture
def told(here):
    scan()
    with h5py.File("x.nxs", "a") as file:
        sample = file.create_group("entry/sample")
        sample["field"], sample["hkl"] = np.arange(20.0), RNG.random((20, 3))
        sample["phase"] = np.array(["nematic", "smectic"] * 10, object)
        sample["mass"], sample["name"], sample["short"], sample["wide"] = 3.5, "LSMO", np.arange(19), np.zeros((20, 40))
        sample.attrs.update(run=np.arange(20), lab="X")
        file["entry/data/counts"].attrs["weather"] = ["sun", "rain"] * 10
    return "x.nxs"


def test_conditions_from_the_file(told):
    own = read().own
    assert set(own) == {
        "temperature", "/entry/data/temperature", "/entry/sample/field", "/entry/sample/hkl", "/entry/sample/phase",
        "/entry/sample@run",
    }  # fmt: skip
    assert np.array_equal(own["temperature"], ROWS) and own["/entry/sample/hkl"].shape == (20, 3)
    assert own["entry/sample/phase"].tolist()[:2] == ["nematic", "smectic"]
    assert own["/entry/data/counts@weather"].tolist()[:2] == ["sun", "rain"]
    data = load("x.nxs", ":temperature", held_out=0)
    column = data.form.condition.columns[0]
    assert data.c[:, 0] * column.scale + column.offset == pytest.approx(ROWS, rel=1e-5)
    assert load("x.nxs", ":/entry/sample/phase").form.condition.columns[0].labels == ("nematic", "smectic")
    assert load("x.nxs", ":/entry/sample@run").form.classes == 20


def test_conditions_that_the_file_does_not_have(told):
    refused("same for all rows", "/entry/sample/mass", args=(told, ":/entry/sample/mass"))
    refused("same for all rows", args=(told, ":/entry/sample@lab"))
    refused("is 19, and the data have 20 rows", args=(told, ":/entry/sample/short"))
    refused("':/entry/sample/felt'", "Did you mean ':/entry/sample/field'", args=(told, ":/entry/sample/felt"))
    refused("unknown condition", args=(told, ":/entry/sample@nothing"))


def test_conditions_are_read_only_when_asked_for(told, monkeypatch):
    read_ = []
    monkeypatch.setattr(hdf5, "reader", lambda held, name, old=hdf5.reader: read_.append(held.name) or old(held, name))
    with hdf5.opened(told) as raw:
        assert raw.own["/entry/sample/field"][3] == 3
        list(raw.own)
    assert read_ == ["/entry/data/counts", "/entry/sample/field"]


def test_what_runs_along_other_axes_is_no_condition(here):
    """Of a cube, all lengths are alike: what the file declares tells them apart. Nor is how the file is made one."""
    with h5py.File("x.nxs", "w") as file:
        group(file, "entry", "NXentry"), group(file, "entry2", "NXentry")
        data = group(file, "entry/data", signal="I", axes=["H", "K", "L"], T_indices=[2], P_indices=[0, 1],
                     broken_indices="a")  # fmt: skip
        data["I"] = RNG.random((3, 3, 3))
        for name in ("H", "K", "T", "broken"):
            data[name] = np.arange(3.0)
        data["L"], data["P"], data["edge"] = np.arange(4), np.zeros((3, 3)), np.arange(4)  # edges of bins
        file["entry/monitor"], file["entry2/counter"], file["z"] = np.arange(3), np.arange(3), np.arange(3)
    with hdf5.opened("x.nxs") as raw:
        own, steps = raw.own, raw.along(2)
    assert list(own) == ["H", "/entry/data/H", "/entry/data/P", "/entry/data/broken", "/entry/monitor", "/z"]
    for name in ("/entry/data/K", "entry/data/T", "/entry/data/L"):
        refused(name, "is an axis of the pictures", call=own.__getitem__, args=(name,))
    assert "/entry/data@axes" not in own and "/entry/data@T_indices" not in own
    assert own["/entry2/counter"].tolist() == [0, 1, 2]  # who names it may have it
    assert "/entry/data/T" in steps and "/entry/monitor" in list(steps) and "/entry/data/H" not in list(steps)
    assert steps["L"].tolist() == [0.5, 1.5, 2.5]


def test_a_map_is_no_picture_with_channels(here):
    for shape, axes, panels in (
        ((6, 5, 12, 3), ["sy", "sx", ".", "."], "sy,sx"), ((6, 5, 9, 7), ["y", "x", ".", "qx"], "y,x"),
        ((6, 5, 9, 7), [".", "x", ".", "."], "0,1"),
    ):  # fmt: skip
        with h5py.File("x.nxs", "w") as file:
            data = group(file, "entry/data", signal="I", axes=axes)
            data["I"] = RNG.random(shape)
            for name, length in zip(axes, shape):
                if name != ".":
                    data[name] = np.arange(length)
        refused(f"--panels {panels} for data of each point")
        assert inspect.describe("x.nxs").lines[-1].endswith(f"--panels {panels}")
        assert load("x.nxs", panels=panels).form.shape == (1, *shape[2:])
        assert load("x.nxs", channels="first").form.shape == shape[1:]
    known = tuple(Axis(name, "", (0.0, 1.0)) for name in ("t", "y", "x", "c"))
    assert layout.axes((9, 8, 8, 3), known=known) == "NHWC"
    assert layout.axes((9, 8, 8, 3), known=(UNNAMED, known[1], UNNAMED, UNNAMED)) == "NHWC"  # as tiles are
    known = UNNAMED, Axis("channel", "", (0.0, 1.0, 2.0)), UNNAMED, UNNAMED
    assert layout.axes((9, 3, 8, 8), known=known) == "NCHW"


def test_chunks_that_were_never_written_are_said(here):
    with h5py.File("x.h5", "w") as file:
        file.create_dataset("x", (20, 6, 5), "f4", chunks=(1, 6, 5))[3] = DATA[3]
    note = "19 of 20 chunks were never written: they read as 0.0"
    assert note in load("x.h5").notes and note in inspect.describe("x.h5").lines
    with h5py.File("x.h5", "a") as file:
        file["x"][:] = DATA
    assert read("x.h5").notes == ()


def test_texts_are_called_texts(here):
    with h5py.File("x.h5", "w") as file:
        file["title"], file["names"], file["x"], file["y"] = "a scan", ["a", "b"], DATA, DATA
    listed = inspect.contents(locate.parse("x.h5"))
    assert "x.h5:/title (text)" in listed and "x.h5:/names (2 text)" in listed


def test_scalars(told):
    assert hdf5.scalar(told, "/entry/sample/mass") == 3.5 and hdf5.scalar(told, "entry/sample/name") == "LSMO"
    assert hdf5.scalar(told, "/entry/sample@lab") == "X"
    refused("20 values", call=hdf5.scalar, args=(told, "/entry/sample/field"))
    refused("'/entry/sample/maas'", "/entry/sample/mass", call=hdf5.scalar, args=(told, "/entry/sample/maas"))


# -- what is refused ---------------------------------------------------------------------------------------------------


def virtual(path, source, part="/x", whole=(20, 6, 5), select=slice(None)):
    shape = np.empty(whole)[select].shape
    shown = h5py.VirtualLayout(shape, "f4")
    shown[:] = h5py.VirtualSource(source, part, whole)[select]
    with h5py.File(path, "a") as file:
        file.create_virtual_dataset("v", shown)


def test_virtual_datasets_within_the_folder(here):
    Path("parts").mkdir()
    for name in ("a.h5", "parts/b.h5"):
        with h5py.File(name, "w") as file:
            file["x"] = DATA
            file["soft"] = h5py.SoftLink("/x")
    sources = ("a.h5", "/x"), ("./a.h5", "soft"), ("parts/b.h5", "x"), (str(here / "a.h5"), "x")
    for i, (source, part) in enumerate(sources):
        virtual(f"v{i}.h5", source, part)
        with hdf5.opened(f"v{i}.h5") as raw:
            assert np.array_equal(raw.rows(2, 4), DATA[2:4]) and "virtual" in raw.storage
    virtual("a.h5", ".")
    with hdf5.opened("a.h5", "/v") as raw:
        assert np.array_equal(raw.rows(0, 20), DATA)
    virtual("twice.h5", "v0.h5", "v")
    with hdf5.opened("twice.h5") as raw:
        assert np.array_equal(raw.rows(0, 20), DATA)


def test_virtual_datasets_that_lead_elsewhere(here):
    with h5py.File("../out.h5", "w") as file:
        file["x"] = DATA
    os.symlink("../out.h5", "in.h5")
    with h5py.File("links.h5", "w") as file:
        file["x"] = h5py.ExternalLink("../out.h5", "/x")
    with h5py.File("stored.h5", "w") as file:
        file.create_dataset("x", (20, 6, 5), "f4", external=[("../out.h5", 0, 2400)])
    virtual("nested.h5", "../out.h5")
    cases = {
        "../out.h5": "outside of its folder", str(here.parent / "out.h5"): "outside", "in.h5": "outside",
        "gone.h5": "missing", "links.h5": "link to another file", "nested.h5": "no dataset '/x'",
        "stored.h5": "another file",
    }  # fmt: skip
    for i, (source, why) in enumerate(cases.items()):
        virtual(f"v{i}.h5", source)
        refused(why, args=(f"v{i}.h5",))
    virtual("v.h5", "nested.h5", "/v")
    refused("outside", args=("v.h5",))
    pattern = h5py.VirtualLayout((20, 6, 5), "f4", maxshape=(None, 6, 5))
    pattern[: h5py.h5s.UNLIMITED : 1] = h5py.VirtualSource("part%b.h5", "/x", (1, 6, 5))
    with h5py.File("p.h5", "w") as file:
        file.create_virtual_dataset("v", pattern)
    refused("pattern", "part%b.h5", args=("p.h5:/v",))


def test_virtual_datasets_that_show_what_is_not_there(here):
    """HDF5 reads zeros there, without a word; a virtual dataset of itself ends its process."""
    with h5py.File("short.h5", "w") as file:
        file["x"] = DATA[:10]
    virtual("part.h5", "short.h5", select=slice(8, 14))
    virtual("all.h5", "short.h5")
    for path in ("part.h5", "all.h5"):
        refused("more of short.h5:/x than there is", args=(path,))
    virtual("fits.h5", "short.h5", select=slice(2, 8))
    assert np.array_equal(load("fits.h5", held_out=0).form.shape, (1, 6, 5))
    virtual("self.h5", ".", "/v")
    refused("leads back to itself", args=("self.h5",))
    virtual("one.h5", "two.h5", "/v")
    virtual("two.h5", "one.h5", "/v")
    refused("leads back to itself", args=("one.h5",))


def test_a_signal_in_another_file_is_named(here):
    with h5py.File("x.nxs", "w") as file:  # as fast detectors write it
        data = group(file, "entry/data", signal="data")
        data["data"] = h5py.ExternalLink("x_data.h5", "/data")
        file["mask"] = np.zeros(3)
    refused("link to another file (x_data.h5)", "name that file")
    with h5py.File("x.nxs", "a") as file:
        del file["entry/data"].attrs["signal"]
    refused("links to other files", "x_data.h5:/data")


@pytest.mark.parametrize("signal", [{}, {"signal": "data"}])
def test_a_master_file_names_its_data_files(here, signal):
    """As Dectris' detectors write it: the data lie in other files, and the only picture is the mask."""
    Path("scans").mkdir()
    with h5py.File("scans/run_1_master.h5", "w") as file:
        group(file, "entry", "NXentry"), group(file, "entry/data", **signal)
        for i in (1, 2):
            with h5py.File(f"scans/run_1_data_{i:06}.h5", "w") as other:
                other["entry/data/data"] = DATA[:10]
            file[f"entry/data/data_{i:06}"] = h5py.ExternalLink(f"run_1_data_{i:06}.h5", "/entry/data/data")
        file["entry/instrument/detector/pixel_mask"] = np.zeros((6, 5), "u4")
    pattern = "'scans/run_1_data_*.h5:/entry/data/data'"
    for part in ("", ":/entry/data", ":/entry"):
        refused("links to other files", pattern, args=(f"scans/run_1_master.h5{part}",))
    assert f"{pattern} (in another file)" in inspect.contents(locate.parse("scans/run_1_master.h5"))
    assert load(pattern.strip("'")).form.shape == (1, 6, 5)


def test_files_that_cannot_be_opened_yet(here, monkeypatch):
    fcntl = pytest.importorskip("fcntl")
    whole = Path(scan()).read_bytes()
    with open("x.nxs", "rb+") as writer:
        fcntl.flock(writer, fcntl.LOCK_EX)
        refused("x.nxs is locked", "another program", "copy")
    Path("cut.nxs").write_bytes(whole[:-100])
    refused(f"cut.nxs is truncated: it has {len(whole) - 100:,} of {len(whole):,} bytes", args=("cut.nxs",))
    with h5py.File("new.h5", "w", libver="latest") as file:
        file["x"] = DATA
        file.flush()
        Path("open.h5").write_bytes(Path("new.h5").read_bytes())
    refused("open.h5 is being written", "h5clear -s", args=("open.h5",))

    def no_locks(*_):
        raise OSError("Unable to open file (unable to lock file, errno = 37, error message = 'No locks available')")

    monkeypatch.setattr(h5py, "File", no_locks)
    refused("HDF5_USE_FILE_LOCKING=FALSE")


def test_filters_of_the_extra_are_found(here):
    plugin = pytest.importorskip("hdf5plugin")
    with h5py.File("x.h5", "w") as file:
        file.create_dataset("x", data=DATA, chunks=(4, 6, 5), **plugin.Bitshuffle())
    code = (
        "import sys; from ludus.data.readers import hdf5\n"
        "with hdf5.opened('x.h5') as raw: print(raw.rows(0, 20).sum(), 'hdf5plugin' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.split() == [str(DATA.sum()), "True"], done.stderr
    assert "compression bitshuffle," in read("x.h5").storage


FUZZ = """
import signal, sys
import numpy as np
from ludus.data.readers import hdf5
from ludus.errors import UserError

whole, start, stop = open("x.nxs", "rb").read(), *map(int, sys.argv[1:])

def look(part):
    with hdf5.opened("f.nxs", part) as raw:
        raw.rows(0, raw.shape[0])
        for name in list(raw.own)[:4]:
            raw.own.get(name)

for i in range(start, stop):
    draws, damaged = np.random.default_rng(i), bytearray(whole)
    for at in draws.integers(0, len(whole), draws.integers(1, (40, 3, 8)[i % 3])):
        damaged[at] = draws.integers(256)
    open("f.nxs", "wb").write(damaged)
    print(i, flush=True)
    signal.alarm(3)
    for call in (lambda: hdf5.contents("f.nxs"), lambda: look(""), lambda: look("/entry/sample/hkl")):
        try:
            call()
        except UserError as error:
            assert "\\n" not in str(error)
            str(error).encode()
"""


@pytest.mark.parametrize("n", [30, pytest.param(300, marks=pytest.mark.slow)])
def test_damaged_files_are_read_or_refused(told, n):
    """Or HDF5 itself crashes or hangs, in a few of a thousand: so `ludus` is a process of its own in the lab."""
    i, died = 0, []
    while i < n:
        done = subprocess.run([sys.executable, "-c", FUZZ, str(i), str(n)], capture_output=True, text=True)
        assert "Error" not in done.stderr, done.stderr
        i = int(done.stdout.split()[-1]) + 1
        died += [done.returncode] if i < n else []
    assert len(died) <= n // 50 and all(code < 0 for code in died)


# -- what is written ---------------------------------------------------------------------------------------------------

TINY = ["--set", "snapshot.count=0", "--set", "generator.width=8", "--set", "discriminator.width=8"]


@pytest.fixture
def ludus(here, monkeypatch, capsys):
    def run(*words):
        code, out, err = games.command(monkeypatch, capsys, *words)
        assert code == 0, err
        return out

    return run


def test_what_is_written_is_read_back(here):
    axes = UNNAMED, Axis("energy transfer", "meV", tuple(ENERGY)), Axis("Q", "", tuple(Q))
    with h5py.File("x.nxs", "w") as file:
        images = nxdata(file, "images", DATA.shape, "f4", axes, Axis("S(Q, ω)", "1/meV"), chunks=(5, 6, 5))
        assert images == file["entry/data/images"] and images.chunks == (5, 6, 5)
        images[...] = DATA
    raw = read()
    assert known(raw) == [UNNAMED_, ("energy_transfer", "meV", tuple(ENERGY)), ("Q", "", tuple(Q))]
    assert raw.signal == Axis("S(Q, ω)", "1/meV") and known(read(part="/images")) == known(raw)


def test_names_that_groups_cannot_have(here):
    axes = tuple(Axis(name, "", (1.0, 2.0)) for name in ("images", "a/b", "", ".", "Δ", "a/b", "beyond"))
    with h5py.File("x.nxs", "w") as file:
        nxdata(file, "images", (2,) * 6 + (3,), "f4", axes)
        assert list(file["entry/data"].attrs["axes"]) == ["images_", "a_b", "axis2", "._", "Δ", "a_b_", "."]
        assert "units" not in file["entry/data/Δ"].attrs
    raw = read()
    assert all(axis.values == (1, 2) for axis in raw.axes[:6]) and raw.axes[6] == UNNAMED


@pytest.mark.parametrize("channels", ["NHW", "NHWC", "NCHW", "ND"])
def test_axes_go_there_and_back(channels):
    axes = tuple(Axis(letter, "", (1.0, 2.0)) for letter in channels)
    back = layout.user_axes(layout.grid(axes, channels), channels)
    assert back == tuple(UNNAMED if axis.name in "NC" else axis for axis in axes)
    assert layout.user_axes((), channels) == ()


def test_scippnexus_to_ludus_and_back(ludus):
    """A scan by temperature, energies as edges: what comes back has the same axes, at the middle of the bins."""
    snx, sc = pytest.importorskip("scippnexus"), pytest.importorskip("scipp")
    edges = sc.linspace("energy", 0.0, 18.0, 7, unit="meV")
    q = sc.linspace("Q", 0.3, 4.2, 5, unit="1/angstrom")
    with snx.File("scan.nxs", "w") as file:
        data = file.create_class("entry", snx.NXentry).create_class("data", snx.NXdata)
        data["intensity"] = sc.array(dims=["temperature", "energy", "Q"], values=DATA, unit="1/meV")
        data["temperature"] = sc.linspace("temperature", 2.0, 300.0, 20, unit="K")
        data["energy"], data["Q"] = edges, q
        data.underlying.attrs.update(signal="intensity", axes=["temperature", "energy", "Q"])
    assert "scan.nxs:/entry/data/intensity: 20 × 6 × 5 float32" in ludus("inspect", "scan.nxs")
    ludus("train", "r3gan", "--data", "scan.nxs", "--condition", ":temperature", "--steps", 2, "--run", "r", *TINY)
    ludus("sample", "r", "-n", 4, "-c", "150.5", "--out", "x.nxs")
    ludus("sample", "r", "-n", 4, "-c", "150.5", "--out", "x.npy")
    with snx.File("x.nxs") as file:
        found = file["entry/data"][()]
    assert found.dims == ("dim_0", "energy", "Q") and found.unit == "1/meV"
    assert sc.identical(found.coords["energy"], sc.midpoints(edges)) and sc.identical(found.coords["Q"], q)
    assert np.array_equal(found.values, np.load("x.npy")) and 0 <= found.values.min() < found.values.max() <= 1
    with h5py.File("x.nxs") as file:
        assert np.allclose(file["conditions"], 150.5) and file["conditions"].shape == (4,)
        assert file.attrs["turn"] == 2 and file["images"] == file["entry/data/images"]
    again = load("x.nxs", held_out=0).form  # and it can be trained on
    assert [axis.name for axis in again.grid] == ["energy", "Q"] and again.grid[1].values == tuple(q.values)


def test_samples_of_classes_and_points(ludus):
    np.savez("x.npz", x=RNG.normal(size=(40, 3)), y=np.array(["up", "down"] * 20))
    ludus("train", "gan", "--data", "x.npz:x", "--condition", "x.npz:y", "--steps", 2, "--run", "r", *TINY)
    ludus("sample", "r", "-n", 4, "-c", "up", "--out", "x.h5")
    raw = read("x.h5")
    assert raw.shape == (4, 3) and raw.name == "x.h5:/entry/data/points" and raw.axes == ()
    assert raw.own["/conditions"].tolist() == ["up"] * 4
    ludus("sample", "r", "-n", 4, "--out", "y.nxs")
    with h5py.File("y.nxs") as file:
        assert "conditions" not in file and set(file) == {"entry", "points"}


def test_what_is_of_the_users_shape_has_the_axes_of_the_data(here):
    form = load(scan()).form
    cli._write(Path("again.nxs"), {"reconstructed": DATA, "z": np.arange(20)}, form, run="r")
    again = read("again.nxs")
    assert known(again) == [UNNAMED_, *WHOLE[1:]] and again.signal.unit == "1/meV" and "/z" in again.own
    cli._write(Path("z.h5"), {"mean": DATA, "std": DATA}, run="r")
    with h5py.File("z.h5") as file:
        assert set(file) == {"mean", "std"} and dict(file.attrs) == {"run": "r"}
