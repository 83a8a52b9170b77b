"""From x to z by descent: against closed forms, where it ends inside the bounds, and what it leaves alone."""

import h5py
import numpy as np
import pytest
import torch
from torch import nn

import ludus
from ludus.errors import UserError
from ludus.inference.inversion import descend, invert
from test_run import QUICK, command, trained


@pytest.fixture
def linear():
    """G(z) = W z + b of 4 latents and 10 pixels, data that it cannot make, and starts for 3 descents."""
    draws = torch.Generator().manual_seed(0)
    W, b = torch.randn(10, 4, generator=draws), torch.randn(10, generator=draws)
    return W, b, torch.randn(7, 10, generator=draws), torch.randn(3, 7, 4, generator=draws)


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("weight", [0.0, 0.3])
def test_the_closed_form_of_a_linear_generator(linear, masked, weight):
    """(WᵀMW + λI)⁻¹ WᵀM(x − b), λ = weight · m / d, M the mask of m live pixels."""
    W, b, x, start = linear
    live = torch.ones(10, dtype=torch.bool)
    live[[2, 5]] = not masked
    found = invert(lambda z: z @ W.mT + b, x, start, live=live, weight=weight, steps=100)
    A, off = W[live].double(), (x - b)[:, live].double()
    z = torch.linalg.solve(A.mT @ A + weight * len(A) / 4 * torch.eye(4, dtype=torch.double), A.mT @ off.mT).mT
    torch.testing.assert_close(found.z.double(), z, atol=1e-4, rtol=0)
    torch.testing.assert_close(found.residual.double(), (off - z @ A.mT).square().mean(1).sqrt(), atol=1e-5, rtol=0)
    torch.testing.assert_close(found.restarts, found.residual[:, None].expand(7, 3), atol=1e-5, rtol=0)


def test_an_unequal_valley_is_gone_down_by_each_row_at_its_own_pace():
    """Curvatures from 1 to 10⁴, which steps along the slope would need thousands of turns for; one row starts done."""
    scales = torch.logspace(0, 4, 6)
    starts = torch.randn(5, 6, generator=torch.Generator().manual_seed(0))
    starts[2] = 0

    def cost(z):
        return (scales * z.square()).sum(1), 2 * scales * z

    before, _ = cost(starts)
    after, _ = cost(descend(cost, starts, 100))
    assert (after <= 1e-8 * before).all()


def test_what_the_generator_made_is_found_again():
    torch.manual_seed(0)
    G = nn.Sequential(nn.Linear(3, 32), nn.Tanh(), nn.Linear(32, 40)).requires_grad_(False)
    before = [p.clone() for p in G.parameters()]
    z = torch.randn(20, 3)
    found = invert(G, G(z), torch.randn(8, 20, 3))
    assert found.residual.max() < 1e-4 and (found.z - z).abs().max() < 1e-2
    assert all(torch.equal(a, b) for a, b in zip(before, G.parameters()))
    assert not found.z.requires_grad


def test_bounds_are_kept(linear):
    """z in [-1, 1]: of a diagonal generator the best z is the best without bounds, cut off."""
    _, _, x, start = linear
    x = 2 * x[:, :4]
    found = invert(lambda z: z, x, start.tanh(), bounded=True)
    assert (found.z.abs() <= 1).all() and (x.abs() > 1).any()
    torch.testing.assert_close(found.z, x.clamp(-1, 1), atol=1e-2, rtol=0)
    at_the_edge = invert(lambda z: z, x, start.sign(), bounded=True)  # where tanh is flat
    torch.testing.assert_close(at_the_edge.z, x.clamp(-1, 1), atol=1e-2, rtol=0)


def test_restarts_escape_a_planted_minimum():
    """G(z) = (z² − 1, z / 5): x = G(1) has a second, higher minimum near −1."""

    def G(z):
        return torch.cat([z.square() - 1, z / 5], 1)

    x, wrong = G(torch.ones(1, 1)), torch.full((1, 1, 1), -1.5)
    assert float(invert(G, x, wrong).z) < -0.9
    both = invert(G, x, torch.cat([wrong, -wrong]))
    assert float(both.z) == pytest.approx(1, abs=1e-3) and both.residual < 1e-3
    assert both.restarts[0, 0] > 0.2 and both.restarts[0, 1] < 1e-3  # and the restarts say so


# Runs


@pytest.fixture(scope="module")
def planes(tmp_path_factory):
    """Points near a plane, and a vae, a gan and a gan with a bounded prior trained on them."""
    draws = np.random.default_rng(0)
    x = (draws.normal(size=(200, 2)) @ draws.normal(size=(2, 6)) * 5 + 3).astype(np.float32)
    folder, settings = tmp_path_factory.mktemp("planes"), {**QUICK, "prior.dimension": 3}
    vae = ludus.train("vae", x, steps=400, run=folder / "vae", settings=settings)
    cube = trained(folder / "cube", "r3gan", x, prior__name="uniform")
    return x, {"vae": vae, "gan": trained(folder / "gan", "r3gan", x), "cube": cube}


@pytest.mark.parametrize("name", ["vae", "gan", "cube"])
def test_runs_find_what_they_made(planes, name):
    _, runs = planes
    run = runs[name]
    before = {key: value.clone() for key, value in run.game.state_dict().items()}
    x = run.sample(20, noise=False)
    found = run.invert(x)
    assert found.z.shape == (20, 3) and found.residual.shape == (20,) and found.restarts.shape == (20, 4)
    again = run.decode(found.z)
    np.testing.assert_allclose(found.residual, np.sqrt(np.square(x - again).mean(1)), atol=1e-4)  # in the user's units
    assert np.median(found.residual) < 0.01 * x.std() and (found.residual <= found.restarts.min(1)).all()
    assert name != "cube" or np.abs(found.z).max() <= 1
    assert all(torch.equal(value, run.game.state_dict()[key]) for key, value in before.items())
    np.testing.assert_array_equal(run.invert(x).z, found.z)
    assert not np.array_equal(run.invert(x, seed=1).z, found.z)


def test_the_encoders_guess_is_improved(planes):
    x, runs = planes
    vae, x = runs["vae"], planes[0][:50]
    guess = np.sqrt(np.square(x - vae.reconstruct(x)).mean(1))
    found = vae.invert(x, restarts=1)  # from the guess alone
    assert (found.residual <= guess + 1e-5).all() and found.residual.mean() < 0.9 * guess.mean()
    v, z = torch.from_numpy(vae.form.to_network(x)), torch.from_numpy(vae.encode(x).mean)
    torch.manual_seed(0)
    hybrid, alone = (invert(vae.game.decode, v, start[None], steps=10) for start in (z, torch.randn_like(z)))
    assert hybrid.residual.mean() < alone.residual.mean()


def test_many_rows_go_through_in_parts(planes, monkeypatch):
    x, runs = planes
    whole = runs["vae"].invert(x[:9], restarts=1)
    monkeypatch.setattr("ludus.run.AT_ONCE", 4)
    np.testing.assert_allclose(runs["vae"].invert(x[:9], restarts=1).residual, whole.residual, atol=1e-3)


def test_dead_pixels_do_not_count(tmp_path):
    x = np.random.default_rng(0).normal(size=(80, 1, 1)) * np.ones((80, 5, 4)) + 1
    mask = np.ones((5, 4))
    mask[1, 1] = 0
    np.save(tmp_path / "mask.npy", mask)
    run = trained(tmp_path / "run", "r3gan", x.astype(np.float32), data__mask=str(tmp_path / "mask.npy"))
    hot = x.copy()
    hot[:, 1, 1] = 1e6
    one, other = run.invert(x[:5]), run.invert(hot[:5])
    np.testing.assert_array_equal(one.z, other.z)
    off = (x[:5] - run.decode(one.z))[:, mask == 1]
    np.testing.assert_allclose(one.residual, np.sqrt(np.square(off).mean(1)), atol=1e-4)


def test_conditions_are_respected(tmp_path):
    draws = np.random.default_rng(0)
    y = draws.integers(2, size=200)
    x = (draws.normal(size=(200, 3)) + 6 * y[:, None]).astype(np.float32)
    run = ludus.train("vae", x, condition=y, steps=300, run=tmp_path / "run",
                      settings={**QUICK, "prior.dimension": 1})  # fmt: skip
    right, wrong = run.invert(x[:20], y[:20]), run.invert(x[:20], 1 - y[:20])
    assert right.residual.mean() < wrong.residual.mean()
    off = np.sqrt(np.square(x[:20] - run.decode(right.z, y[:20])).mean(1))
    np.testing.assert_allclose(right.residual, off, atol=1e-4)
    with pytest.raises(UserError, match="has a condition, and was never trained without: give c too"):
        run.invert(x)


def test_what_cannot_be_inverted(planes):
    x, runs = planes
    for ask, why in [
        (lambda: runs["gan"].invert(x[:, :4]), r"x is \(200, 4\): rows of the array are \(n, 6\)"),
        (lambda: runs["gan"].invert(x, restarts=0), "restarts = 0: a whole number, at least 1"),
        (lambda: runs["gan"].invert(x, weight=-1.0), "weight = -1.0: at least 0"),
        (lambda: runs["cube"].invert(x, weight=1.0), "0 unless the prior is gaussian"),
        (lambda: runs["gan"].invert(x, c=1), "trained without a condition"),
    ]:
        with pytest.raises(UserError, match=why):
            ask()


def test_a_weight_draws_towards_the_prior(planes):
    x, runs = planes
    free, held = (runs["gan"].invert(x[:20], weight=weight) for weight in (0.0, 1.0))
    assert np.linalg.norm(held.z, axis=1).mean() < np.linalg.norm(free.z, axis=1).mean()
    assert (held.residual >= free.residual - 1e-4).all()


def test_command(tmp_path, planes, capsys):
    x, runs = planes
    np.save(tmp_path / "x.npy", x[:5])
    run = runs["gan"].folder
    assert command("invert", run, tmp_path / "x.npy", "--out", tmp_path / "z.h5", "--restarts", 2) == 0
    found = runs["gan"].invert(x[:5], restarts=2)
    with h5py.File(tmp_path / "z.h5") as file:
        np.testing.assert_array_equal(file["z"][:], found.z)
        assert file["residual"].shape == (5,) and file["restarts"].shape == (5, 2)
        np.testing.assert_allclose(file["reconstructed"][:], runs["gan"].decode(found.z))
    assert command("invert", run, tmp_path / "x.npy", "--out", tmp_path / "x.png") == 0
    assert (tmp_path / "x.png").stat().st_size
    capsys.readouterr()
    assert command("invert", run, tmp_path / "x.npy", "--out", "z.npy") == 2
    assert "it is written as .h5 or .png" in capsys.readouterr().err
