"""`ludus simulate`: the same file on any number of processes, through any interruption, and readable by others."""

import os
import resource
import signal
import subprocess
import sys
import time

import h5py
import numpy as np
import pytest
import torch

from ludus.callbacks.signals import interrupting
from ludus.data.load import load
from ludus.errors import UserError
from ludus.runs.disk import StoreError
from ludus.simulate import simulate
from ludus.worlds.ins import Ins

N = 600  # three chunks
ONE = {**os.environ, "OMP_NUM_THREADS": "1"}


def command(out, *more, n=N):
    return [sys.executable, "-m", "ludus", "simulate", "ins", "-n", str(n), "--out", str(out), *more]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A file that one process drew without a stop."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    out = simulate("ins", N, tmp_path_factory.mktemp("whole") / "ins.h5", seed=3, processes=1)
    torch.set_num_threads(threads)
    return out


def test_two_processes_write_the_same_file(whole, tmp_path):
    subprocess.run(command(tmp_path / "x.h5", "--seed", "3", "--processes", "2"), check=True, env=ONE)
    assert (tmp_path / "x.h5").read_bytes() == whole.read_bytes()


def test_killed_and_gone_on_with_it_is_the_same_file(whole, tmp_path):
    out, partial = tmp_path / "x.h5", tmp_path / "x.h5.partial"
    running = subprocess.Popen(command(out, "--seed", "3", "--processes", "1"), env=ONE, stderr=subprocess.DEVNULL)
    while not rows_of(partial):
        time.sleep(0.02)
    running.send_signal(signal.SIGKILL)
    running.wait()
    assert not out.exists() and 0 < rows_of(partial) < N
    done = subprocess.run(command(out, "--seed", "3", "--processes", "1"), check=True, env=ONE, capture_output=True)
    assert b"going on from" in done.stderr
    assert out.read_bytes() == whole.read_bytes() and not partial.exists()


def rows_of(partial):
    """How many rows a file holds that somebody is writing: labels are NaN before."""
    try:
        with h5py.File(partial, "r", locking=False) as file:
            return int(np.isfinite(file["labels"][:, 0]).sum())
    except OSError:
        return 0


def test_asked_to_stop_it_says_how_to_go_on(tmp_path):
    out, partial = tmp_path / "x.h5", tmp_path / "x.h5.partial"
    running = subprocess.Popen(
        command(out, "--processes", "2", n=10_000), env=ONE, stderr=subprocess.PIPE, start_new_session=True
    )
    while not rows_of(partial):
        time.sleep(0.02)
    os.killpg(running.pid, signal.SIGINT)  # as Ctrl-C does: to the workers too
    _, error = running.communicate(timeout=60)
    assert running.returncode == 75
    assert error.decode().splitlines()[-1].startswith("ludus: stopped") and "Traceback" not in error.decode()
    assert partial.exists() and not out.exists()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_signal_that_python_drops_still_stops_the_work():
    class Asks:
        def __del__(self):  # what is raised in here goes nowhere
            os.kill(os.getpid(), signal.SIGTERM)

    with interrupting() as check:
        check()
        Asks()
        with pytest.raises(KeyboardInterrupt):
            check()


def test_the_file_is_what_was_drawn(whole):
    with h5py.File(whole) as file:
        images, labels, parameters = (file[name][:] for name in ("images", "labels", "parameters"))
        tried, chunk = file["entry/process/tried"][:], 250
    assert images.shape == (N, 20, 200, 1) and images.dtype == np.float32
    assert images.min() == 0 and (images.max((1, 2, 3)) == 1).all()
    assert (labels.sum(1) == 1).all() and set(np.unique(labels)) == {0, 1}
    assert tried.sum() > N and len(tried) == -(-N // chunk)
    for column, model in enumerate(("dimer", "goodenough")):
        rows = labels[:, column] == 1
        again, stable = Ins(model=model).spectra(model, torch.from_numpy(parameters[rows]))
        again = again / again.amax((1, 2), keepdim=True)
        assert stable.all()
        assert abs(again.numpy() - images[rows, ..., 0]).max() < 1e-6  # float32


def test_the_file_is_nexus(whole):
    """By the rules of NXdata: a chain of defaults to a signal, and an axis or "." for each of its dimensions."""
    with h5py.File(whole) as file:
        assert file.attrs["NX_class"] == "NXroot"
        entry = file[file.attrs["default"]]
        data = entry[entry.attrs["default"]]
        assert (entry.attrs["NX_class"], data.attrs["NX_class"]) == ("NXentry", "NXdata")
        signal_ = data[data.attrs["signal"]]
        assert signal_ == file["images"]  # one dataset under two names
        axes = data.attrs["axes"]
        assert len(axes) == signal_.ndim
        for name in data:
            if name == "images":
                continue
            along = np.atleast_1d(data.attrs[f"{name}_indices"])
            assert data[name].shape == tuple(signal_.shape[i] for i in along)
            assert data[name].attrs["units"]
        assert {name for name in axes if name != "."} <= set(data)
        assert file["parameters"].attrs["units"] == "meV"
        assert entry["process"].attrs["NX_class"] == "NXprocess" and entry["process/program"][()] == b"ludus"
        assert list(data["E"][::20]) == pytest.approx(np.linspace(4.4, 47.6, 10))
        assert data["Qa"][0] == pytest.approx(-2 * 2 * np.pi / 10.816)


def test_the_file_can_be_trained_on(whole):
    data = load(f"{whole}:/images", f"{whole}:/labels")
    assert data.x.shape == (540, 1, 20, 200) and data.c.shape[0] == 540


def test_the_large_picture_has_its_axes():
    for name, (values, _, along, _) in Ins(mode="instrument").axes().items():
        assert tuple(values.shape) == tuple((1, 240, 400, 1)[i] for i in along), name


def test_other_names_and_settings_are_refused(tmp_path):
    cases = [
        ("inz", {}, "unknown world 'inz'. Did you mean 'ins'"),
        ("ins", {"modle": "dimer"}, "Did you mean 'mode"),
        ("ins", {"mode": "practicle"}, "ins.mode"),
        ("ins", {"sigma_e": -1}, "ins.sigma_e"),
    ]
    for world, settings, words in cases:
        with pytest.raises(UserError, match=words):
            simulate(world, 4, tmp_path / "x.h5", settings=settings)
    assert list(tmp_path.iterdir()) == []


def test_what_is_there_is_kept(tmp_path):
    out = tmp_path / "x.h5"
    simulate("ins", 2, out, processes=1)
    before = out.read_bytes()
    with pytest.raises(UserError, match="exists"):
        simulate("ins", 2, out)
    assert out.read_bytes() == before
    out.rename(tmp_path / "x.h5.partial")
    with pytest.raises(UserError, match="another simulation"):
        simulate("ins", 2, out, seed=1)
    (tmp_path / "x.h5.partial").write_bytes(b"no HDF5")
    with pytest.raises(UserError, match="remove it"):
        simulate("ins", 2, out)


def test_a_disk_too_small_is_said_before_anything_is_drawn(tmp_path):
    with pytest.raises(StoreError, match="free"):
        simulate("ins", 10**12, tmp_path / "x.h5")
    assert list(tmp_path.iterdir()) == []


def test_a_write_that_is_refused_leaves_one_line(tmp_path):
    """A file-size limit stands in for a full disk: both come back from the same call."""

    def limit():
        resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))

    done = subprocess.run(
        command(tmp_path / "x.h5", "--processes", "1", n=50), env=ONE, capture_output=True, text=True, preexec_fn=limit
    )
    assert done.returncode == 1 and len(done.stderr.splitlines()) == 1, done.stderr
    assert "x.h5" in done.stderr and not (tmp_path / "x.h5").exists()
