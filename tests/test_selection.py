"""The best checkpoint is judged by its samples, kept, and found again; and judging changes nothing."""

import json

import numpy as np
import pytest
import torch

import ludus
from games import command, data_of, recipe_of, trainer_of
from ludus import recipe as recipes
from ludus import session
from ludus.callbacks.checkpoint import Checkpoint
from ludus.callbacks.selection import FEWEST, Judge
from ludus.data.load import load
from ludus.errors import UserError
from ludus.game import Batch, Game
from ludus.metrics.rows import Estimate
from ludus.runs import best, journal, store
from ludus.runs.best import Judged
from ludus.worlds import mixtures

# The judge: z is the distance over its standard error


class Drawer(Game):
    """Draws by a given function of (n, c)."""

    players = {}  # noqa: RUF012

    def __init__(self, draw):
        super().__init__()
        self.draw = draw

    def sample(self, n, c=None):
        return self.draw(n, c)


def z(draw, x, held, **options):
    found = Judge(Drawer(draw), x, held if isinstance(held, Batch) else Batch(held), **options)()
    return found.value / found.error


def ring(n, seed=None, modes=range(8)):
    world = mixtures.ring()
    world.means = world.means[list(modes)]
    return world.sample(n, seed and torch.Generator().manual_seed(seed)).x


def disc(n):
    """Even in a disc, with the ring's mean and covariance, and third moments 0 as its are."""
    angle, radius = 2 * torch.pi * torch.rand(n), (2 * torch.rand(n)).sqrt()
    return (radius * torch.stack([angle.cos(), angle.sin()])).T


def test_of_honest_points_the_distance_is_zero_within_its_error():
    """30 held-out sets: z has mean 0 and sd 1, to 3 and 4 standard errors."""
    found = np.array([z(lambda n, c: ring(n), ring(1000, 1), ring(1000, 2 + seed)) for seed in range(30)])
    assert abs(found.mean()) < 3 / 30**0.5 and abs(found.std() - 1) < 4 / 60**0.5


@pytest.mark.parametrize(
    "draw",
    [
        lambda n, c: ring(n, modes=range(7)),
        lambda n, c: ring(n, modes=range(0, 8, 2)),  # has the ring's moments up to the third
        lambda n, c: disc(n),
        lambda n, c: 0.5**0.5 * torch.randn(n, 2),
        lambda n, c: ring(n) + 0.05 * torch.randn(n, 2),
    ],
)
def test_faults_of_points_are_seen(draw):
    assert z(draw, ring(1000, 1), ring(1000, 2)) > 5


def test_points_of_other_units_are_judged_alike():
    unit = torch.tensor([1.0, 2.0**20])  # a power of 2 rounds nothing
    given = [z(lambda n, c, u=u: u * ring(n, modes=range(7)), u * ring(500, 1), u * ring(500, 2)) for u in (1, unit)]
    assert given[0] == pytest.approx(given[1], rel=1e-3)


@pytest.fixture(scope="module")
def digits():
    """Rows that were trained on, rows that were held out, and others."""
    x = load("digits", held_out=0.0).x
    return [torch.from_numpy(part) for part in np.array_split(x[np.random.default_rng(0).permutation(len(x))], 3)]


def blurred(x):
    return torch.nn.functional.avg_pool2d(x, 3, 1, 1, count_include_pad=False)


@pytest.mark.parametrize(
    ("fault", "seen"),
    [
        (lambda x: x, False),
        (lambda x: x + 0.3 * torch.randn_like(x), True),
        (lambda x: torch.lerp(x, blurred(x), 0.5), True),
        (lambda x: x.roll(1, 3), True),
        (lambda x: 0.8 * (x + 1) - 1, True),
        (lambda x: x[:8].repeat(100, 1, 1, 1)[: len(x)], True),
    ],
)
def test_faults_of_pictures_are_seen(digits, fault, seen):
    known, held, others = digits

    def draw(n, c):
        others.at += n
        return shown[others.at - n : others.at]

    torch.manual_seed(0)
    others.at, shown = 0, fault(others)
    found = z(draw, known, held)
    assert found > 5 if seen else abs(found) < 3


@pytest.mark.parametrize("shape", [(1, 1, 2), (3, 2, 2), (1, 20, 200), (2, 33, 5)])
def test_pictures_of_any_shape_are_judged(shape):
    """Noise, also where its first column is always the same."""
    def noise(n, c=None):
        return torch.cat([torch.full((n, *shape[:2], 1), 0.5), torch.randn(n, *shape[:2], shape[2] - 1)], 3)

    torch.manual_seed(0)
    x, held = noise(100), noise(100)
    assert abs(z(noise, x, held)) < 3 and z(lambda n, c: 0.5 * noise(n), x, held) > 5


def test_conditions_are_those_of_the_held_out_rows():
    """A drawer of class 0 or 1 as it is told; of rows that are all of class 1, and of one that is not told."""
    def held(share):
        c = torch.nn.functional.one_hot((torch.arange(400) < share * 400).long(), 2).float()
        return Batch(3 * c[:, 1:] + torch.randn(400, 2), c)

    def draw(n, c):
        return 3 * (torch.rand(n, 1).round() if c is None else c[:, 1:]) + torch.randn(n, 2)

    torch.manual_seed(0)
    x = held(0.5).x
    assert abs(z(draw, x, held(1.0))) < 3 and abs(z(draw, x, held(0.2))) < 3
    assert z(draw, x, Batch(held(1.0).x)) > 5 and abs(z(draw, x, Batch(held(0.5).x))) < 3


def test_grey_rows_are_made_black_and_white_where_the_training_rows_are(digits):
    known, held, others = digits
    draw = lambda n, c: 2 * torch.bernoulli((others[torch.randint(len(others), (n,))] + 1) / 2) - 1  # noqa: E731
    assert abs(z(draw, known, held, binarise=True)) < 3 and z(draw, known, held) > 5


def test_the_same_game_is_judged_the_same_and_random_states_stay():
    judge = Judge(Drawer(lambda n, c: torch.randn(n, 2)), ring(100, 1), Batch(ring(FEWEST, 2)))
    torch.manual_seed(5)
    state = torch.get_rng_state()
    assert judge() == judge() and torch.equal(torch.get_rng_state(), state)


def test_few_rows_and_samples_that_are_not_finite_are_not_judged():
    draw = lambda n, c: torch.randn(n, 2)  # noqa: E731
    assert Judge(Drawer(draw), ring(100, 1), Batch(ring(FEWEST - 1, 2)))() is None
    assert Judge(Drawer(lambda n, c: draw(n, c) / 0), ring(100, 1), Batch(ring(FEWEST, 2)))() is None


# What is kept


def saver(tmp_path, distances, said=None, **options):
    """A trainer whose checkpoint of turn t is as far as distances[t] says, saved after every turn."""
    trainer = trainer_of("gan", data_of((2,), n=16), **{"trainer.steps": len(distances)})
    judge = lambda: Estimate(distances[trainer.turn - 1], 0.01)  # noqa: E731
    say = [].append if said is None else said.append
    trainer.callbacks.append(Checkpoint(tmp_path, say, judge, seconds=0, **options))
    return trainer


def test_the_best_is_kept_beside_the_newest(tmp_path):
    said = []
    saver(tmp_path, [5.0, 3.0, 1.0, 2.0, 4.0, 2.0, 3.0], said).run()
    assert store.turns(tmp_path) == [3, 6, 7]
    assert best.read(tmp_path) == [(3, 1, 0.01), (6, 2, 0.01), (7, 3, 0.01)] and best.turn(tmp_path) == 3
    kept = json.loads((tmp_path / "best.json").read_text())
    assert kept["best"] == 3 and list(kept["distances"]) == ["3", "6", "7"]
    assert said == [f"best by held-out kernel distance: turn 3 (1 ± 0.01), the last turn 7 (3 ± 0.01); "
                    f"`ludus sample {tmp_path} --turn best` draws from it"]  # fmt: skip


def test_a_better_one_takes_its_place(tmp_path):
    said = []
    saver(tmp_path, [3.0, 4.0, 4.0, -0.5, 4.0, 4.0, -1.0], said, keep=3).run()
    assert store.turns(tmp_path) == [5, 6, 7] and best.turn(tmp_path) == 7
    assert said == ["best by held-out kernel distance: turn 7 (-1 ± 0.01), the last one"]


def test_the_start_is_not_judged_and_a_run_of_one_judgement_says_nothing(tmp_path):
    said = []
    saver(tmp_path, [3.0], said).run()
    assert [each.turn for each in best.read(tmp_path)] == [1] and said == []


def test_without_a_judge_there_is_no_best(tmp_path):
    trainer = trainer_of("gan", data_of((2,), n=16), **{"trainer.steps": 4})
    trainer.callbacks.append(Checkpoint(tmp_path, print, seconds=0))
    trainer.run()
    assert store.turns(tmp_path) == [3, 4] and not (tmp_path / "best.json").exists()
    with pytest.raises(UserError, match=r"no checkpoint of .* was judged: fewer than 50 rows"):
        best.turn(tmp_path)


def test_a_best_that_was_given_up_is_forgotten(tmp_path):
    """Back from turn 6 to turn 3: the best, of turn 5, is of a future that will not be; its turns may come again."""
    saver(tmp_path, [2.0, 4.0, 3.0, 4.0, 1.0, 4.0], keep=6).run()
    assert best.turn(tmp_path) == 5
    trainer, kept = saver(tmp_path, [0.0, 0.0, 0.0, 7.0, 7.0, 7.0], keep=2), store.load(tmp_path, 3)
    trainer.load({name: torch.from_numpy(value) for name, value in kept.tensors.items()}, kept.state)
    trainer.callbacks[-1].start(trainer)
    assert [each.turn for each in best.read(tmp_path)] == [1, 3, 2]
    trainer.run()
    assert store.turns(tmp_path) == [1, 5, 6] and best.read(tmp_path)[0] == (1, 2, 0.01)


def test_a_damaged_file_is_named(tmp_path):
    for content in ("{", "[]", '{"distances": {"3": [1]}}', '{"distances": {"x": [1, 2]}}', '{"distances": 3}'):
        (tmp_path / "best.json").write_text(content)
        with pytest.raises(UserError, match=r"best.json of .* is damaged .*delete it"):
            best.turn(tmp_path)


def test_a_checkpoint_that_is_gone_is_forgotten(tmp_path):
    best.add(tmp_path, Judged(3, 0.1, 0.1))
    best.add(tmp_path, Judged(4, 0.2, 0.1))
    assert best.read(tmp_path) == [(4, 0.2, 0.1)]


# In a run


def everything(path):
    last = store.load(path)
    rows = [{k: v for k, v in row.items() if k != "seconds"} for row in journal.read(path / "metrics.jsonl")]
    return last.tensors, {k: v for k, v in last.state.items() if k != "seconds"}, rows


@pytest.mark.parametrize("method", ["gan", "icgan", "vae"])
def test_judging_changes_nothing(method, tmp_path, monkeypatch):
    """Bit for bit; a generator that is told the condition, one that is not, and a decoder."""
    draws = np.random.default_rng(0)
    data = load(draws.normal(size=(520, 1, 8, 8)), draws.integers(3, size=520), channels="first", held_out=0.1)
    settings = {"checkpoint.seconds": 0, "trainer.steps": 12, "snapshot.count": 0}
    for role in recipes.of_data(method):
        settings |= {f"{role}.name": "mlp", f"{role}.width": 8}
    recipe = recipe_of(method, data, **settings)
    for name in ("judged", "alone"):
        if name == "alone":
            monkeypatch.setattr(session, "Judge", lambda *given: lambda: None)
        (tmp_path / name).mkdir()
        session.prepare(tmp_path / name, recipe, data)
        session.play(tmp_path / name, recipe, data, None)
    assert len(best.read(tmp_path / "judged")) >= 2 and not (tmp_path / "alone" / "best.json").exists()
    (tensors, *others), (alone, *rest) = (everything(tmp_path / name) for name in ("judged", "alone"))
    assert tensors.keys() == alone.keys() and others == rest
    assert all(np.array_equal(tensors[name], alone[name], equal_nan=True) for name in tensors)


@pytest.fixture
def trained(tmp_path, monkeypatch):
    """A run of six turns whose third is the best."""
    def judge(*given):
        scores = iter([5.0, 3.0, 1.0, 2.0, 4.0, 2.0, 2.0])
        return lambda: Estimate(next(scores), 0.01)

    monkeypatch.setattr(session, "Judge", judge)
    settings = {"checkpoint.seconds": 0, "snapshot.count": 0}
    x = np.random.default_rng(0).random((40, 6, 5))
    return ludus.train("r3gan", x, steps=6, run=tmp_path / "run", settings=settings)


def test_a_run_is_loaded_at_a_turn(trained):
    path = trained.folder
    turns = {turn: ludus.load(path, turn) for turn in (None, "best", 3, 5, 6)}
    assert [run.turn for run in turns.values()] == [6, 3, 3, 5, 6]
    draws = {turn: run.sample(3) for turn, run in turns.items()}
    assert np.array_equal(draws[None], draws[6]) and np.array_equal(draws["best"], draws[3])
    assert not np.array_equal(draws["best"], draws[6])
    assert np.array_equal(ludus.load(path, turn=np.int64(3)).sample(3), draws[3])
    with pytest.raises(UserError, match="no checkpoint of turn 4; it has 3, 5, 6"):
        ludus.load(path, 4)
    (path / "best.json").unlink()
    with pytest.raises(UserError, match="was judged"):
        ludus.load(path, "best")


def test_the_command_line_draws_from_a_turn(trained, tmp_path, monkeypatch, capsys):
    draws = {}
    for turn in ("best", "3", "6"):
        out = tmp_path / f"{turn}.npy"
        code, printed, _ = command(monkeypatch, capsys, "sample", trained.folder, "-n", 3, "--out", out, "--turn", turn)
        assert code == 0 and printed.strip() == str(out)
        draws[turn] = np.load(out)
    assert np.array_equal(draws["best"], draws["3"]) and not np.array_equal(draws["best"], draws["6"])
    for turn, said in (("4", "it has 3, 5, 6"), ("last", "--turn last: best, or the number of a turn")):
        words = ("sample", trained.folder, "--out", tmp_path / "x.npy", "--turn", turn)
        code, _, error = command(monkeypatch, capsys, *words)
        assert code == 2 and said in error
