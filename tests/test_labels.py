"""Few labels: how batches hold them, what is refused, and what a run says of rows without one."""

import h5py
import numpy as np
import pytest
import torch

import ludus
from games import command, data_of, trainer_of
from ludus.data.condition import Column, Condition
from ludus.data.load import load
from ludus.data.sampler import Sampler
from ludus.errors import UserError
from ludus.inference import labels
from ludus.metrics.labels import Temperature, calibrated, ece, judged, tempered
from ludus.networks.labeller import Labeller
from ludus.networks.mlp import MlpDiscriminator
from ludus.runs import journal

QUICK = {"snapshot.count": 0, "doctor.mode": "off", "labeller.name": "mlp", "generator.name": "mlp", "trainer.lr": 2e-3}


# A share of each batch


N, KNOWN = 50, [3, 7, 20]


def sampler(share, batch=10, seed=0):
    """Rows that are their own number, three of which are labelled in full."""
    c = torch.full((N, 2), torch.nan)
    c[KNOWN] = torch.eye(2)[[0, 1, 0]]
    c[4, 0] = 1.0  # half known
    return Sampler(torch.arange(N)[:, None], c, seed, batch=batch, labelled=share)


@pytest.mark.parametrize(("share", "first"), [(0.5, 5), (0.26, 3), (0.9, 9), (0.04, 0)])
def test_a_share_of_each_batch_is_labelled_and_the_rest_is_as_ever(share, first):
    drawn, rest = sampler(share), []
    for _ in range(N // (10 - first)):
        x, c = next(drawn)
        assert len(x) == 10 and set(x[:first, 0].tolist()) <= set(KNOWN) and not c[:first].isnan().any()
        rest += x[first:, 0].tolist()
    assert drawn.epoch == 0 and len(set(rest)) == len(rest) > N - 10  # without replacement
    assert torch.equal(torch.tensor(rest), sampler(0.0).order[: len(rest)])


def test_every_label_comes_equally_often():
    drawn, count = sampler(0.5), torch.zeros(N)
    for _ in range(2000):
        count += torch.bincount(next(drawn).x[:5, 0], minlength=N)
    assert (count[KNOWN] / count.sum() - 1 / 3).abs().max() < 5 * (2 / 9 / 10_000) ** 0.5


@pytest.mark.parametrize("turns", [0, 1, 9, 10, 23])
def test_a_resumed_sampler_draws_the_same(turns):
    whole, rest = sampler(0.5, seed=3), sampler(0.5)
    for _ in range(turns):
        next(whole)
    rest.seek(**whole.state)
    for _ in range(25):
        a, b = next(whole), next(rest)
        assert torch.equal(a.x, b.x) and torch.equal(a.c.isnan(), b.c.isnan())


def test_a_share_of_labels_needs_labels_and_leaves_room():
    x, c = torch.zeros(N, 1), torch.full((N, 2), torch.nan)
    with pytest.raises(UserError, match=r"labelled = 0.5.*come without a condition"):
        Sampler(x, None, batch=10, labelled=0.5)
    with pytest.raises(UserError, match=r"labelled = 0.5.*no training row's condition is known"):
        Sampler(x, c, batch=10, labelled=0.5)
    with pytest.raises(UserError, match="leaves a batch of 10 no row for the others"):
        sampler(0.99)


# What is refused, in one line


X = np.random.default_rng(0).normal(size=(40, 3)).astype(np.float32)
CLASS = np.arange(40) % 2
FEW = np.where(np.arange(40) < 8, CLASS, np.nan)
HALF = {"data.condition_kind": "classes", "data.held_out": 0.0}
REFUSED = {
    "no condition": (None, {}, "learns labels: give those that are known with --condition, NaN where they are not"),
    "all unknown": (np.full(40, np.nan), HALF, "NaN in every row: give those labels"),
    "all empty": (np.array([""] * 40), {}, "empty in every row: give those labels"),
    "one class": (np.where(CLASS, 1, np.nan), HALF, "all labels of .* are one: give two at least"),
    "values": (FEW, {}, "is values: .*data.condition_kind=classes"),
    "two columns": (np.stack([CLASS, CLASS], 1), {}, "several columns"),
    "one label": (np.where(np.arange(40) < 3, CLASS, np.nan), HALF, "class 1 has 1 labelled row.*data.held_out=0"),
    "one label in training": (FEW, HALF | {"data.held_out": 0.9}, "class . has . labelled row.*data.held_out=0"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_labels_that_cannot_be_learned_are_refused(case, tmp_path):
    condition, settings, why = REFUSED[case]
    with pytest.raises(UserError, match=why) as refused:
        ludus.train("ssgan", X, condition=condition, steps=1, run=tmp_path / "run", settings=QUICK | settings)
    assert "\n" not in str(refused.value) and not (tmp_path / "run").exists()


def test_an_empty_text_is_an_unknown_label():
    words = np.array(["up", "", "down", " ", "up"] * 8)
    for given in (words, np.char.encode(words)):
        data = load(X, given, held_out=0.0)
        assert data.form.condition.columns[0].labels == ("down", "up")
        assert np.isnan(data.c).any(1).tolist() == [False, True, False, True, False] * 8
        assert any("unknown (an empty text) in 16 of 40 rows" in note for note in data.notes)
    assert np.isnan(data.form.encode_condition("")).all()


# The way back to the user's words and units


def test_decode_is_encode_backwards():
    for raw, kind in [
        (np.array([3, 1, 3, 7]), "auto"), (np.array(["b", "a", "b", "c"]), "auto"),
        (np.array([0.5, 2, 2, 9]), "classes"), (np.array([0.5, 2, 2, 9]), "values"),
        (np.array([[1, 2], [2, 5], [1, 5], [1, 2]]), "auto"), (np.array([[0.1, 7], [2, 5], [1, 5], [1, 2]]), "values"),
    ]:  # fmt: skip
        data = load(np.zeros((4, 2)) + np.arange(4)[:, None], raw, condition_kind=kind, held_out=0.0)
        found = data.form.condition.decode(data.c)
        assert found.shape == raw.shape
        assert np.array_equal(found, raw) if kind != "values" else np.allclose(found, raw, rtol=1e-6)


def test_columns_of_classes_are_labelled_each_and_a_regression_becomes_shares():
    condition = Condition((Column(labels=("a", "b")), Column(labels=(1, 2, 3))))
    c = np.float32([[0.7, 0.1, -0.2, 0.5, 0.5], [1.2, -0.1, 0, 0, 1]])
    found = labels.labelled(condition, c, [Temperature(), Temperature()])
    assert found.labels.tolist() == [["a", "2"], ["a", "3"]]
    least = 1e-3  # of what a regression has below it
    expected = [[0.7 / 0.8, 0.1 / 0.8, *np.array([least, 0.5, 0.5]) / (1 + least)],
                [*np.array([1.2, least]) / (1.2 + least), *np.array([least, least, 1]) / (1 + 2 * least)]]  # fmt: skip
    np.testing.assert_allclose(found.probabilities, expected, rtol=1e-6)
    np.testing.assert_allclose(found.confidence, [[expected[0][0], expected[0][3]], [expected[1][0], expected[1][4]]])


def test_values_have_no_probabilities():
    found = labels.labelled(Condition((Column(offset=5, scale=2),)), np.float32([[1], [-1]]), [])
    assert found.labels.tolist() == [7, 3] and found.probabilities is found.confidence is None


# How good probabilities are


def world(n, seed=0, sharp=1.0):
    """Probabilities of four classes, and labels that are drawn from them; `sharp` makes them too sure."""
    draws = np.random.default_rng(seed)
    p = draws.dirichlet([0.4] * 4, n)
    y = (draws.random((n, 1)) > p.cumsum(1)[:, :-1]).sum(1)
    return tempered(p, 1 / sharp), y


def test_ece_by_hand():
    sure, right = np.array([0.55, 0.59, 0.95, 0.97, 1.0]), np.array([True, False, True, True, False])
    assert ece(sure, right) == pytest.approx((abs(1 - 1.14) + abs(2 - 2.92)) / 5)  # bins from 8/15 and from 14/15 on
    assert ece(np.ones(4), np.ones(4, bool)) == 0 and ece(np.ones(4), np.zeros(4, bool)) == 1


@pytest.mark.parametrize("n", [100, 1000, 10_000])
def test_true_probabilities_show_the_floor(n):
    """And no more; those that are too sure do."""
    found = judged(*world(n))
    assert abs(found.ece[0] - found.floor[0]) < 4 * found.floor[1]
    assert 0.3 * n**-0.5 < found.floor[0] < 3 * n**-0.5
    if n > 100:
        wrong = judged(*world(n, sharp=3.0))
        assert wrong.ece[0] > wrong.floor[0] + 5 * wrong.floor[1] and wrong.nll[0] > found.nll[0]
        assert wrong.error == found.error  # a temperature changes no label


def test_the_error_bars_are_those_of_other_draws():
    several = [judged(*world(500, seed, sharp=2.0)) for seed in range(60)]
    for name in ("error", "nll", "ece"):
        values, bars = np.array([getattr(each, name) for each in several]).T
        assert 0.75 < bars.mean() / values.std() < 1.35, name


@pytest.mark.parametrize("sharp", [0.5, 1.0, 4.0])
def test_the_temperature_is_found(sharp):
    p, y = world(20_000, sharp=sharp)
    found = calibrated(p, y)
    assert found.value == pytest.approx(sharp, rel=0.05) and found.n == 20_000
    after = judged(tempered(p, found.value), y)
    assert after.ece[0] < after.floor[0] + 4 * after.floor[1]


def test_a_temperature_is_not_made_up():
    p, y = world(49)
    assert calibrated(p, y)[:2] == (1.0, 49) and "too few held-out labels, 49 of 50" in str(calibrated(p, y))
    p, _ = world(100)
    sure = calibrated(p, p.argmax(1))
    assert sure.value == 1 and "all 100 held-out labels are right" in str(sure)


def test_certainty_that_is_wrong_costs_much_and_not_infinitely():
    found = judged(np.float32([[1, 0], [0, 1]]), np.array([0, 0]))
    assert found.error[0] == 0.5 and 30 < found.nll[0] < 40 and np.isfinite(found.nll[1])


# Noise in the labeller


def test_noise_is_in_every_layer_and_in_training_alone():
    torch.manual_seed(0)
    trunk = MlpDiscriminator((3,), width=4, depth=1, activation="tanh")
    labeller, plain = Labeller(trunk, (3,), 2, noise=0.5), Labeller(trunk, (3,), 2)
    plain.head = labeller.head
    x = torch.zeros(20_000, 3)
    assert torch.equal(labeller.eval()(x), labeller(x)) and labeller(x).std(0).max() == 0
    with torch.no_grad():
        inner = labeller.train().features.body[0](x)
        assert torch.allclose(inner.var(0), 0.25 * trunk.features.body[0].weight.square().sum(1), rtol=0.05)
        head = labeller.head(torch.zeros(20_000, 4))
        assert torch.allclose(head.var(0), 0.25 * labeller.head.weight.square().sum(1), rtol=0.05)


# A run that labels


@pytest.fixture(scope="module")
def moons(tmp_path_factory):
    """Two half-moons of 500 points, six labels each, as words; the file of them, and the run."""
    folder, draws = tmp_path_factory.mktemp("moons"), np.random.default_rng(0)
    t = np.pi * draws.random((2, 500))
    x = np.concatenate([np.stack([np.cos(t[0]), np.sin(t[0])], 1), np.stack([1 - np.cos(t[1]), 0.5 - np.sin(t[1])], 1)])
    x = (x + 0.08 * draws.normal(size=x.shape)).astype(np.float32)
    truth = np.repeat(["left", "right"], 500)
    known = np.isin(np.arange(1000) % 500, draws.permutation(500)[:6])
    with h5py.File(folder / "moons.h5", "w") as file:
        file["x"], file["truth"] = x, np.char.encode(truth)
        file["few"] = np.char.encode(np.where(known, truth, ""))
        file["wrong"] = np.char.encode(np.where(known, "up", truth))
    settings = {"snapshot.count": 0, "doctor.mode": "off", "data.held_out": 0.0}
    file = folder / "moons.h5"
    few = f"{file}:/few"
    run = ludus.train("ssgan", f"{file}:/x", condition=few, steps=1500, run=folder / "run", settings=settings)
    return file, run, x, truth


def test_a_run_says_which_label_a_row_has(moons):
    _, run, x, truth = moons
    found = run.label(x)
    assert found.labels.shape == (1000,) and set(found.labels) == {"left", "right"}
    assert found.probabilities.shape == (1000, 2) and np.allclose(found.probabilities.sum(1), 1)
    assert np.array_equal(found.confidence, found.probabilities.max(1))
    assert (found.labels == truth).mean() > 0.9  # nearest labelled neighbours: see the claim
    assert "no row was held out" in str(found.temperatures[0])


def test_the_command_writes_labels_and_says_how_good_they_are(moons, monkeypatch, capsys, tmp_path):
    file, run, x, truth = moons
    words = ("label", run.folder, f"{file}:/x", "--out", tmp_path / "labels.h5")
    code, out, _ = command(monkeypatch, capsys, *words)
    assert code == 0 and out.splitlines() == ["not calibrated: no row was held out", str(tmp_path / "labels.h5")]
    found = run.label(x)
    with h5py.File(tmp_path / "labels.h5") as written:
        assert np.array_equal(written["labels"].asstr()[:] if written["labels"].dtype == object else
                              np.char.decode(written["labels"][:]), found.labels)  # fmt: skip
        assert np.array_equal(written["probabilities"], found.probabilities)
        assert np.array_equal(written["confidence"], found.confidence)
        assert written["classes"].asstr()[:].tolist() == ["left", "right"] and written.attrs["turn"] == 1500
    code, out, _ = command(monkeypatch, capsys, *words, "--condition", f"{file}:/truth")
    rate = 100 * (found.labels != truth).mean()
    assert f"error rate {rate:.2f} ± " in out and "of 1,000 known labels" in out and "ECE" in out and "nats" in out
    out = command(monkeypatch, capsys, *words, "--condition", f"{file}:/few")[1]
    assert "of 12 known labels" in out
    again = ludus.load(run.folder).label(x)  # its own labels serve as a condition, in the same words
    assert np.array_equal(again.labels, found.labels)


def test_what_label_refuses(moons, monkeypatch, capsys, tmp_path):
    file, run, _, _ = moons
    words = ("label", run.folder, f"{file}:/x", "--out", tmp_path / "labels.h5", "--condition")
    code, _, err = command(monkeypatch, capsys, *words, f"{file}:/wrong")
    assert code == 2 and "unknown class 'up'" in err and err.count("\n") == 1
    code, _, err = command(monkeypatch, capsys, *words, f"{file}:/x")
    assert code == 2 and "2 columns, this run was trained on 1" in err
    code, _, err = command(monkeypatch, capsys, "label", run.folder, f"{file}:/x", "--out", tmp_path / "labels.png")
    assert code == 2 and "--out labels.h5" in err
    with pytest.raises(UserError, match=r"rows of .* are"):
        run.label(np.zeros((3, 5)))


def test_a_generator_that_is_not_told_takes_no_condition(moons):
    _, run, _, _ = moons
    assert run.sample(4).shape == (4, 2)
    for ask in (lambda: run.sample(4, c="left"), lambda: run.decode(np.zeros((1, 32)), c="left")):
        with pytest.raises(UserError, match="ssgan's generator is not told the condition: leave it out"):
            ask()


def test_the_doctor_does_not_ask_the_generator_to_follow_the_label(tmp_path):
    settings = QUICK | {"doctor.mode": "watch", "doctor.every": 10}
    ludus.train("ssgan", X, condition=CLASS, steps=10, run=tmp_path / "run", settings=settings)
    (row,) = [row["doctor"] for row in journal.read(tmp_path / "run" / "metrics.jsonl") if "doctor" in row]
    assert "energy" in row and "response" not in row


def test_a_method_without_labels_says_who_has_them(tmp_path):
    run = ludus.train("gan", X, steps=1, run=tmp_path / "run", settings={"snapshot.count": 0})
    with pytest.raises(UserError, match=r"gan has no labels; these have: .*ssgan"):
        run.label(X)


def test_held_out_labels_calibrate_and_a_longer_run_is_calibrated_anew(tmp_path):
    """On pictures, whose least sure ones can be drawn."""
    draws = np.random.default_rng(0)
    x, y = draws.normal(size=(400, 6, 6)).astype(np.float32), np.arange(400) % 2
    x[:, :3] += 0.5 * y[:, None, None]  # the classes overlap
    settings = QUICK | {"data.held_out": 0.25, "labeller.width": 16}
    run = ludus.train("ssgan", x, condition=y, steps=60, run=tmp_path / "run", settings=settings)
    (first,) = run.label(x).temperatures
    assert first.n == 100 and not first.why and first.value != 1
    again = ludus.resume(tmp_path / "run", steps=120, data=x, condition=y)
    (second,) = again.label(x).temperatures
    assert second.n == 100 and second.value != first.value
    assert np.array_equal(run.label(x).labels, run.form.condition.decode(run.labels_of(run.form.to_network(x))))


def test_a_run_that_is_not_complete_is_not_calibrated(tmp_path):
    run = ludus.train("ssgan", X, condition=CLASS, steps=4, run=tmp_path / "run", settings=QUICK)
    (tmp_path / "run" / "labels.json").unlink()
    assert "not complete" in str(run.label(X).temperatures[0]) and run.label(X).temperatures[0].value == 1
    (tmp_path / "run" / "labels.json").write_text("{")
    with pytest.raises(UserError, match=r"labels.json of .* is damaged"):
        run.label(X)


def test_the_least_and_the_most_sure_pictures_are_drawn(tmp_path, monkeypatch, capsys):
    draws = np.random.default_rng(0)
    np.save(tmp_path / "x.npy", draws.random((60, 6, 5)))
    np.save(tmp_path / "y.npy", np.arange(60) % 3)
    x, y = tmp_path / "x.npy", tmp_path / "y.npy"
    run = ludus.train("ssgan", str(x), condition=str(y), steps=3, run=tmp_path / "run", settings=QUICK)
    code, out, _ = command(monkeypatch, capsys, "label", run.folder, x, "--condition", y, "--out", tmp_path / "u.png")
    assert code == 0 and "error rate" in out and (tmp_path / "u.png").read_bytes().startswith(b"\x89PNG")


def test_a_game_of_labels_and_values_labels_too(tmp_path):
    """icGAN, which regresses what it is told: values come back in the user's units."""
    data = data_of((2,), "values")
    game = trainer_of("icgan", data).game.eval()
    with torch.no_grad():
        found = labels.labelled(data.form.condition, game.label(torch.from_numpy(data.x)).numpy(), [])
    assert found.labels.shape == (64, 2) and found.probabilities is None
