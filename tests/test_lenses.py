"""Lenses: what the discriminator is shown, the same for real and generated rows; and ADA, which steers one of them."""

import math
from functools import partial

import numpy as np
import pytest
import torch
from torch import nn

import ludus
from games import METHODS, data_of, recipe_of, same, told, trainer_of, weights
from ludus import recipe as recipes
from ludus.callbacks.ada import ADA, EVERY, MOST
from ludus.callbacks.annealing import Annealing
from ludus.errors import UserError
from ludus.losses.penalties import value_and_slope
from ludus.networks import lenses
from ludus.networks.lenses import Lensed
from test_resume import HARD, STEPS, assert_same, everything, play

# whose discriminators see data; avb's is a log-ratio, and takes no lens, infogan's reads each row, and takes no pack
LOOKED_AT = [m for m in METHODS if "discriminator" in recipes.of_data(m) and m not in ("avb", "infogan")]

LENSES = {
    "pack": {"lens.pack": 2},
    "noise": {"lens.noise": 0.3},
    "augment": {"lens.augment": 0.5},
    "all": {"lens.pack": 4, "lens.noise": 0.1, "lens.augment": 0.5, "ada.target": 0.6},
}
every_method = pytest.mark.parametrize("method", LOOKED_AT)


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


class Looks(nn.Module):
    """A discriminator that remembers what it was shown; its logit is w · x."""

    def __init__(self):
        super().__init__()
        self.w, self.shown = nn.Parameter(torch.ones(1)), []

    def forward(self, x, c=None):
        self.shown.append((x.detach(), c))
        return self.w * x.flatten(1).sum(1)


# Packing


def test_a_pack_is_consecutive_rows_joined():
    x, c = torch.arange(24.0).reshape(6, 2, 2, 1), torch.arange(6.0)[:, None]
    look = Looks()
    logits = Lensed(look, pack=3)(x, c)
    (x_shown, c_shown), = look.shown
    assert logits.shape == (2,) and x_shown.shape == (2, 6, 2, 1)
    assert torch.equal(x_shown.flatten(), x.flatten()) and torch.equal(c_shown, torch.tensor([[0.0, 1, 2], [3, 4, 5]]))
    assert lenses.packed(torch.zeros(6, 5), 2).shape == (3, 10)


@every_method
def test_real_and_generated_are_never_in_one_pack(method):
    """Real rows are all 1, generated ones all −1: whatever is between is on a line from a real to a generated pack."""
    data = data_of((2,), told(method))
    trainer = trainer_of(method, data, **{"lens.pack": 4})
    packs = []
    trainer.game.discriminator.discriminator.register_forward_pre_hook(
        lambda module, args: packs.append(args[0].detach().reshape(len(args[0]), 4, 2))
    )
    trainer.sampler.x = torch.ones(len(data.x), 2)
    trainer.game.generator.register_forward_hook(lambda module, args, x: 0 * x - 1)
    for name in trainer.players:
        trainer.players[name].loss(next(trainer.sampler))
    rows = torch.cat(packs)
    assert (rows == 1).any() and (rows == -1).any()
    assert torch.equal(rows, rows[:, :1].expand_as(rows))


def test_the_slope_of_a_packed_discriminator_is_that_of_the_pack():
    """f(X) = w · X over m joined rows has |∇f|² = |w|², once for each pack."""
    f = Lensed(Looks(), pack=3)
    value, slope = value_and_slope(f, torch.randn(6, 5))
    assert value.shape == (2,) and slope.square().sum(1).tolist() == [15.0, 15.0]


# Noise


def test_noise_is_the_same_law_for_real_and_generated():
    trainer = trainer_of("gan", data_of((3, 8, 8), n=256), **{"lens.noise": 0.3, "sampler.batch": 256})
    game, batch, look = trainer.game, next(trainer.sampler), Looks()
    game.discriminator.discriminator = look
    fake = game.shown(batch)
    game.discriminator_loss(batch)
    n = batch.x.numel()
    residuals = [(seen - x).flatten() for (seen, _), x in zip(look.shown, (batch.x, fake))]
    for residual in residuals:  # standard errors of a mean and of a standard deviation, for N(0, sd²)
        assert abs(residual.mean()) < 5 * 0.3 / math.sqrt(n)
        assert abs(residual.std() - 0.3) < 5 * 0.3 / math.sqrt(2 * n)
    assert abs(torch.corrcoef(torch.stack(residuals))[0, 1]) < 5 / math.sqrt(n)  # but not the same draws


def test_noise_is_annealed_by_its_dotted_name():
    settings = dict(recipes.parse(s) for s in ["lens.noise=0.5", "annealing.values.discriminator.noise=[0.5,0]"])
    trainer = trainer_of("r3gan", data_of((2,)), **settings, **{"trainer.steps": 20, "annealing.hold": 0.0})
    (annealing,) = (callback for callback in trainer.callbacks if isinstance(callback, Annealing))
    seen = []
    for trainer.turn in (0, 10, 20):
        annealing.before(trainer)
        seen.append((trainer.game.discriminator.noise, trainer.game.gamma))
    # the method's own annealing (0.02 to 0.002) goes on beside
    assert np.allclose(seen, [(0.5, 0.02), (0.25, 0.011), (0.0, 0.002)], atol=1e-12)


# Augmentation: each transformation by its closed form, on images that are neither square nor grey


def image():
    return torch.randn(3, 6, 16, dtype=torch.float64)


def mean_of(transform, x, n=40_000):
    """The mean of `transform` over n draws, and its standard error, pixel by pixel."""
    draws = transform(x.expand(n, *x.shape))
    return draws.mean(0), draws.std(0) / math.sqrt(n)


def close(found, expected):
    mean, error = found
    return ((mean - expected).abs() <= 5 * error + 1e-12).all()


def shifting(side):
    """E shift along one side, a matrix: each pixel comes from each of the 2m + 1 about it, or is 0."""
    m = round(side / 8)
    away = (torch.arange(side)[:, None] - torch.arange(side)).abs()
    return (away <= m).double() / (2 * m + 1)


def cut(side):
    """How often a pixel of one side is hit: the share of the centres that are within a quarter of the side."""
    at = torch.arange(side).double() + 0.5
    return ((at + side / 4).clamp(max=side) - (at - side / 4).clamp(min=0)) / side


def mean_shift(x):
    return shifting(x.shape[1]) @ x @ shifting(x.shape[2])


def mean_cutout(x):
    return x * (1 - cut(x.shape[1])[:, None] * cut(x.shape[2]))


def test_shift_by_its_closed_form():
    x = image()
    assert close(mean_of(lenses.shift, x), mean_shift(x))


def test_cutout_by_its_closed_form():
    x = image()
    assert close(mean_of(lenses.cutout, x), mean_cutout(x))


def test_tone_by_its_closed_form():
    x = image()
    assert close(mean_of(lenses.tone, x), x)
    # var(a (x − x̄) + b) = ((x − x̄)² + 1) / 12; its standard error from the fourth moment, which a uniform bounds
    variance = (lenses.tone(x.expand(40_000, *x.shape)) - x).square()
    assert close((variance.mean(0), variance.std(0) / 200), ((x - x.mean()) ** 2 + 1) / 12)


def test_each_befalls_a_row_with_its_probability_and_independently():
    x, p = image(), 0.6
    blend = lambda x, y: (1 - p) * x + p * y  # noqa: E731
    expected = blend(x, mean_shift(x))
    expected = blend(expected, mean_cutout(expected))
    assert close(mean_of(partial(lenses.augmented, p=p), x), expected)
    same_as_x = (lenses.augmented(x.expand(40_000, *x.shape), p) == x).flatten(1).all(1).double()
    # untouched: no tone; no shift, or one by (0, 0), 1 in 3·5; no cutout (one always hits an image of 6×16)
    share = (1 - p) * (1 - p + p / 15) * (1 - p)
    assert abs(same_as_x.mean() - share) < 5 * math.sqrt(share * (1 - share) / 40_000)


def test_rows_are_transformed_alone_and_channels_together():
    x = torch.ones(512, 4, 8, 8)
    seen = lenses.cutout(lenses.shift(x))
    assert torch.equal(seen, seen[:, :1].expand_as(seen))
    assert len({row.numpy().tobytes() for row in seen}) > 100


def test_augmentation_is_smooth_in_x():
    """First and second derivatives by finite differences: slope penalties need both."""

    def fixed(x):
        torch.manual_seed(7)
        return lenses.augmented(x, 0.7)

    x = torch.randn(4, 2, 4, 5, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(fixed, (x,)) and torch.autograd.gradgradcheck(fixed, (x,))


def law(p, weights, n):
    """How often a bright pixel, drawn from 8 places or none by `weights`, is seen at each place after a shift."""
    places = torch.multinomial(weights, n, replacement=True)
    x = torch.eye(9, dtype=torch.float64)[places][:, None, None, :8]
    seen = torch.where(torch.rand(n, 1, 1, 1) < p, lenses.shift(x), x)
    return seen.mean((0, 1, 2))


def test_a_shift_hides_no_distribution_below_three_quarters():
    """(1 − p) + p K on 8 places has eigenvalues above 1 − 4p/3; at p = 3 / 2(1 + cos π/9) = 0.773 one of them is 0,
    and two distributions that differ are seen alike."""
    k, eye = shifting(8), torch.eye(8, dtype=torch.float64)
    for p in (0.1, 0.5, 0.74):
        assert torch.linalg.eigvalsh((1 - p) * eye + p * k).min() > 1 - 4 * p / 3 > 0
    blind = 3 / (2 * (1 + math.cos(math.pi / 9)))
    values, vectors = torch.linalg.eigh((1 - blind) * eye + blind * k)
    at = values.abs().argmin()
    assert abs(values[at]) < 1e-12
    wave = torch.cat([vectors[:, at], -vectors[:, at].sum(None, keepdim=True)])  # the ninth place: nothing to be seen
    wave *= 0.9 / 9 / wave.abs().max()
    n, difference = 400_000, {}
    for p in (0.6, blind):
        difference[p] = law(p, 1 / 9 + wave, n) - law(p, 1 / 9 - wave, n)
    error = math.sqrt(2 * (1 / 9) * (8 / 9) / n)  # of a difference of two shares, near 1/9 each, at most 2/9
    assert difference[blind].abs().max() < 5 * 1.4 * error
    assert difference[0.6].abs().max() > 20 * error


def test_the_spectra_of_tone_stay_above_a_third():
    """E b̂ is sin(s/2)/(s/2); E a^{it} over a ~ U[½, 3/2] is (1.5^{1+it} − 0.5^{1+it}) / (1 + it)."""
    s, t = np.linspace(1e-9, 200, 2001)[:, None], np.linspace(0, 200, 2001)
    brightness = np.sin(s / 2) / (s / 2)
    contrast = (1.5 ** (1 + 1j * t) - 0.5 ** (1 + 1j * t)) / (1 + 1j * t)
    assert (brightness * contrast.real).min() > -1 / 3  # beyond 200 their size is below 1/100


# The lens in a game


@every_method
@pytest.mark.parametrize("shape", [(3, 11, 6), (2,)])
def test_a_lens_that_does_nothing_is_not_built(method, shape):
    runs = []
    for lens in ({}, {"lens.pack": 1, "lens.noise": 0.0, "lens.augment": 0.0}):
        trainer = trainer_of(method, data_of(shape, told(method)), **{"trainer.steps": 5}, **lens)
        assert not isinstance(trainer.game.discriminator, Lensed)
        trainer.run()
        runs.append(weights(trainer.game))
    assert same(*runs)


@every_method
@pytest.mark.parametrize("condition", [None, "classes"])
@pytest.mark.parametrize("lens", LENSES)
def test_every_method_trains_with_every_lens(method, condition, lens):
    data = data_of((2, 9, 8), told(method, condition))
    if data.c is not None:
        data.c[::3] = np.nan
    trainer = trainer_of(method, data, **LENSES[lens], **{"trainer.steps": 6})
    if "ada.target" in LENSES[lens]:
        trainer.callbacks.append(ADA(target=0.6, images=1000))
    before = weights(trainer.game.generator)
    trainer.run()
    trainer.check_finite()
    assert isinstance(trainer.game.discriminator, Lensed) and not same(before, weights(trainer.game.generator))
    assert trainer.game.sample(3, None).shape == (3, 2, 9, 8)


@every_method
@pytest.mark.parametrize("lens", ["pack", "noise"])
def test_points_train_with_a_lens(method, lens):
    trainer = trainer_of(method, data_of((2,), told(method, "values")), **LENSES[lens], **{"trainer.steps": 4})
    trainer.run()
    trainer.check_finite()


def test_codes_are_read_past_noise_and_augmentation():
    trainer = trainer_of("infogan", data_of((2, 9, 8)), **LENSES["noise"], **LENSES["augment"], **{"trainer.steps": 4})
    trainer.run()
    trainer.check_finite()
    x = trainer.sampler.x
    assert torch.equal(trainer.game.recognise(x), trainer.game.recognise(x))


def test_batch_norm_needs_two_packs():
    data = data_of()
    norm = nn.Sequential(nn.Flatten(), nn.BatchNorm1d(4 * 64), nn.Linear(4 * 64, 1), nn.Flatten(0))
    norm.forward = lambda x, c=None: nn.Sequential.forward(norm, x)
    recipe = recipe_of("gan", data, **{"lens.pack": 4, "sampler.batch": 4, "discriminator.name": "custom"})
    with pytest.raises(UserError, match="batch 4: the discriminator has batch norm"):
        recipes.build(recipe, data.form, {"discriminator": norm})
    recipes.build(recipes.nest({"sampler.batch": 8}, recipe), data.form, {"discriminator": norm})


def test_the_features_are_those_behind_the_lens():
    trainer = trainer_of("gan", data_of(condition="classes"), **{"lens.pack": 2, "lens.noise": 0.3})
    lensed, batch = trainer.game.discriminator, next(trainer.sampler)
    torch.manual_seed(1)
    found = lensed.features(batch.x, batch.c)
    torch.manual_seed(1)
    assert torch.equal(found, lensed.discriminator.features(*lensed.lens(batch.x, batch.c)))
    assert len(found) == len(batch.x) // 2
    torch.manual_seed(1)
    assert torch.equal(lensed(batch.x, batch.c), lensed.discriminator.head(found).squeeze(1))
    assert not hasattr(Lensed(Looks()), "features")


REFUSED = {
    "lens.pack=3": "packs of 3 do not divide a batch of 16",
    "lens.pack=0": "lens.pack",
    "lens.noise=-1": "lens.noise",
    "lens.augment=1.5": "lens.augment",
    "lens.cutout=1": "cutout",
    "annealing.values.discriminator.nose=[1,0]": "discriminator.noise",
    "annealing.values.discriminator.noise=[1,-1]": "lens.noise",
    "annealing.values.discriminator.pack=[1,2]": "discriminator.pack",
    "ada.target=2": "ada.target",
}


@pytest.mark.parametrize("setting", REFUSED)
def test_what_does_not_fit_is_refused_before_the_first_turn(setting):
    key, value = recipes.parse(setting)
    with pytest.raises(UserError, match=REFUSED[setting]):
        trainer_of("gan", data_of(), **{key: value})


@pytest.mark.parametrize(
    "setting", ["lens.augment=0.5", "ada.target=0.6", "annealing.values.discriminator.augment=[0,0.5]"]
)
def test_points_are_not_augmented(setting):
    key, value = recipes.parse(setting)
    with pytest.raises(UserError, match="for images"):
        trainer_of("gan", data_of((2,)), **{key: value})


def test_one_hand_on_the_dial():
    both = {"ada.target": 0.6, "annealing.values": {"discriminator.augment": [0.0, 0.5]}}
    with pytest.raises(UserError, match="not both"):
        trainer_of("gan", data_of(), **both)


def test_a_network_of_the_users_own_is_told_of_its_packs(tmp_path):
    x = np.random.default_rng(0).random((40, 6, 5))
    with pytest.raises(UserError, match=r"discriminator \(Conv\) failed on x \(2, 3, 6, 5\).*1 channels"):

        class Conv(nn.Module):
            def __init__(self):
                super().__init__()
                self.body = nn.Conv2d(1, 1, (6, 5))

            def forward(self, x, c=None):
                return self.body(x).flatten()

        ludus.train("gan", x, batch=6, steps=2, run=tmp_path / "run", settings={"lens.pack": 3}, discriminator=Conv())


def test_a_run_with_a_lens_is_a_run(tmp_path):
    x = np.random.default_rng(0).random((40, 6, 5))
    said = ["lens.pack=2", "annealing.values.discriminator.noise=[0.5,0]", "ada.target=0.6", "snapshot.count=0"]
    run = ludus.train("r3gan", x, batch=8, steps=4, run=tmp_path / "a", settings=dict(map(recipes.parse, said)))
    assert list(run.recipe["annealing"]["values"]["discriminator.noise"]) == [0.5, 0.0]
    again = ludus.train(recipe=run.folder / "recipe.toml", data=x, run=tmp_path / "b")
    assert again.recipe == run.recipe
    assert np.array_equal(ludus.load(run.folder).sample(3), again.sample(3))
    assert ludus.resume(run.folder, steps=6, data=x).turn == 6


# ADA


def steer(accuracies, p=0.0, **options):
    """p after each look, where a stub discriminator's accuracies are as given."""
    trainer = trainer_of("gan", data_of(), **{"lens.augment": 0.1, "trainer.steps": 10**6})
    trainer.game.discriminator.augment = p
    ada, found = ADA(**options), []
    ada.start(trainer)
    trainer.step()
    for trainer.turn, accuracy in enumerate(accuracies, 1):
        trainer.losses["discriminator"].seen["accuracy"] = torch.tensor(accuracy)
        ada.after(trainer)
        found.append(trainer.game.discriminator.augment)
    return found


def test_ada_by_its_formula():
    """Batches of 16, looked at on every fourth turn: a step is 4·16 / images; r = 2 accuracy − 1 against 0.6."""
    step = 64 / 1000
    looks = [0.9, 0.9, 0.75, 0.85]  # r = 0.8, 0.8, 0.5, 0.7
    expected = [step, 2 * step, step, 2 * step]
    found = steer(np.repeat(looks, EVERY), target=0.6, images=1000.0)
    assert found[EVERY - 1 :: EVERY] == pytest.approx(expected) and found[: EVERY - 1] == [0.0] * (EVERY - 1)


def test_ada_stays_where_nothing_leaks():
    assert steer([1.0] * 8, 0.7, target=0.6, images=100.0)[-1] == MOST == 0.75
    assert steer([0.5] * 8, 0.1, target=0.6, images=100.0)[-1] == 0.0


def test_ada_that_is_off_leaves_p_alone():
    assert set(steer([1.0] * 8, 0.25)) == {0.25}
    assert ADA().state() == {}


def test_ada_needs_an_accuracy():
    trainer = trainer_of("gan", data_of(), **{"lens.augment": 0.1})
    ada = ADA(target=0.6)
    ada.start(trainer)
    trainer.step()
    del trainer.losses["discriminator"].seen["accuracy"]
    with pytest.raises(UserError, match="accuracy"):
        ada.after(trainer)


@every_method
def test_resume_is_exact_with_lenses_and_ada(method, tmp_path):
    data = data_of((1, 8, 8), "classes", n=40)
    data.c[::5] = np.nan
    lens = {
        "lens.pack": 2, "lens.noise": 0.5, "annealing.values": {"discriminator.noise": [0.5, 0.0]},
        "lens.augment": 0.3, "ada.target": 0.6, "ada.images": 1000.0, "trainer.stages": {},  # all move to the end
    }  # fmt: skip
    recipe = recipe_of(method, data, **HARD, **lens)
    play(tmp_path / "whole", recipe, data)
    whole = everything(tmp_path / "whole")
    ps = [row["seen"]["discriminator"]["augment"] for row in whole[2]]
    assert len(set(ps)) > 1  # it was steered
    for stop_at in (1, 10, 18):
        path = tmp_path / str(stop_at)
        with pytest.raises(ludus.errors.Interrupted, match=f"turn {stop_at} of {STEPS}"):
            play(path, recipe, data, stop_at)
        play(path, recipe, data)
        assert_same(everything(path), whole)
    assert float(whole[0]["ada/p"]) == pytest.approx(ps[-1])
