"""An interrupted and resumed run is the uninterrupted one, bit for bit."""

import json
import os
import signal

import numpy as np
import pytest
import torch

import ludus
from games import METHODS, data_of, recipe_of
from ludus import recipe as recipes
from ludus import session
from ludus.callbacks.checkpoint import Checkpoint
from ludus.errors import Diverged, Interrupted, UserError
from ludus.runs import journal, store
from ludus.trainer import Callback

STEPS = 25
# everything that a resume could get wrong: dropout, batch norm, convolutions in channels_last, fused Adam, an
# average, annealing, a schedule that depends on measurements, conditions of which some are unknown
HARD = {
    "generator.name": "dcgan", "generator.widths": [8, 6, 4], "discriminator.name": "dcgan",
    "discriminator.widths": [4, 8], "discriminator.dropout": 0.3, "trainer.hold_above": {"discriminator": 0.5},
    "trainer.steps": STEPS, "snapshot.count": 0, "annealing.hold": 0.2, "annealing.decay": 0.1,
}  # fmt: skip


def hard(method):
    """HARD for the networks of a method: an encoder is a discriminator's trunk, a decoder a generator's network."""
    made_of = recipes.of_data(method)
    alike = {"encoder": "discriminator", "labeller": "discriminator", "decoder": "generator"}
    alike |= {role: role for role in made_of}
    settings = {key: value for key, value in HARD.items() if key.split(".")[0] not in ("generator", "discriminator")}
    for role, like in alike.items():
        if role in made_of:
            settings |= {key.replace(like, role): value for key, value in HARD.items() if key.startswith(f"{like}.")}
    if "discriminator" not in recipes.roles(method):
        settings.pop("trainer.hold_above")
    return settings


@pytest.fixture(scope="module")
def data():
    found = data_of((1, 8, 8), "classes", n=40)
    found.c[::5] = np.nan
    return found


def play(path, recipe, data, stop_at=None):
    """Begins or goes on with a run, perhaps to be interrupted after some turn."""

    class Stop(Callback):
        def after(self, trainer):
            if trainer.turn == stop_at:
                os.kill(os.getpid(), signal.SIGTERM)

    make = session.trainer_of

    def made(*given):
        trainer = make(*given)
        trainer.callbacks.append(Stop())
        return trainer

    if not path.exists():
        path.mkdir()
        session.prepare(path, recipe, data)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(session, "trainer_of", made)
        session.play(path, recipe, data, None)


def everything(path):
    """The last checkpoint and all metrics, without times."""
    last = store.load(path)
    state = {key: value for key, value in last.state.items() if key != "seconds"}
    rows = [{k: v for k, v in row.items() if k != "seconds"} for row in journal.read(path / "metrics.jsonl")]
    return last.tensors, state, rows


def assert_same(a, b):
    assert a[0].keys() == b[0].keys()
    for name, value in a[0].items():
        assert np.array_equal(value, b[0][name], equal_nan=True), name
    assert a[1:] == b[1:]


@pytest.mark.parametrize("method", METHODS)
def test_resume_is_exact(method, data, tmp_path):
    recipe = recipe_of(method, data, **hard(method))
    play(tmp_path / "whole", recipe, data)
    whole = everything(tmp_path / "whole")
    assert any(name.startswith("average/") for name in whole[0])
    assert any("exp_avg" in name or "square_avg" in name for name in whole[0])
    assert [row["turn"] for row in whole[2]] == [10, 20, 25]
    for stop_at in (1, 7, 10, 16, 24):
        path = tmp_path / str(stop_at)
        with pytest.raises(Interrupted, match=f"turn {stop_at} of {STEPS}"):
            play(path, recipe, data, stop_at)
        assert max(store.turns(path)) == stop_at
        play(path, recipe, data)
        assert_same(everything(path), whole)


def test_resume_after_a_kill_is_exact(data, tmp_path):
    """From a checkpoint saved on the way, with turns played and lines written since."""
    recipe = recipe_of("r3gan", data, **HARD)
    play(tmp_path / "whole", recipe, data)

    class Killed(Callback):
        def after(self, trainer):
            if trainer.turn == 12:
                raise KeyboardInterrupt

    path, make = tmp_path / "run", session.trainer_of

    def made(*given):
        trainer = make(*given)
        (saver,) = (callback for callback in trainer.callbacks if isinstance(callback, Checkpoint))
        saver.after = lambda trainer: saver.save(trainer) if trainer.turn == 9 else None
        trainer.callbacks.append(Killed())
        return trainer

    path.mkdir()
    session.prepare(path, recipe, data)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(session, "trainer_of", made)
        with pytest.raises(KeyboardInterrupt):
            session.play(path, recipe, data, None)
    assert max(store.turns(path)) == 9 and journal.last(path / "metrics.jsonl")["turn"] == 10
    play(path, recipe, data)
    assert_same(everything(path), everything(tmp_path / "whole"))


def test_the_schedule_really_held_somebody(data, tmp_path):
    """Else the test above would not test what it says."""
    trainer = session.trainer_of(tmp_path, recipe_of("gan", data, **HARD), data, None)
    moves = dict.fromkeys(trainer.players, 0)
    trainer.move = lambda name, move=trainer.move: (move(name), moves.update({name: moves[name] + 1}))
    for _ in range(STEPS):
        trainer.step()
    assert 0 < moves["discriminator"] < moves["generator"] == STEPS


def test_moments_take_the_parameters_strides(data, tmp_path):
    """A fused Adam mixes elements, without an error, when its moments' strides are not the parameter's."""
    recipe = recipe_of("gan", data, **HARD)
    play(tmp_path / "run", recipe, data)
    trainer = session.trainer_of(tmp_path / "run", recipe, data, None)
    last = store.load(tmp_path / "run")
    trainer.load({name: torch.from_numpy(value) for name, value in last.tensors.items()}, last.state)
    strided = 0
    for optimiser in trainer.optimisers.values():
        for p, moments in optimiser.state.items():
            assert moments["exp_avg"].stride() == p.stride()
            strided += not p.is_contiguous()
    assert strided  # channels_last was in force


def test_nan_rolls_back_once_and_says_so(data, tmp_path, capsys):
    """A rate at which everything overflows: one rollback with half of it, then exit 4; the good checkpoint stays."""
    recipe = recipe_of("gan", data, **HARD | {"trainer.optimiser": "sgd", "trainer.lr": 1e30})
    with pytest.raises(Diverged, match="after a rollback too") as error:
        play(tmp_path / "run", recipe, data)
    assert error.value.exit_code == 4
    said = capsys.readouterr().err
    assert "learning rates halved, new seed" in said
    written = recipes.read(tmp_path / "run" / "recipe.toml")
    assert written["rollbacks"] == 1
    events = [row["event"] for row in journal.read(tmp_path / "run" / "metrics.jsonl") if "event" in row]
    assert len(events) == 2 and "halved" in events[0]
    kept = store.load(tmp_path / "run")
    assert all(np.isfinite(value).all() for value in kept.tensors.values() if value.dtype.kind == "f")


def test_rollback_changes_the_seed_and_halves_the_rates(data, tmp_path):
    recipe = recipe_of("r3gan", data, **HARD)
    before, after = (session.trainer_of(tmp_path, recipe | {"rollbacks": n}, data, None) for n in (0, 1))
    assert all(after.rates[name] == before.rates[name] / 2 for name in before.rates)
    after.load(*(dict(part) for part in before.state()))
    assert not torch.equal(before.random["cpu"], after.random["cpu"])
    assert before.sampler.seed != after.sampler.seed


@pytest.fixture
def finished(tmp_path):
    """A short run of the public interface."""
    x = np.random.default_rng(0).random((40, 6, 5))
    return ludus.train("r3gan", x, steps=4, run=tmp_path / "run", settings={"snapshot.count": 0}), x


def test_finished_runs_say_so_and_go_on_with_more_steps(finished):
    run, x = finished
    with pytest.raises(UserError, match=r"already complete, 4 turns.*--steps 8"):
        ludus.resume(run.folder, data=x)
    assert ludus.resume(run.folder, steps=8, data=x).turn == 8
    assert recipes.read(run.folder / "recipe.toml")["trainer"]["steps"] == 8


def test_other_data_are_refused(finished):
    run, x = finished
    with pytest.raises(UserError, match="has changed since"):
        ludus.resume(run.folder, steps=8, data=x + 1)
    with pytest.raises(UserError, match="hand it over again"):
        ludus.resume(run.folder, steps=8)


def test_a_damaged_checkpoint_is_passed_over(finished, capsys):
    run, x = finished
    tensors = run.folder / "checkpoints" / "00000004" / "tensors.safetensors"
    tensors.write_bytes(tensors.read_bytes()[:-1])
    again = ludus.load(run.folder)
    assert again.turn == 0 and "00000004" in again.skipped[0]
    assert ludus.resume(run.folder, data=x).turn == 4
    assert "00000004" in capsys.readouterr().err


def test_an_extended_run_whose_last_checkpoint_is_damaged_goes_on_to_its_new_end(finished, capsys):
    run, x = finished
    ludus.resume(run.folder, steps=8, data=x)
    tensors = run.folder / "checkpoints" / "00000008" / "tensors.safetensors"
    tensors.write_bytes(tensors.read_bytes()[:-1])
    capsys.readouterr()
    assert ludus.load(run.folder).turn == 4
    assert "00000008" in capsys.readouterr().err  # samples of an older turn are not drawn in silence
    assert ludus.resume(run.folder, data=x).turn == 8
    assert "00000008" in capsys.readouterr().err


def test_a_total_that_is_passed_already_is_named(finished):
    run, x = finished
    recipe = run.folder / "recipe.toml"
    recipe.write_text(recipe.read_text().replace("steps = 4", "steps = 9"))
    with pytest.raises(UserError, match=r"at turn 4 already.*goes on to 9"):
        ludus.resume(run.folder, steps=3, data=x)


def test_loaded_runs_sample_the_same(finished):
    run, _ = finished
    again = ludus.load(run.folder)
    assert np.array_equal(run.sample(5, seed=1), again.sample(5, seed=1))
    assert not np.array_equal(run.sample(5, seed=1), again.sample(5, seed=2))
    assert run.sample(5).shape == (5, 6, 5) and run.sample(5).dtype == np.float32


def test_another_version_of_the_format_is_named(finished):
    run, _ = finished
    path = run.folder / "recipe.toml"
    path.write_text(path.read_text().replace("format = 1", "format = 2"))
    with pytest.raises(UserError, match="format 2; this ludus reads 1"):
        ludus.load(run.folder)


def test_metrics_are_lines_of_json(finished):
    run, _ = finished
    (line,) = (run.folder / "metrics.jsonl").read_text().splitlines()
    row = json.loads(line)
    assert row["turn"] == 4 and set(row["losses"]) == {"discriminator", "generator"}
    assert 0 <= row["seen"]["discriminator"]["accuracy"] <= 1
