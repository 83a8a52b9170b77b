"""The command line: what it does, and what it says to an input that cannot be used."""

import json
import os
import resource
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import h5py
import numpy as np
import pytest

import games
from ludus import cli
from ludus.runs import folder, journal, lock, store

LUDUS = [sys.executable, "-m", "ludus"]
QUICK = ["--set", "snapshot.count=0", "--set", "generator.width=8", "--set", "discriminator.width=8"]


@pytest.fixture
def ludus(capsys, monkeypatch, tmp_path):
    """Calls the command line in this process, in an empty folder: (exit code, output, errors)."""
    monkeypatch.chdir(tmp_path)

    return partial(games.command, monkeypatch, capsys)


@pytest.fixture
def images(tmp_path):
    """20 frames of 6×5 in units of thousands, and what they were taken at."""
    draws = np.random.default_rng(0)
    np.save(tmp_path / "x.npy", (1000 * draws.random((20, 6, 5))).astype("uint16"))
    np.save(tmp_path / "y.npy", draws.integers(3, size=20))
    with h5py.File(tmp_path / "f.h5", "w") as file:
        file["x"], file["temperature"] = draws.random((20, 5, 4, 1)), draws.random(20)
    return tmp_path


def test_the_main_path(ludus, images):
    code, out, err = ludus("train", "r3gan", "--data", "x.npy", "--condition", "y.npy", "--steps", 3, *QUICK)
    assert code == 0, err
    run = Path(out.strip().splitlines()[-1])
    assert run.parent == Path("runs") and (run / "report.html").exists() and (run / "recipe.toml").exists()
    assert "3 turns of 4" in err and "until" in err  # the default batch is n // 4; the end is told before the start
    for suffix in ("npy", "h5", "png"):
        assert ludus("sample", run, "-n", 4, "-c", 1, "--out", f"s.{suffix}")[0] == 0
    samples = np.load("s.npy")
    assert samples.shape == (4, 6, 5) and samples.min() >= 0 and samples.max() <= 1000 and samples.max() > 1
    with h5py.File("s.h5") as file:
        assert np.array_equal(file["images"], samples)
    assert Path("s.png").read_bytes().startswith(b"\x89PNG")
    assert ludus("resume", run, "--steps", 5)[0] == 0
    code, out, _ = ludus("runs")
    assert "r3gan" in out and "5/5" in out and "complete" in out
    assert ludus("report", run)[0] == 0


def test_hdf5_keeps_its_axes(ludus, images):
    code, _, err = ludus(
        "train", "wgan_gp", "--data", "f.h5:/x", "--condition", "f.h5:/temperature", "--steps", 2, "--run", "r", *QUICK
    )
    assert code == 0, err
    assert ludus("sample", "r", "-n", 3, "-c", "0.5", "--out", "s.npy")[0] == 0
    assert np.load("s.npy").shape == (3, 5, 4, 1)


def test_inspect_draws(ludus, images):
    code, out, _ = ludus("inspect", "x.npy")
    assert code == 0 and "20" in out and "uint16" in out and Path("x.png").exists()


def test_methods_and_references(ludus):
    assert "maximum_likelihood" in ludus("methods")[1]
    for method in cli.recipes.METHODS:
        assert ludus("cite", method)[1].startswith("@")


BAD = {
    "method": (["train", "r4gan", "--data", "ring"], "unknown method 'r4gan'. Did you mean 'r3gan'?"),
    "no method": (["train"], "method"),
    "no data": (["train", "gan"], "no data: give --data"),
    "option": (["train", "gan", "--bacth", "3"], "--batch"),
    "key": (["train", "gan", "--data", "ring", "--set", "generator.widht=8"], "Did you mean 'width'?"),
    "section": (["train", "gan", "--data", "ring", "--set", "critic.width=8"], "unknown recipe section 'critic'"),
    "undotted": (["train", "gan", "--data", "ring", "--set", "width=8"], "section.key=value"),
    "type": (["train", "gan", "--data", "ring", "--set", "generator.width=wide"], "generator.width: "),
    "nan rate": (["train", "gan", "--data", "ring", "--set", "trainer.lr=nan"], "finite"),
    "cost": (["train", "gan", "--data", "ring", "--set", "method.cost=minmax"], "'minimax'"),
    "player": (["train", "gan", "--data", "ring", "--set", "trainer.every.critic=2"], "unknown player 'critic'"),
    "network": (["train", "gan", "--data", "ring", "--network", "smal"], "Did you mean 'small'?"),
    "shape": (["train", "gan", "--data", "ring", "--network", "small"], "mlp"),
    "file": (["train", "gan", "--data", "y.np"], "y.np"),
    "file near": (["train", "gan", "--data", "xx.npy"], "x.npy"),
    "dataset": (["train", "gan", "--data", "f.h5:/z"], "temperature"),
    "length": (["train", "gan", "--data", "x.npy", "--condition", "short.npy"], "19"),
    "batch": (["train", "gan", "--data", "x.npy", "--batch", "1000"], "batch 1000"),
    "device": (["train", "gan", "--data", "x.npy", "--device", "abacus"], "abacus"),
    "recipe": (["train", "gan", "--data", "x.npy", "--recipe", "no.toml"], "no.toml"),
    "recipe key": (["train", "--recipe", "bad.toml"], "unknown key in [trainer] 'stesp'. Did you mean 'steps'?"),
    "not toml": (["train", "--recipe", "x.npy"], "TOML"),
    "recipe folder": (["train", "gan", "--data", "x.npy", "--recipe", "."], "cannot be read"),
    "method a number": (["train", "gan", "--data", "x.npy", "--set", "method.name=3"], "method.name is a text, got 3"),
    "network a list": (["train", "gan", "--data", "x.npy", "--set", "generator.name=[1]"], "generator.name is a text"),
    "data a number": (["train", "gan", "--set", "data.source=5"], "data.source is a text, got 5"),
    "fill": (["train", "gan", "--data", "half.npy", "--set", "data.nan=fill=1e6"], "float16, which cannot hold"),
    "ei": (["simulate", "ins", "--out", "i.h5", "--set", "ei=10"], "for the mode physical"),
    "no line": (["simulate", "ins", "-n", "1", "--out", "i.h5", "--set", "model=dimer", "--set",
                 "parameters=[-0.1,0.05,0.05,-0.1,0.05,0.005]", "--processes", "1"], "no line within"),
    "picture": (["fit", "ins", "--to", "x.npy"], "shape (20, 200)"),
    "class": (["sample", "run", "-c", "7", "--out", "s.npy"], "7"),
    "suffix": (["sample", "run", "--out", "s.gif"], ".npy, .h5, .nxs or .png"),
    "no run": (["sample", "nowhere", "--out", "s.npy"], "nowhere is not a run"),
    "no run to resume": (["resume", "nowhere"], "nowhere is not a run"),
    "complete": (["resume", "run"], "already complete, 2 turns"),
    "occupied": (["train", "gan", "--data", "x.npy", "--run", "run"], "ludus resume run"),
    "run is a file": (["train", "gan", "--data", "x.npy", "--run", "x.npy"], "x.npy"),
    "penalty": (["train", "gan", "--data", "x.npy", "--set", "method.penalties.r3=1"], "unknown penalty 'r3'"),
    "minutes": (["train", "gan", "--data", "x.npy", "--minutes", "0"], "--minutes"),
    "nan": (["train", "gan", "--data", "nan.npy"], "--nan"),
    "all nan": (["train", "gan", "--data", "allnan.npy", "--nan", "drop"], "NaN"),
    "constant": (["train", "gan", "--data", "constant.npy"], "constant"),
    "empty": (["train", "gan", "--data", "empty.npy"], "empty.npy"),
    "object": (["train", "gan", "--data", "object.npy"], "pickle"),
    "truncated": (["train", "gan", "--data", "short.npy.npy"], "bytes"),
    "batch norm": (["train", "gan", "--data", "x.npy", "--network", "dcgan", "--batch", "1"], "batch norm"),
    "steps": (["train", "gan", "--data", "x.npy", "--set", "trainer.steps=0"], "steps"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_one_line(ludus, images, case):
    x = np.load("x.npy").astype(float)
    np.save("short.npy", np.arange(19))
    Path("bad.toml").write_text('[method]\nname = "gan"\n[data]\nsource = "x.npy"\n[trainer]\nstesp = 3\n')
    np.save("nan.npy", np.where(x > 900, np.nan, x))
    np.save("half.npy", np.where(x > 900, np.nan, x).astype(np.float16))
    np.save("allnan.npy", np.full_like(x, np.nan))
    np.save("constant.npy", np.ones_like(x))
    np.save("empty.npy", x[:0])
    np.save("object.npy", np.array([1, "a"], dtype=object), allow_pickle=True)
    Path("short.npy.npy").write_bytes(Path("x.npy").read_bytes()[:-10])
    if case in ("class", "complete", "occupied", "suffix"):
        made = ludus("train", "gan", "--data", "x.npy", "--condition", "y.npy", "--steps", 2, "--run", "run", *QUICK)
        assert made[0] == 0, made[2]
    words, expected = BAD[case]
    code, out, err = ludus(*words)
    assert code == 2 and out == "", (code, err)
    (line,) = err.splitlines()
    assert line.startswith("ludus: ") and expected in line, line


@pytest.mark.parametrize(
    "words",
    [["--help"], ["--version"], ["train", "--help"], ["train", "r4gan", "--data", "ring"],
     ["train", "gan", "--data", "ring", "--set", "generator.widht=8"], ["train", "gan", "--data", "no.npy"],
     ["train", "gan", "--bacth", "3"], ["resume", "nowhere"]],
)  # fmt: skip
def test_answers_without_torch(words):
    """In under 0.5 s. Processor time is measured, the best of some tries, since the machine may be busy."""
    times = []
    for _ in range(5):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        done = subprocess.run([*LUDUS, *words], capture_output=True, text=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        times.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
        assert done.returncode == (0 if {"--help", "--version"} & set(words) else 2), done.stderr
    assert min(times) < 0.5
    code = f"import sys; sys.argv[1:] = {words}; sys.modules['torch'] = None; from ludus.cli import main; main()"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert "torch" not in done.stderr


def test_a_run_is_opened_without_what_judges_it():
    """These take a second, which a sample does not need."""
    code = "import sys, ludus.api; print({'sklearn', 'scipy.stats', 'matplotlib', 'pandas'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "set()\n"


def started(tmp_path, *more):
    """A run in another process, once it has made its first turns."""
    command = [*LUDUS, "train", "gan", "--data", "ring", "--steps", "200000", "--run", "run", *QUICK, *more]
    process = subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    limit, metrics = time.monotonic() + 60, tmp_path / "run" / "metrics.jsonl"
    while not (metrics.exists() and journal.last(metrics)):
        assert process.poll() is None and time.monotonic() < limit, process.stderr.read()
        time.sleep(0.1)
    return process


def test_signals_save_and_exit_75(tmp_path):
    process = started(tmp_path)
    run = tmp_path / "run"
    second = subprocess.run([*LUDUS, "resume", "run"], cwd=tmp_path, capture_output=True, text=True)
    assert second.returncode == 2 and str(process.pid) in second.stderr  # locked, by whom
    for number in (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT):
        process.send_signal(number)
        _, err = process.communicate(timeout=30)
        assert process.returncode == 75, err
        assert "ludus resume run" in err
        turn = store.load(run).turn
        assert 0 < turn == max(store.turns(run)) and not (run / "lock").exists()
        if number != signal.SIGINT:
            process = subprocess.Popen([*LUDUS, "resume", "run"], cwd=tmp_path, stderr=subprocess.PIPE, text=True)
            while journal.last(run / "metrics.jsonl")["turn"] <= turn:
                assert process.poll() is None
                time.sleep(0.1)


def test_a_stale_lock_is_explained(tmp_path):
    process = started(tmp_path)
    process.kill()
    process.communicate()
    assert lock.holder(tmp_path / "run")["pid"] == process.pid
    turn = max(store.turns(tmp_path / "run"))
    done = subprocess.run(
        [*LUDUS, "resume", "run", "--steps", str(turn + 20)], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 0 and str(process.pid) in done.stderr, done.stderr
    assert store.load(tmp_path / "run").turn == turn + 20


def test_a_folder_that_cannot_be_written(ludus, images, monkeypatch):
    monkeypatch.setattr(folder, "probe", lambda run: (_ for _ in ()).throw(cli.UserError(f"cannot write in {run}")))
    code, _, err = ludus("train", "gan", "--data", "x.npy", "--run", "r", "--steps", 2, *QUICK)
    assert code == 2 and "cannot write in r" in err
    assert os.listdir("r") == []


def test_metrics_are_json(ludus, images):
    assert ludus("train", "gan", "--data", "x.npy", "--steps", 10, "--run", "r", *QUICK)[0] == 0
    assert [json.loads(line)["turn"] for line in Path("r/metrics.jsonl").read_text().splitlines()] == [10]
