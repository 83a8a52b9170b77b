"""The evaluation of a run: what is compared with what, the rule of its verdicts, planted faults, the page."""

import csv
import json
import math
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest

import ludus
from games import command
from ludus import evaluate, session
from ludus.data.load import load
from ludus.data.raw import Axis
from ludus.data.write import add_axis, nxdata
from ludus.errors import UserError
from ludus.evaluation import conditions, questions
from ludus.evaluation import evaluation as whole
from ludus.evaluation.evaluation import evaluation
from ludus.evaluation.scores import Family, scores
from ludus.evaluation.sets import Rows, Sets, choose
from ludus.evaluation.verdicts import BAD, GOOD, LEVEL, MISSING, Trial, verdicts
from ludus.features.observables import Observable, Table
from ludus.metrics.frechet import frechet
from ludus.report import drawings

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))
import faults

from test_data import has_mnist

QUICK = {"snapshot.count": 0, "doctor.mode": "off", "sampler.batch": 16}


def pictures(n: int, shape=(12, 12, 1), seed: int = 0) -> np.ndarray:
    """Blobs of random place and brightness, (n, H, W, C)."""
    draws = np.random.default_rng(seed)
    row, column = np.indices(shape[:2])
    at = draws.uniform(0.3, 0.7, size=(2, n, 1, 1)) * np.reshape(shape[:2], (2, 1, 1, 1))
    blob = np.exp(-((row - at[0]) ** 2 + (column - at[1]) ** 2) / 6) * draws.uniform(1, 2, size=(n, 1, 1))
    return (blob[..., None] + 0.05 * draws.normal(size=(n, *shape))).astype(np.float32)


def sets_of(x: np.ndarray, generated: np.ndarray, held_out: int, c=None, **options) -> Sets:
    """Sets of the user's rows x, of which the last `held_out` are not trained on."""
    data = load(x, c, channels="last" if x.ndim == 4 else "auto", held_out=0.0)
    drawn = data.form.to_network(generated)
    cut = len(x) - held_out
    rows = Rows(data.x, data.c)
    return choose(data.form, rows.at(slice(0, cut)), rows.at(slice(cut, None)) if held_out else None, len(generated),
                  lambda c, n: Rows(drawn[:n], c), **options)  # fmt: skip


@pytest.fixture(scope="module")
def honest() -> whole.Evaluation:
    x = pictures(1200)
    return evaluation(sets_of(x[:1000], x[1000:], 200))


# What is compared with what


def test_sets_do_not_overlap():
    x = np.arange(2000.0)[:, None] + np.zeros((1, 2))
    sets = sets_of(x, x[:150], 200)
    held, *floors = (set(rows.x[:, 0].round()) for rows in (sets.reference, *sets.floors))
    assert sets.n == 150 and len(held) == 150 and min(held) >= 1800 - 1e-3
    assert [len(floor) for floor in floors] == [150] * 4
    every = [*floors, set(sets.fit.x[:, 0].round())]
    assert all(not a & b for i, a in enumerate(every) for b in every[:i])
    assert max(map(max, every)) < 1800 and len(sets.train.x) == 1800


def test_one_set_of_real_rows_is_cut_in_two_and_tells_no_copies():
    x = pictures(400)
    sets = sets_of(x, x[:200], 0)
    assert sets.train is None and sets.n == 200 and "was trained on" in sets.notes[0]
    found = evaluation(sets, quick=True)
    word = {each.question: each.word for each in found.verdicts}
    assert word["memorisation"] == "not measured" and found.copies is None


def test_too_few_rows_are_refused_and_few_are_warned_of():
    x = pictures(300)
    with pytest.raises(UserError, match="49 real rows to compare with and 251 others: at least 50"):
        sets_of(x, x[:100], 49)
    assert "tell little" in sets_of(x, x[:100], 50).notes[0]


# The rule


def test_a_verdict_needs_a_rejected_test_and_an_effect_beyond_its_margin():
    def word(*tests: Trial) -> list[str]:
        return [each.word for each in verdicts(tests, {})]

    sure, large, small = 1e-9, 0.3, 0.01
    assert word(Trial("fidelity", "", 0.2, large, 0.02, "")) == ["no difference found"]
    assert word(Trial("fidelity", "", sure, small, 0.02, "")) == ["slightly different"]
    assert word(Trial("fidelity", "", sure, large, 0.02, "")) == ["different"]
    assert word(*(Trial("physics", "", p, large, 0.02, "") for p in (sure, 0.5))) == ["different"]
    many = [Trial("physics", "", 0.9, 0, 1, "")] * 9
    assert word(Trial("fidelity", "", 2 * LEVEL / 10, large, 0.02, ""), *many)[0] == "no difference found"  # Holm
    assert word(Trial("fidelity", "", LEVEL / 10, large, 0.02, ""), *many)[0] == "different"
    missing = verdicts([Trial("fidelity", "", 0.2, 0, 1, "")], {"memorisation": "why"})
    assert [(each.question, each.level) for each in missing] == [("fidelity", GOOD), ("memorisation", MISSING)]


def test_scores_stand_beside_those_of_real_rows():
    draws = np.random.default_rng(0)
    mine, real, *floors = (draws.normal(size=(300, 4)) for _ in range(5))
    found = {each.name: each for each in scores(Family("x", {}, mine + 1, real, floors))}
    each = found["Fréchet distance"]
    assert each.value == frechet(mine + 1, real)
    assert each.floor == pytest.approx(np.mean([frechet(floor, real) for floor in floors]))
    assert each.floor_sd == pytest.approx(np.std([frechet(floor, real) for floor in floors], ddof=1))
    assert abs(each.value - 4) < 4 * each.error and each.interval[0] < each.value < each.interval[1]
    assert found["kernel distance"].value > 5 * found["kernel distance"].error
    assert found["Vendi ratio"].value == pytest.approx(1, abs=4 * found["Vendi ratio"].error)


def test_an_honest_generator_raises_nothing(honest):
    assert not honest.raised, honest.verdicts
    assert {each.level for each in honest.verdicts} == {GOOD}
    assert {each.question for each in honest.verdicts} == {"fidelity", "diversity", "memorisation", "physics"}


@pytest.mark.parametrize(("fault", "question"), [
    ("copies", "memorisation"), ("noise", "fidelity"), ("shift", "physics"), ("scaled", "physics"),
])  # fmt: skip
def test_a_planted_fault_is_raised(fault, question):
    x = pictures(2600)
    data = load(x[:1800], channels="last", held_out=0.0)
    fresh = faults.planted(data.form.to_network(x[1800:]), np.zeros(800, int), data.x[:1400], fault, 0)
    sets = choose(data.form, Rows(data.x[:1400]), Rows(data.x[1400:]), 400, lambda c, n: Rows(fresh[:n]))
    raised = {each.question for each in evaluation(sets, quick=True).verdicts if each.raised}
    assert question in raised


@pytest.mark.slow
@pytest.mark.skipif(not has_mnist(), reason="MNIST's files are not here")
def test_each_planted_fault_on_digits_is_raised_and_honest_splits_are_clean(monkeypatch):
    """Bar 15, without the scores, which the verdicts do not rest on."""
    monkeypatch.setattr(whole, "scores", lambda *args, **options: [])
    data = load("mnist", "mnist:label", n=20_000, held_out=0.0)
    quiet = [fault for fault in faults.FAULTS if not faults.judged(data, fault, 0, 2000).raised]
    assert quiet == []
    assert sum(faults.judged(data, "", seed, 500).raised for seed in range(20)) <= 1


# Observables and constraints


def test_an_observable_is_shifted_by_what_it_was_shifted_by():
    draws = np.random.default_rng(0)
    a, b, c = draws.normal(size=(3, 2000, 1)) * 3
    known = (Observable("height", lambda x: x, "cm"),)
    mine, real, floor = (Table(("height",), values, known) for values in (a + 1.5, b, c))
    (found,) = questions.observables(mine, real, [floor], spread=np.ones(1))
    assert found.shift.value == pytest.approx(0.5, abs=4 * found.shift.error) and found.adjusted < 0.001
    assert found.generated.value - found.real.value == pytest.approx(1.5, abs=4 * math.hypot(3, 3) / math.sqrt(2000))
    assert found.floor < 0.1


def test_a_constant_observable_is_measured_by_the_spread_of_its_unit():
    known = tuple(Observable(name, None, "data's units") for name in ("lowest", "mean"))
    real = Table(("lowest", "mean"), np.stack([np.zeros(100), np.random.default_rng(0).normal(size=100)], 1), known)
    assert questions.unit_of(real, spread=np.array([20.0])) == pytest.approx([2.0, 2.0])


def test_a_constraint_that_is_violated_is_raised(honest):
    positive = Observable("lowest below 0", lambda x: np.minimum(x.min((1, 2, 3)) + 1, 0), exact=0.0, tolerance=0.01)
    x = pictures(1200)
    bad = x[1000:].copy()
    bad[:100, 0, 0] = -5
    found = evaluation(sets_of(x[:1000], bad, 200), looked_at=[positive], quick=True)
    mine, real = found.constraints["lowest below 0"]
    assert (mine.violations, real.violations) == (0.5, 0.0) and mine.worst == pytest.approx(4, rel=1e-5)
    assert any(test.name == "constraint lowest below 0" and test.p < 1e-9 for test in found.tests)


# Conditions


def classes(n: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Pictures whose class is where they are bright."""
    y = np.random.default_rng(seed).integers(3, size=n)
    x = 0.3 * np.random.default_rng(seed + 1).normal(size=(n, 9, 9, 1))
    for k in range(3):
        x[y == k, 3 * k : 3 * k + 3] += 1
    return x.astype(np.float32), y


def test_classes_are_read_back_and_each_has_its_scores():
    x, y = classes(1600)
    sets = sets_of(x, x[1200:][::-1], 400, y)  # generated in another order: what was asked for is not what comes
    assert conditions.labels(sets.form, sets.reference.c) is not None
    bad = evaluation(sets)
    verdict = {each.question: each.word for each in bad.verdicts}
    assert verdict["condition"] == "different" and verdict["diversity"] == "no difference found"
    answer, = bad.answer
    assert answer.real.value > 0.97 and answer.generated.value == pytest.approx(1 / 3, abs=0.1)
    assert [group.name for group in bad.groups] == ["0", "1", "2"]
    apart = [score for group in bad.groups for score in group.scores if score.name == "kernel distance"]
    assert all(score.value > 3 * abs(score.floor) for score in apart)


def test_values_are_read_back_with_their_error():
    draws = np.random.default_rng(0)
    y = draws.uniform(1, 3, size=1600).astype(np.float32)
    x = (y[:, None, None, None] * np.ones((1, 6, 6, 1)) + 0.1 * draws.normal(size=(1600, 6, 6, 1))).astype(np.float32)
    data = load(x, y, channels="last", held_out=0.0)
    rows = Rows(data.x, data.c)

    def half(c: np.ndarray, n: int) -> Rows:
        """Pictures that follow what is asked for by half."""
        value = data.form.condition.decode(c)
        wanted = (2 + (value - 2) / 2)[:, None, None, None] * np.ones((1, 6, 6, 1))
        return Rows(data.form.to_network(wanted.astype(np.float32)), c)

    sets = choose(data.form, rows.at(slice(0, 1200)), rows.at(slice(1200, None)), 400, half)
    found = evaluation(sets)
    answer, = found.answer
    assert answer.slope == pytest.approx(0.5, abs=0.05)
    assert answer.real.value < 0.1 and answer.generated.value == pytest.approx(0.5 / math.sqrt(3) / 1, rel=0.2)
    assert {each.question: each.word for each in found.verdicts}["condition"] == "different"
    assert len(found.groups) == conditions.BINS


# Whatever the data are


@pytest.mark.parametrize("shape", [(20, 20, 1), (8, 9, 2), (8, 8, 3), (7, 7, 5), (20, 200, 1), (2,), (1,)])
def test_any_shape_is_evaluated_and_written(shape, tmp_path):
    draws = np.random.default_rng(0)
    x = pictures(320, shape) if len(shape) == 3 else draws.normal(size=(320, *shape)).astype(np.float32)
    if len(shape) == 3:
        x[:, 0, 0] = 0.5  # a pixel that never changes
    data = load(x[:240], channels="last" if len(shape) == 3 else "auto", held_out=0.0)
    drawn = data.form.to_network(x[240:])
    sets = choose(data.form, Rows(data.x[:180]), Rows(data.x[180:]), 60, lambda c, n: Rows(drawn[:n]))
    found = evaluation(sets)
    assert sets.n == 60 and not found.raised, found.verdicts
    numbers = [score.value for score in found.scores] + [each.shift.value for each in found.observed]
    assert np.isfinite(numbers).all()


def test_a_generator_of_one_picture_is_evaluated():
    x = pictures(800)
    found = evaluation(sets_of(x, np.repeat(x[:1], 200, 0), 200), quick=True)
    assert {each.level for each in found.verdicts} == {BAD}


def test_rows_that_were_trained_on_are_nothing_to_compare_with():
    x = pictures(800)
    data = load(x, channels="last", held_out=0.0)
    rows = Rows(data.x[:600])
    again = evaluation(choose(data.form, rows, rows.at(slice(0, 200)), 200, lambda c, n: rows.at(slice(300, 300 + n))),
                       quick=True)  # fmt: skip
    memorised = {each.question: each for each in again.verdicts}["memorisation"]
    assert memorised.level == MISSING and "100.0% of the rows to compare with are training rows" in memorised.why
    assert "was trained on" in sets_of(x, x[:200], 0).notes[0]


def test_samples_that_are_too_average_are_no_sure_sign_of_copies():
    """Shrunk rows are nearer to training rows than held-out ones are, and as near to other real rows."""
    x = np.random.default_rng(0).normal(size=(2400, 6)).astype(np.float32)
    found = evaluation(sets_of(x[:2000], 0.3 * x[2000:], 400), quick=True)
    assert found.copies.c_t.value < -5 and found.copies.nearer.p > 0.01
    assert {each.question: each.level for each in found.verdicts}["memorisation"] < BAD


def test_each_channel_is_measured_by_its_own_unit():
    draws = np.random.default_rng(0)
    x = np.stack([1e4 * draws.normal(size=(900, 8, 8)), draws.normal(size=(900, 8, 8))], -1).astype(np.float32)
    bad = x[700:].copy()
    bad[..., 1] += 1
    found = evaluation(sets_of(x[:700], bad, 200), quick=True)
    shift = {each.name: each.shift.value for each in found.observed}
    assert shift["channel 2: mean"] > 5 and shift["channel 1: mean"] < 0.5
    points = np.stack([300 + 10 * draws.normal(size=900), 0.01 + 0.001 * draws.normal(size=900)], 1)
    off = points[700:] + np.array([0, 0.003])
    found = evaluation(sets_of(points[:700], off, 200), quick=True)
    assert {each.name: each.shift.value for each in found.observed}["x2"] == pytest.approx(3, abs=0.3)


@pytest.mark.parametrize("unit", [1e-28, 1e30])
def test_units_far_from_one_change_nothing(unit):
    x = pictures(900)
    sets = (sets_of(y[:700], 0.9 * y[700:], 200) for y in (x, (unit * x).astype(np.float32)))
    one, other = (evaluation(each, quick=True) for each in sets)
    assert [each.level for each in one.verdicts] == [each.level for each in other.verdicts]
    shift = [{o.name: o.shift.value for o in each.observed}["mean"] for each in (one, other)]
    assert shift[0] == pytest.approx(shift[1], rel=1e-3) and shift[0] > 0.1


def test_a_condition_that_nobody_can_read_is_not_measured():
    x = pictures(1200)
    y = np.random.default_rng(3).integers(3, size=1200)
    found = evaluation(sets_of(x, x[800:], 400, y))
    assert {each.question: each.level for each in found.verdicts}["condition"] == MISSING
    assert any("no classifier" in note for note in found.notes)


def test_many_tests_do_not_silence_each_other():
    """Permutations grow with the number of tests, so that the smallest p survives the correction."""
    assert questions.permutations(15) == questions.PERMUTATIONS
    assert all(tests / (1 + questions.permutations(tests)) < LEVEL for tests in (10, 20, 50, 100))


def test_identical_sets_are_copies():
    x = pictures(800)
    found = evaluation(sets_of(x, x[:200], 200), quick=True)
    assert {each.question: each.word for each in found.verdicts}["memorisation"] == "signs of it"
    assert found.copies.rate.share.value == 1


# A run


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> "ludus.Run":
    x, y = classes(1200)
    return ludus.train("vae", x, condition=y, network="mlp", steps=60, run=tmp_path_factory.mktemp("e") / "run",
                       settings={**QUICK, "data.channels": "last", "evaluation.mode": "off"})  # fmt: skip


def test_a_run_is_evaluated_with_a_page_figures_and_the_same_numbers_again(run, tmp_path):
    data = classes(1200)
    outs = [tmp_path / name for name in ("one", "two")]
    for out in outs:
        out.mkdir()
        run.evaluate(100, data=data, out=out)
    texts = [(out / "evaluation.json").read_bytes() for out in outs]
    assert texts[0] == texts[1]
    kept = json.loads(texts[0])
    assert kept["turn"] == 60 and kept["about"]["seed"] == 0 and not kept["quick"]
    assert {"verdicts", "tests", "scores", "observables", "memorisation", "conditions", "limits"} <= kept.keys()
    page = (outs[0] / "evaluation.html").read_text(encoding="utf-8")
    assert "http" not in page.replace("http-equiv", "") and "<script" not in page
    for name in ("samples", "means", "curves", "observables", "distances", "neighbours", "realness", "condition",
                 "reconstructions", "traversal", "training", "features", "correlations"):  # fmt: skip
        files = [outs[0] / "evaluation" / f"{name}.{kind}" for kind in ("png", "svg", "csv")]
        assert all(file.stat().st_size > 100 for file in files)
        assert len({len(row) for row in csv.reader(files[2].read_text().splitlines())}) == 1
    assert "| Does it look like the data? |" in (outs[0] / "evaluation.md").read_text(encoding="utf-8")


def test_other_rows_can_be_given_and_the_training_data_may_be_gone(run, capsys, tmp_path):
    x, y = classes(300, seed=5)
    found = run.evaluate(100, against=x, condition=y, out=tmp_path)
    assert found.sets.n == 100 and "copies cannot be told" in capsys.readouterr().err
    assert {each.question: each.word for each in found.verdicts}["memorisation"] == "not measured"
    kept = run.evaluate(100, against=x, condition=y, data=classes(1200), out=tmp_path)
    assert kept.sets.n == 100 and kept.copies is not None


def test_what_cannot_be_evaluated_is_said(run, tmp_path):
    data = classes(1200)
    for options, said in (
        ({}, "hand it over again"),
        ({"data": (data[0] + 1, data[1])}, "has changed since"),
        ({"data": data, "against": data[0][:, :5]}, "rows of the array are"),
        ({"data": data, "against": np.full((60, 9, 9, 1), np.nan)}, "not finite"),
        ({"data": data, "condition": data[1]}, "--against"),
        ({"data": data, "against": data[0][:49]}, "at least 50"),
        ({"data": data, "features": ["nowhere.py:f"]}, "no file"),
        ({"data": data, "observables": [f"{__file__}:nothing"]}, "function"),
    ):
        with pytest.raises(UserError, match=said) as error:
            run.evaluate(100, out=tmp_path, **options)
        assert "\n" not in str(error.value)


@pytest.mark.judged
def test_a_run_ends_with_a_quick_look(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    np.save("x.npy", pictures(700, (8, 8, 1))[..., 0])
    words = "train gan --data x.npy --steps 3 --network mlp --run runs/a --set sampler.batch=8"
    code, out, err = command(monkeypatch, capsys, *words.split())
    assert code == 0 and "Does it look like the data?" in err
    page = Path("runs/a/report.html").read_text(encoding="utf-8")
    assert "Is it any good?" in page and "ludus evaluate runs/a" in page
    assert json.loads(Path("runs/a/evaluation.json").read_text(encoding="utf-8"))["quick"]
    code, out, err = command(monkeypatch, capsys, "compare", "runs/a")
    assert code == 2 and "ludus evaluate runs/a" in err

    Path("mine.py").write_text("def brightest(x):\n    return x.max((1, 2, 3))\n")
    for name in ("a", "b"):
        if name == "b":
            assert command(monkeypatch, capsys, *words.replace("runs/a", "runs/b").split())[0] == 0
        code, out, err = command(monkeypatch, capsys, "evaluate", f"runs/{name}", "--observable", "mine.py:brightest")
        assert code == 0 and "different" in out and f"runs/{name}/evaluation.html" in out
        assert "brightest" in Path(f"runs/{name}/evaluation.md").read_text(encoding="utf-8")
    code, out, err = command(monkeypatch, capsys, "compare", "runs/a", "runs/b")
    assert code == 0 and len(out.splitlines()) == 4 and Path("comparison.html").stat().st_size > 10_000
    code, out, err = command(monkeypatch, capsys, "evaluate", "runs/a", "--out", "nowhere")
    assert code == 2 and "no such folder" in err and len(err.splitlines()) == 1


@pytest.mark.judged
def test_few_held_out_rows_are_no_quick_look(tmp_path, capsys):
    run = ludus.train("gan", pictures(100, (8, 8, 1)), network="mlp", steps=2, run=tmp_path / "r",
                      settings={**QUICK, "data.channels": "last"})  # fmt: skip
    assert "not evaluated: 10 rows are held out" in capsys.readouterr().err
    assert not (run.folder / "evaluation.json").exists()


@pytest.mark.judged
def test_too_few_rows_that_fit_in_memory_are_a_matter_of_memory(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    np.save("x.npy", pictures(900, (8, 8, 1))[..., 0])
    settings = {**QUICK, "data.held_out": 0.2}
    run = ludus.train("gan", "x.npy", network="mlp", steps=2, run="r", settings=settings | {"data.memory": "100kB"})
    more = "as many as data.memory had room for: give more, --set data.memory=, to a new run"
    assert more in capsys.readouterr().err
    with pytest.raises(UserError, match=more):
        run.evaluate(100)
    run = ludus.train("gan", "x.npy", network="mlp", steps=2, run="s", settings=settings | {"data.memory": "200kB"})
    assert run.evaluate(100).sets.n >= 50


def test_pictures_of_an_evaluation_name_what_they_show(tmp_path, monkeypatch):
    """Values, channel and condition with their units; where nothing is known, a grey that no difference has."""
    monkeypatch.chdir(tmp_path)
    draws = np.random.default_rng(0)
    values = draws.uniform(1, 3, size=600)
    x = values[:, None, None, None] + draws.random((600, 6, 6, 2))
    with h5py.File("x.nxs", "w") as file:
        nxdata(file, "x", x.shape, "f4", signal=Axis("counts", "1/s"))[...] = x
        add_axis(file["entry/data"], "T", values, "K", [0], "T")
    mask = np.ones((6, 6))
    mask[2, 3] = 0
    np.save("m.npy", mask)
    settings = {**QUICK, "data.mask": "m.npy", "data.channels": "last", "data.held_out": 0.3}
    told = "x.nxs:/entry/data/T"
    run = ludus.train("gan", "x.nxs", condition=told, network="mlp", steps=2, run="r", settings=settings)
    known, _ = evaluate.real_rows(run, None, None, None)
    found, about = evaluate.of_run(run, known, n=100)
    drawn = {each.name: each.figure for part in drawings.drawn(found, about).values() for each in part}
    assert drawn["samples"].axes[-1].get_ylabel() == "counts (1/s), channel 1 of 2"
    assert drawn["realness"].axes[-1].get_ylabel() == "counts (1/s), channel 1 of 2"
    assert [axes.get_xlabel() for axes in drawn["condition"].axes] == ["T (K), asked for"] * 2
    assert drawn["condition"].axes[0].get_ylabel() == "T (K), read in the image"
    colours = {axes.images[0].get_cmap().name: axes.images[0].get_cmap().get_bad() for axes in drawn["means"].axes
               if axes.images}  # fmt: skip
    assert np.ptp(colours["RdBu_r"][:3]) < 0.1 < np.ptp(colours["gray"][:3])
    units = {each.name: each.unit for each in found.observed}
    assert units["channel 1: mean"] == "1/s" and units["channel 2: power at periods 2 to 4 pixels"] == "ln (1/s)²"
    shown = session.drawing(run.form, run.sample(4), run.real)
    assert shown.axes[-1].get_ylabel() == "counts (1/s), channel 1 of 2"


def test_the_world_of_a_run_declares_its_observables(tmp_path):
    run = ludus.train("gan", "ring", steps=2, run=tmp_path / "r", settings={**QUICK, "data.n": 1200})
    assert evaluate.world_of(run) == "ring"
    found = run.evaluate(100)
    assert any(each.name == "within 3 sd of a centre" for each in found.observed)
