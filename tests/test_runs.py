"""The run folder survives what runs meet: kills, full disks, flipped bits, second writers, torn lines."""

import errno
import json
import os
import random
import shutil
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import numpy as np
import pytest
import tomli_w

from ludus.errors import LudusError, UserError
from ludus.runs import disk, folder, journal, lock, store

STATE = {"seed": 7, "rates": [1e-3, 0.1 + 0.2], "best": float("nan"), "limit": float("inf"), "name": "Θ", "none": None}


def arrays(turn: float = 0.0) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(3)
    return {
        "scalar": np.array(1 / 3),
        "empty": np.zeros((0, 4), np.float32),
        "count": np.array([-(2**63), 2**63 - 1]),
        "random": rng.integers(0, 256, 100).astype(np.uint8),
        "mask": rng.random((5, 7)) > 0.5,
        "double": rng.standard_normal((3, 4, 5)) + turn,
        "half": np.array([65504, 6e-8, np.nan, -np.inf], np.float16),
        "transposed": np.arange(24, dtype=np.float32).reshape(2, 3, 4).transpose(2, 0, 1),
        "foreign": np.arange(6, dtype=">i4"),
        "strided": np.arange(20, dtype=np.int16)[::-3],
    }


def same(a: dict, b: dict) -> bool:
    """Bit for bit: names, shapes, types up to byte order, and every bit of every NaN."""
    def bits(x):
        return x.shape, x.dtype.newbyteorder("="), x.astype(x.dtype.newbyteorder("=")).tobytes()
    return a.keys() == b.keys() and all(bits(a[k]) == bits(b[k]) for k in a)


def run(tmp_path: Path, *turns: int) -> Path:
    for turn in turns:
        store.save(tmp_path, turn, arrays(turn), {**STATE, "turn": turn})
    return tmp_path


def flip(path: Path, bit: int) -> None:
    data = bytearray(path.read_bytes())
    data[bit // 8] ^= 1 << bit % 8
    path.write_bytes(data)


def python(code: str, *arguments: object, **options) -> subprocess.Popen:
    return subprocess.Popen([sys.executable, "-c", textwrap.dedent(code), *map(str, arguments)],
                            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options)


def finish(process: subprocess.Popen) -> str:
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    return out


# --- checkpoints ---


def test_round_trip_is_exact_to_the_bit(tmp_path):
    target = store.save(tmp_path, 300, arrays(), STATE)
    assert target == tmp_path / "checkpoints" / "00000300"
    back = store.load(tmp_path)
    assert (back.turn, back.skipped) == (300, [])
    assert same(back.tensors, arrays())
    assert json.dumps(back.state) == json.dumps(STATE)
    assert sorted(p.name for p in target.iterdir()) == ["manifest.json", "state.json", "tensors.safetensors"]
    assert all(a.flags.writeable for a in back.tensors.values())


def test_without_tensors_or_state(tmp_path):
    store.save(tmp_path, 0, {}, {})
    assert store.load(tmp_path) == store.Checkpoint(0, {}, {}, [])


@pytest.mark.parametrize("tensors, state, word", [
    ({"odd": np.array([object()])}, {}, "odd"),
    ({"w": np.zeros(2, np.complex128)}, {}, "complex128"),
    ({}, {"groups": [{0: "a"}]}, r"state.groups\[0\] has the key 0"),
    ({}, {"x": np.float32(1)}, "float32"),
    ({}, [1], "list"),
])
def test_what_would_come_back_changed_is_refused(tmp_path, tensors, state, word):
    with pytest.raises(TypeError, match=word):
        store.save(tmp_path, 1, tensors, state)
    assert not (tmp_path / "checkpoints").exists()


def test_a_state_too_large_to_be_read_back_is_refused(tmp_path, monkeypatch):
    monkeypatch.setitem(store._LIMITS, store.STATE, 100)
    with pytest.raises(ValueError, match="too large"):
        store.save(tmp_path, 1, {}, {"x": "y" * 100})


def test_truncated_newest_falls_back_and_names_both(tmp_path):
    path = run(tmp_path, 200, 300) / "checkpoints/00000300/tensors.safetensors"
    size = path.stat().st_size
    os.truncate(path, 500)
    back = store.load(tmp_path)
    assert back.turn == back.state["turn"] == 200
    assert same(back.tensors, arrays(200))
    assert back.skipped == [f"00000300: tensors.safetensors is truncated (500 of {size:,} bytes)"]


@pytest.mark.parametrize("name", [store.TENSORS, store.STATE, store.MANIFEST])
def test_any_flipped_bit_falls_back(tmp_path, name):
    store.save(tmp_path, 200, {}, {})  # small, for it is read thousands of times
    path = run(tmp_path, 300) / "checkpoints/00000300" / name
    bits = range(8 * path.stat().st_size)
    for bit in bits if len(bits) < 6000 else random.Random(1).sample(bits, 300):
        flip(path, bit)
        back = store.load(tmp_path)
        assert back.turn == 200, f"bit {bit} of {name}"
        assert len(back.skipped) == 1 and back.skipped[0].startswith(f"00000300: {name}"), back.skipped
        flip(path, bit)
    assert store.load(tmp_path).turn == 300


@pytest.mark.parametrize("name", [store.TENSORS, store.STATE, store.MANIFEST])
def test_a_missing_or_empty_file_falls_back(tmp_path, name):
    path = run(tmp_path, 200, 300) / "checkpoints/00000300" / name
    path.write_bytes(b"")
    assert store.load(tmp_path).turn == 200
    path.unlink()
    assert store.load(tmp_path).skipped == [f"00000300: {name} is missing"]


def test_none_left_names_all(tmp_path):
    run(tmp_path, 200, 300)
    (tmp_path / "checkpoints/00000200/state.json").unlink()
    flip(tmp_path / "checkpoints/00000300/tensors.safetensors", 8000)
    with pytest.raises(UserError) as e:
        store.load(tmp_path)
    assert "00000300: tensors.safetensors does not match its SHA-256" in str(e.value)
    assert "00000200: state.json is missing" in str(e.value)
    assert "\n" not in str(e.value)


def test_no_checkpoint_and_no_run(tmp_path):
    with pytest.raises(UserError, match="has no checkpoint"):
        store.load(tmp_path)
    with pytest.raises(UserError, match="no run folder"):
        store.load(tmp_path / "nowhere")


def test_a_given_turn(tmp_path):
    run(tmp_path, 200, 300)
    assert store.turns(tmp_path) == [200, 300]
    assert store.load(tmp_path, 200).turn == 200
    with pytest.raises(UserError, match="no checkpoint of turn 250; it has 200, 300"):
        store.load(tmp_path, 250)
    flip(tmp_path / "checkpoints/00000300/state.json", 9)
    with pytest.raises(UserError, match="00000300: state"):  # never another one than was asked for
        store.load(tmp_path, 300)


def test_another_format_version_names_both(tmp_path, monkeypatch):
    run(tmp_path, 200)
    monkeypatch.setattr(store, "FORMAT", 2)
    run(tmp_path, 300)
    monkeypatch.undo()
    with pytest.raises(UserError, match=r"00000300 has format version 2, and this ludus reads version 1"):
        store.load(tmp_path)


@pytest.mark.parametrize("state", [b'{"a": 1, "a": 2}', b"[" * 100_000, b"[1]", b"{", b"\xff"])
def test_crafted_json_with_honest_hashes_is_refused(tmp_path, state):
    target = run(tmp_path, 200, 300) / "checkpoints/00000300"
    files = {store.TENSORS: (target / store.TENSORS).read_bytes(), store.STATE: state}
    (target / store.STATE).write_bytes(state)
    (target / store.MANIFEST).write_bytes(store._manifest(files))
    back = store.load(tmp_path)
    assert back.turn == 200 and "state.json" in back.skipped[0]


@pytest.mark.parametrize("tensors", [b"", b"\xff" * 7 + b"\x0f{}", (2**60).to_bytes(8, "little") + b"{}"])
def test_crafted_safetensors_with_honest_hashes_are_refused(tmp_path, tensors):
    target = run(tmp_path, 200, 300) / "checkpoints/00000300"
    (target / store.TENSORS).write_bytes(tensors)
    files = {store.TENSORS: tensors, store.STATE: (target / store.STATE).read_bytes()}
    (target / store.MANIFEST).write_bytes(store._manifest(files))
    back = store.load(tmp_path)
    assert back.turn == 200 and "not a safetensors file" in back.skipped[0]


def test_an_absurdly_large_state_is_not_even_read(tmp_path):
    path = run(tmp_path, 200, 300) / "checkpoints/00000300/manifest.json"
    os.truncate(path, 10**12)  # sparse
    assert store.load(tmp_path).skipped == ["00000300: manifest.json is absurdly large (1,000,000,000,000 bytes)"]


def test_the_same_turn_is_kept_if_equal_and_replaced_if_not(tmp_path):
    target = run(tmp_path, 300) / "checkpoints/00000300"
    inode = target.stat().st_ino
    run(tmp_path, 300)
    assert target.stat().st_ino == inode
    store.save(tmp_path, 300, arrays(1), {})
    assert same(store.load(tmp_path).tensors, arrays(1))
    flip(target / store.TENSORS, 5000)
    store.save(tmp_path, 300, arrays(1), {})
    assert same(store.load(tmp_path).tensors, arrays(1))
    assert os.listdir(tmp_path / "checkpoints") == ["00000300"]


def test_after_going_back_later_checkpoints_are_set_aside(tmp_path):
    run(tmp_path, 200, 300, 400)
    for turn in (300, 400):
        flip(tmp_path / f"checkpoints/{turn:08d}/tensors.safetensors", 5000)
    assert store.load(tmp_path).turn == 200
    run(tmp_path, 250)
    store.prune(tmp_path, 2)  # must not keep the two bad ones in place of the two good ones
    assert store.turns(tmp_path) == [200, 250]
    assert store.load(tmp_path)[3] == []
    run(tmp_path, 400, 250)
    names = sorted(os.listdir(tmp_path / "checkpoints"))
    assert names == ["00000200", "00000250", "00000300.aside", "00000400.aside", "00000400.aside1"]


def test_prune_keeps_at_least_two_and_all_that_is_not_ours(tmp_path):
    run(tmp_path, 1, 2, 3, 4, 5, 6)
    checkpoints = tmp_path / "checkpoints"
    (checkpoints / "00000002/notes.txt").write_text("mine")
    for name in ("best", "0000003", "00000300-copy", ".tmp-mine"):
        shutil.copytree(checkpoints / "00000001", checkpoints / name)
    (checkpoints / "00000000").symlink_to(checkpoints / "best")
    (checkpoints / "00000007").write_text("a file")
    store.prune(tmp_path, 3)
    assert store.turns(tmp_path) == [0, 2, 4, 5, 6]
    store.prune(tmp_path, 0)
    assert store.turns(tmp_path) == [0, 2, 5, 6]
    assert {"best", "0000003", "00000300-copy", ".tmp-mine", "00000007"} <= set(os.listdir(checkpoints))
    assert (checkpoints / "best" / store.TENSORS).exists()


def test_left_over_temporary_folders(tmp_path):
    dead = finish(python("import os; print(os.getpid())")).strip()
    checkpoints = run(tmp_path, 1) / "checkpoints"
    gone, kept = f".tmp-00000002-{disk.HOST}-{dead}", f".tmp-00000002-{disk.HOST}-{os.getppid()}"
    other = f".tmp-00000002-other.host-{dead}"
    for name in (gone, kept, other, ".tmp-user"):
        (checkpoints / name).mkdir()
        (checkpoints / name / store.TENSORS).write_bytes(b"half")
    (tmp_path / f".tmp-metrics.jsonl-{disk.HOST}-{dead}").write_text("half")
    run(tmp_path, 2)
    assert set(os.listdir(checkpoints)) == {"00000001", "00000002", kept, other, ".tmp-user"}
    assert os.listdir(tmp_path) == ["checkpoints"]
    time.sleep(0.02)
    with lock.Lock(tmp_path):  # whoever holds the lock is the only writer, so what is older than it has been given up
        run(tmp_path, 3)
    assert set(os.listdir(checkpoints)) == {"00000001", "00000002", "00000003", ".tmp-user"}


def test_a_full_disk_leaves_older_checkpoints_and_no_rubbish(tmp_path, monkeypatch):
    run(tmp_path, 1, 2)

    def full(descriptor):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(store.StoreError, match=r"cannot save turn 3 .*earlier .* are kept: No space left.*free"):
        run(tmp_path, 3)
    with pytest.raises(disk.StoreError, match="toml: No space left"):
        folder.write(tmp_path / "recipe.toml", "x = 1")
    monkeypatch.undo()
    assert sorted(os.listdir(tmp_path / "checkpoints")) == ["00000001", "00000002"]
    assert os.listdir(tmp_path) == ["checkpoints"]
    assert store.load(tmp_path).turn == 2
    assert run(tmp_path, 3) and store.load(tmp_path).turn == 3


def test_a_real_limit_in_the_middle_of_a_file(tmp_path):
    out = finish(python("""
        import resource, sys, numpy as np
        from ludus.runs import store, journal
        store.save(sys.argv[1], 1, {"w": np.ones(1000)}, {})
        rows = journal.Journal(sys.argv[1] + "/metrics.jsonl")
        resource.setrlimit(resource.RLIMIT_FSIZE, (30_001, 30_001))
        try:
            store.save(sys.argv[1], 2, {"w": np.ones(10_000)}, {})
        except store.StoreError as error:
            print(error)
        try:
            for turn in range(10_000):
                rows.append({"turn": turn})
        except store.StoreError as error:
            print(error)
        """, tmp_path))
    assert "cannot save turn 2 (0.1 MB)" in out and "File too large" in out and "metrics.jsonl" in out
    assert os.listdir(tmp_path / "checkpoints") == ["00000001"]
    assert store.load(tmp_path).turn == 1
    assert (tmp_path / "metrics.jsonl").read_bytes().endswith(b"}\n")


def test_a_vanished_run_folder_is_not_made_again(tmp_path):
    with pytest.raises(store.StoreError, match="cannot save turn 1"):
        run(tmp_path / "gone", 1)
    assert not (tmp_path / "gone").exists()


def test_the_store_starts_without_torch():
    out = finish(python("""
        import sys
        from ludus.runs import disk, folder, journal, lock, store
        print([m for m in ("torch", "h5py", "sklearn", "matplotlib") if m in sys.modules])
        """))
    assert out == "[]\n"


# --- kill -9 ---

WRITER = """
    import sys, numpy as np
    from ludus.runs import lock, store
    run, turn = sys.argv[1], int(sys.argv[2])
    with lock.Lock(run):
        while True:
            turn += 1
            big = {f"w{i}": np.full(100_000, turn + i, np.float32) for i in range(8)}
            store.save(run, turn, big, {"turn": turn})
            print(turn, flush=True)
            store.prune(run, 2)
    """


def test_kill_9_at_30_random_instants_of_saving(tmp_path):
    """A writer that only saves, 3.2 MB each time, always goes on in the same folder and always takes over the lock."""
    rng = random.Random(20)
    turn = 0
    for _ in range(30):
        writer = python(WRITER, tmp_path, turn)
        first = writer.stdout.readline()
        time.sleep(rng.uniform(0, 0.08))
        writer.kill()
        out, err = writer.communicate(timeout=30)
        assert first and not err, err
        reported = int((first + out).split()[-1])
        back = store.load(tmp_path)
        assert reported <= back.turn <= reported + 1
        assert back.skipped == []
        assert back.state == {"turn": back.turn}
        assert all((back.tensors[f"w{i}"] == back.turn + i).all() for i in range(8))
        assert len(list((tmp_path / "checkpoints").iterdir())) <= 5
        turn = back.turn
    run(tmp_path, turn + 1)
    store.prune(tmp_path)
    assert sorted(os.listdir(tmp_path / "checkpoints")) == [f"{t:08d}" for t in (turn, turn + 1)]


EVERY_STEP = """
    import os, shutil, sys, numpy as np
    from pathlib import Path
    from ludus.runs import store
    base = Path(sys.argv[1])

    def save(run, turn, value):
        store.save(run, turn, {"w": np.full(1000, value)}, {"value": value})
        store.prune(run, 2)

    def die_at(step):
        def count(event, arguments):
            nonlocal step
            if event in watched:
                step -= 1
                if step < 0:
                    os._exit(9)  # at once, as by kill -9: nothing is cleaned up or flushed
        watched = {"open", "os.mkdir", "os.rename", "os.remove", "os.rmdir", "shutil.rmtree", "os.scandir"}
        sys.addaudithook(count)
        sync = os.fsync
        def fsync(descriptor):
            count("open", ())
            sync(descriptor)
        os.fsync = fsync

    def crashes(before, turn, value):
        for step in range(1000):
            run = base / "run"
            shutil.rmtree(run, ignore_errors=True)
            run.mkdir()
            for t in before:
                save(run, t, t)
            child = os.fork()
            if child == 0:
                die_at(step)
                save(run, turn, value)
                os._exit(0)
            done = os.waitpid(child, 0)[1] == 0
            back = store.load(run)
            assert back.skipped == [] and back.state["value"] in (before[-1], value), (step, back.state)
            assert (back.tensors["w"] == back.state["value"]).all()
            assert len(store.turns(run)) >= min(2, len(before)), (step, os.listdir(run / "checkpoints"))
            for t in store.turns(run):
                store.load(run, t)  # nothing half written or half removed bears a checkpoint's name
            save(run, 9, 9)  # the next save finds its way and clears up
            names = sorted(os.listdir(run / "checkpoints"))
            assert names[-1] == "00000009" and len(names) == 2, (step, names)
            if done:
                return step

    print(crashes([1, 2], 3, 3), crashes([1], 1, 5), crashes([1, 2], 2, 5))
    """


def test_death_at_every_single_step_of_a_save(tmp_path):
    """Not at random instants but before each call to the system: a new turn, and another content for the same turn."""
    steps = list(map(int, finish(python(EVERY_STEP, tmp_path)).split()))
    assert all(20 < n < 200 for n in steps), steps  # it did die many times, and in the end came through


# --- lock ---


def test_a_second_writer_is_told_who_where_and_since_when(tmp_path):
    with lock.Lock(tmp_path) as mine:
        assert mine.message == ""
        since = json.loads((tmp_path / "lock").read_text())["started"]
        out = finish(python("""
            import sys
            from ludus.errors import UserError
            from ludus.runs.lock import Lock
            try:
                Lock(sys.argv[1]).__enter__()
            except UserError as error:
                print(error)
            """, tmp_path))
        assert f"in use by process {os.getpid()} on {disk.HOST} since {since}" in out and out.count("\n") == 1
        with pytest.raises(UserError, match="in use"), lock.Lock(tmp_path):  # nor twice in one process
            pass
        assert lock.alive(lock.holder(tmp_path)) is True
    assert not (tmp_path / "lock").exists()
    with lock.Lock(tmp_path):
        pass


def forged(tmp_path: Path, **changes: object) -> None:
    (tmp_path / "lock").write_text(json.dumps({**lock._myself(), **changes}))


def test_a_stale_lock_of_this_host_is_taken_over(tmp_path):
    dead = int(finish(python("import os; print(os.getpid())")))
    forged(tmp_path, pid=dead)
    with lock.Lock(tmp_path) as mine:
        assert f"took over the lock of process {dead}" in mine.message
        assert lock.holder(tmp_path)["pid"] == os.getpid()


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="only /proc tells when a process began")
def test_a_number_that_another_process_has_by_now_is_stale(tmp_path):
    forged(tmp_path, pid=os.getppid(), birth=disk.birth(os.getppid()))
    with pytest.raises(UserError, match="in use"), lock.Lock(tmp_path):
        pass
    forged(tmp_path, pid=os.getppid(), birth="12")
    with lock.Lock(tmp_path) as mine:
        assert mine.message


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="only /proc tells zombies")
def test_a_zombie_holds_nothing(tmp_path):
    child = python("import sys; from ludus.runs.lock import Lock; Lock(sys.argv[1]).__enter__(); print(1, flush=True)",
                   tmp_path)
    assert child.stdout.readline() == "1\n"
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)  # it has ended, and stays a zombie until it is waited for
    with lock.Lock(tmp_path) as mine:
        assert str(child.pid) in mine.message
    child.communicate()


@pytest.mark.parametrize("changes", [{"host": "node17"}, {"namespace": "pid:[1]"}])
def test_a_lock_that_cannot_be_judged_from_here_is_explained(tmp_path, changes):
    forged(tmp_path, **changes)
    with pytest.raises(UserError, match=r"cannot be seen from here: .* remove .*lock"), lock.Lock(tmp_path):
        pass
    assert (tmp_path / "lock").exists()


@pytest.mark.parametrize("content", [b"", b"[]", b'{"host": "a", "pid": 1e99}'])
def test_a_lock_that_cannot_be_read_is_explained(tmp_path, content):
    (tmp_path / "lock").write_bytes(content)
    with pytest.raises(UserError, match=r"cannot be read; .*remove"), lock.Lock(tmp_path):
        pass


def test_leaving_removes_only_our_own_lock(tmp_path):
    with lock.Lock(tmp_path):
        forged(tmp_path, host="node17")  # removed by hand, and taken by somebody else
    assert lock.holder(tmp_path)["host"] == "node17"


def test_many_processes_at_one_stale_lock_have_one_winner(tmp_path):
    """Eight processes find the same stale lock, many times, and dawdle where it matters; two inside would be seen."""
    rounds = 15
    dead = int(finish(python("import os; print(os.getpid())")))
    for i in range(rounds):
        (tmp_path / str(i)).mkdir()
        forged(tmp_path / str(i), pid=dead)
    code = """
        import os, random, sys, time
        from ludus.errors import UserError
        from ludus.runs import lock
        from ludus.runs.lock import Lock

        def dawdling(function):
            def slow(*arguments):
                answer = function(*arguments)
                time.sleep(random.uniform(0, 0.01))
                return answer
            return slow

        lock.alive, Lock._is = dawdling(lock.alive), dawdling(Lock._is)
        base, start, rounds = sys.argv[1], float(sys.argv[2]), int(sys.argv[3])
        for i in range(rounds):
            time.sleep(max(0, start + 0.1 * i - time.time()))
            try:
                with Lock(f"{base}/{i}"):
                    os.close(os.open(f"{base}/{i}/inside", os.O_CREAT | os.O_EXCL))  # fails if two are inside
                    time.sleep(0.02)
                    os.unlink(f"{base}/{i}/inside")
                    print(i)
            except UserError as error:
                assert "in use" in str(error), error
        """
    processes = [python(code, tmp_path, time.time() + 1.5, rounds) for _ in range(8)]
    winners = [int(i) for process in processes for i in finish(process).split()]
    assert set(winners) == set(range(rounds))  # and each was won (by one after the other where two came in)
    assert not any((tmp_path / str(i) / "lock").exists() for i in range(rounds))


# --- metrics.jsonl ---


def test_journal_round_trip(tmp_path):
    path = tmp_path / "metrics.jsonl"
    rows = [{"turn": t, "loss": 0.1 * t, "where": "Θ"} for t in range(5)]
    with journal.Journal(path) as rows_file:
        for row in rows:
            rows_file.append(row)
            assert journal.read(path)[-1] == row == journal.last(path)  # not held back
        rows_file.append({"turn": 5, "loss": np.float32(0.5), "n": np.int64(3), "bad": float("nan")})
        with pytest.raises(TypeError, match="turn"):
            rows_file.append({"loss": 1.0})
        with pytest.raises(TypeError, match="ndarray"):
            rows_file.append({"turn": 6, "x": np.zeros(2)})
    back = journal.read(path)
    assert back[:5] == rows and len(back) == 6
    assert back[5]["loss"] == 0.5 and back[5]["n"] == 3 and np.isnan(back[5]["bad"])


def test_no_journal_yet(tmp_path):
    path = tmp_path / "metrics.jsonl"
    assert journal.read(path) == [] and journal.last(path) is None
    journal.cut(path, 3)
    assert not path.exists()


def test_a_line_torn_at_any_byte(tmp_path):
    path = tmp_path / "metrics.jsonl"
    whole = b'{"turn": 1, "loss": {"D": 0.5}}\n{"turn": 2, "loss": {"D": 0.25}}\n'
    first = whole.index(b"\n") + 1
    for n in range(first, len(whole) + 1):
        path.write_bytes(whole[:n])
        expected = [1, 2] if n >= len(whole) - 1 else [1]
        assert [row["turn"] for row in journal.read(path)] == expected
        with journal.Journal(path) as rows:
            rows.append({"turn": 3})
        assert [row["turn"] for row in journal.read(path)] == [*expected, 3]
        assert path.read_bytes().count(b"\n") == len(expected) + 1


def test_cut_keeps_the_lines_as_they_are(tmp_path):
    path = tmp_path / "metrics.jsonl"
    lines = [b'{"turn":%d,  "x": 1.10}\n' % t for t in (10, 20, 20, 30)]
    path.write_bytes(b"".join(lines) + b"\0\0\0\n" + b'{"turn": 1')
    journal.cut(path, 20)
    assert path.read_bytes() == b"".join(lines[:3])
    assert os.listdir(tmp_path) == ["metrics.jsonl"]


def test_last_of_a_long_journal(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_text("".join(json.dumps({"turn": t, "x": "y" * 1000}) + "\n" for t in range(200)) + '{"turn": 2')
    assert journal.last(path)["turn"] == 199


# --- the folder ---


def test_new_folders_never_collide(tmp_path):
    first, second = folder.new(tmp_path / "runs", "gan-x.h5:/a/b"), folder.new(tmp_path / "runs", "gan-x.h5:/a/b")
    assert first.name.endswith("-gan-x.h5-a-b") and second.name == first.name + "-2"
    code = "import sys; from ludus.runs.folder import new\nfor _ in range(20): print(new(sys.argv[1], 'gan-mnist'))"
    processes = [python(code, tmp_path) for _ in range(4)]
    names = [name for process in processes for name in finish(process).split()]
    assert len(set(names)) == 80 and all(Path(name).is_dir() for name in names)


def test_probe(tmp_path, monkeypatch):
    folder.probe(tmp_path)
    assert os.listdir(tmp_path) == []
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="file is not a folder"):
        folder.probe(tmp_path / "file")
    with pytest.raises(UserError, match="gone is missing"):
        folder.probe(tmp_path / "gone")
    with pytest.raises(UserError, match="is not a folder"):
        folder.new(tmp_path / "file", "gan-mnist")

    def read_only(*_, **__):
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr(folder.tempfile, "NamedTemporaryFile", read_only)
    with pytest.raises(UserError, match=r"cannot write in the run folder .*: Read-only file system"):
        folder.probe(tmp_path)


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="chmod does not stop root")
def test_probe_of_a_folder_without_write_permission(tmp_path):
    tmp_path.chmod(0o555)
    try:
        with pytest.raises(UserError, match="Permission denied"):
            folder.probe(tmp_path)
        with pytest.raises(UserError, match="cannot lock"), lock.Lock(tmp_path):
            pass
        with pytest.raises(LudusError, match="cannot make a run folder"):
            folder.new(tmp_path / "runs", "gan-mnist")
    finally:
        tmp_path.chmod(0o755)


def test_write_is_all_or_nothing(tmp_path, monkeypatch):
    path = tmp_path / "report.html"
    folder.write(path, "Θ old")
    folder.write(path, b"new")
    assert path.read_bytes() == b"new"
    real = os.replace
    monkeypatch.setattr(os, "replace", lambda *_: real("/nowhere", "/nowhere/else"))
    with pytest.raises(disk.StoreError, match=r"cannot write .*report"):
        folder.write(path, b"newer")
    assert path.read_bytes() == b"new" and os.listdir(tmp_path) == ["report.html"]


def test_listing(tmp_path):
    assert folder.listing(tmp_path / "none") == []
    recipe = {"method": {"name": "r3gan"}, "data": {"source": "mnist"}, "trainer": {"steps": 400}}
    saved = {"begun": [], "stopped": [200, 300], "complete": [300, 400], "busy": [200], "nan": [100]}
    for name, turns in saved.items():
        (tmp_path / name).mkdir()
        folder.write(tmp_path / name / "recipe.toml", tomli_w.dumps(recipe))
        run(tmp_path / name, *turns)
        with journal.Journal(tmp_path / name / "metrics.jsonl") as rows:
            rows.append({"turn": 390, **({"diverged": True} if name == "nan" else {})})
    (tmp_path / "notes").mkdir()
    (tmp_path / "file.txt").write_text("")
    (tmp_path / "odd").mkdir()
    (tmp_path / "odd/recipe.toml").write_bytes(b"\xff = [")
    forged(tmp_path / "stopped", pid=int(finish(python("import os; print(os.getpid())"))))  # stale
    with lock.Lock(tmp_path / "busy"):
        rows = {row["name"]: row for row in folder.listing(tmp_path)}
    states = {name: (row["turn"], row["state"]) for name, row in rows.items()}
    assert states == {"begun": (0, "stopped"), "stopped": (300, "stopped"), "complete": (400, "complete"),
                      "busy": (390, "running"), "nan": (100, "diverged"), "odd": (0, "stopped")}
    assert (rows["busy"]["method"], rows["busy"]["data"], rows["busy"]["steps"]) == ("r3gan", "mnist", 400)
    assert rows["odd"]["method"] is None
    assert all(0 <= row["age"] < 60 for row in rows.values())
