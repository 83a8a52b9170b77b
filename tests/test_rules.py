"""The rules that every method must pass, with and without conditions."""


import numpy as np
import pytest
import torch

from games import GAMES, METHODS, averaged, data_of, resident, same, told, trainer_of, weights
from ludus import recipe as recipes
from ludus import seeds
from ludus.callbacks.log import row
from ludus.trainer import Callback

# Parameters whose gradient is zero by right, and why. One line for a method that needs it.
STILL = {
    "wgan": {"discriminator": "bias"},  # f -> f + const changes no Wasserstein loss: the last bias stays
    "wgan_gp": {"discriminator": "bias"},
    "r3gan": {"discriminator": "bias"},  # nor does it change a pairing
}

every_method = pytest.mark.parametrize("method", METHODS)
every_game = pytest.mark.parametrize(("method", "condition"), GAMES)
TOLD = [(method, condition) for method, condition in GAMES if condition and
        not {"generator", "decoder"} & {*recipes.METHODS[method].blind}]  # what draws x is told c


@every_game
def test_everybody_owns_and_only_owners_move(method, condition):
    trainer = trainer_of(method, data_of(condition=condition))
    owned = {id(p) for parameters in trainer.parameters.values() for p in parameters}
    assert {id(p) for p in trainer.game.parameters() if p.requires_grad} == owned

    for name in trainer.players:
        before = weights(trainer.game)
        mine = {id(p) for p in trainer.parameters[name]}
        trainer.gradient(name, next(trainer.sampler))
        trainer.move(name)
        moved = {id(p) for n, p in trainer.game.named_parameters() if not torch.equal(before[n], p)}
        assert moved and moved <= mine
        assert all(p.grad is None for p in trainer.game.parameters())


@every_game
def test_gradients_reach_all_that_is_owned(method, condition):
    trainer = trainer_of(method, data_of(condition=condition))
    names = {id(p): n for n, p in trainer.game.named_parameters()}
    reached = {name: set() for name in trainer.players}
    for _ in range(3):
        for name in trainer.players:
            trainer.gradient(name, next(trainer.sampler))
            pairs = zip(trainer.parameters[name], trainer.gradients[name])
            reached[name] |= {names[id(p)] for p, gradient in pairs if gradient.any()}
            trainer.move(name)
    for name, parameters in trainer.parameters.items():
        missed = [names[id(p)] for p in parameters if names[id(p)] not in reached[name]]
        still = STILL.get(method, {}).get(name)
        assert missed == [] or (len(missed) == 1 and still and missed[0].endswith(still)), missed


@every_game
def test_players_stay_who_they_are(method, condition):
    trainer = trainer_of(method, data_of(condition=condition))
    who = lambda: {name: list(map(id, player.parameters)) for name, player in trainer.game.players.items()}  # noqa: E731
    before = who()
    trainer.step()
    assert who() == before


@every_game
@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 11, 6), (2,)])
def test_samples(method, condition, shape):
    game = trainer_of(method, data_of(shape, condition)).game.eval()
    c = torch.zeros(5, {None: 0, "classes": 3, "values": 2}[condition]) if condition else None
    with torch.no_grad():
        x = game.sample(5, c)
    assert x.shape == (5, *shape) and x.dtype == torch.float32
    if len(shape) == 3 and hasattr(game, "generator"):
        assert x.abs().max() <= 1  # minmax scaling gives the generator a tanh
    assert (x[0] - x[1]).abs().max() > 0  # the latent matters


@pytest.mark.parametrize(("method", "condition"), TOLD)
def test_condition_matters(method, condition):
    game = trainer_of(method, data_of(condition=condition)).game.eval()
    k = {"classes": 3, "values": 2}[condition]
    draws = []
    for c in [torch.zeros(4, k), torch.eye(k)[:1].repeat(4, 1), torch.full((4, k), torch.nan)]:
        with seeds.measuring(game, seed=1):
            draws.append(game.sample(4, c))
    assert not torch.equal(draws[0], draws[1])
    assert not torch.equal(draws[0], draws[2])  # unknown is not zero
    assert all(x.isfinite().all() for x in draws)


@every_game
def test_unknown_conditions_train(method, condition):
    data = data_of(condition=condition)
    if data.c is not None:
        data.c[::2] = np.nan
    trainer = trainer_of(method, data)
    trainer.step()
    trainer.check_finite()


@every_game
def test_reloaded_game_gives_the_same_sample(method, condition):
    trainer, other = (trainer_of(method, data_of(condition=condition), seed=seed) for seed in (0, 1))
    trainer.step()
    other.game.load_state_dict(trainer.game.state_dict())
    draws = []
    for game in (trainer.game, other.game):
        with seeds.measuring(game, seed=3):
            draws.append(game.sample(4, None))
    assert torch.equal(*draws)


@every_game
def test_same_seed_same_run(method, condition):
    data, ten = data_of(condition=condition), {"trainer.steps": 10}
    a, b, c = (trainer_of(method, data, seed=seed, **ten) for seed in (0, 0, 1))
    for trainer in (a, b, c):
        torch.manual_seed(id(trainer) % 1000)  # what the caller's random state is must not matter
        trainer.run()
    assert same(weights(a.game), weights(b.game))
    assert not same(weights(a.game), weights(c.game))


class Meddler(Callback):
    """Measures as rudely as it can between turns."""

    def after(self, trainer):
        torch.randn(3)
        row(trainer)
        with seeds.measuring(trainer.game, seed=5):
            trainer.game.sample(2)


@every_game
def test_watching_changes_nothing(method, condition):
    alone, watched = (trainer_of(method, data_of(condition=condition), **{"trainer.steps": 7}) for _ in range(2))
    averaged(watched)
    watched.callbacks.append(Meddler())
    alone.run()
    watched.run()
    assert same(weights(alone.game), weights(watched.game))


@every_method
def test_the_caller_keeps_its_random_state(method):
    torch.manual_seed(0)
    before = torch.get_rng_state()
    trainer_of(method, data_of(condition=told(method)), **{"trainer.steps": 3}).run()
    assert torch.equal(torch.get_rng_state(), before)


@every_game
def test_float64(method, condition):
    trainer = trainer_of(method, data_of(condition=condition), dtype=torch.float64)
    trainer.step()
    assert trainer.game.sample(2).dtype == torch.float64
    assert all(value.dtype == torch.float64 for loss in trainer.losses.values() for value in loss.terms.values())


@every_method
def test_memory_format_changes_nothing(method):
    """channels_last is a matter of speed. An optimiser that met other strides than its parameters' would mix them."""
    ends = []
    for layout in (torch.contiguous_format, torch.channels_last):
        trainer = trainer_of(method, data_of(condition=told(method)), dtype=torch.float64)
        trainer.game.to(memory_format=layout)
        trainer.sampler.x = trainer.sampler.x.to(memory_format=layout)
        for _ in range(3):
            trainer.step()
        ends.append(weights(trainer.game))
    for name, value in ends[0].items():  # Adam's steps at a gradient of rounding size are no better than its eps
        torch.testing.assert_close(ends[1][name], value, rtol=0, atol=1e-6, msg=name)


@every_method
@pytest.mark.parametrize("network", ["mlp", "small", "dcgan", "resnet"])
@pytest.mark.parametrize("shape", [(1, 20, 200), (3, 33, 50)])
def test_any_shape(method, network, shape):
    data = data_of(shape, "classes", n=12)
    made_of = recipes.of_data(method)
    settings = {"sampler.batch": 2} | {f"{role}.name": network for role in made_of}
    if network == "dcgan":
        settings |= {f"{role}.widths": [8, 4, 4] for role in made_of if role in ("generator", "decoder")}
    if network == "mlp":
        settings |= {f"{made_of[0]}.width": 8}
    trainer = trainer_of(method, data, **settings)
    trainer.step()
    assert trainer.game.sample(2).shape == (2, *shape)
    trainer.check_finite()


@every_method
def test_memory_is_flat(method):
    trainer = trainer_of(method, data_of((2,), told(method)), **{"trainer.steps": 1000})
    for _ in range(50):
        trainer.step()
    before = resident()
    for _ in range(200):
        trainer.step()
    assert resident() - before < 2e6
