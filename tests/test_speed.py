"""Speed beside what a user would pick instead: ratios within one run, never times. All of it is slow."""

import sys
from pathlib import Path

import pytest

from test_bars import needs_mnist

pytestmark = pytest.mark.slow
sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))


@pytest.mark.parametrize("game, bar", [("dcgan", 1.2), ("wgan_gp", 1.2), ("vae", 1.0)])
def test_a_turn_is_faster_than_a_plain_loop(game, bar):
    """Measured: 1.50, 1.51, 1.10."""
    needs_mnist()
    from throughput import play

    players = play(game, 6, {})["players"]
    print({who: row["times the plain loop"] for who, row in players.items()})
    assert players["ludus"]["times the plain loop"][0] > bar


@pytest.mark.parametrize("name, bar", [("kernel", 2), ("sliced wasserstein", 2), ("frechet", 1)])
def test_a_metric_is_faster_than_its_peer(name, bar):
    """Measured: 3.7, 32, 1.3."""
    for peer in ("torchmetrics", "ot"):
        pytest.importorskip(peer)
    from metrics import measured

    ours, theirs = (min(measured(name, which)["seconds"] for _ in range(3)) for which in (0, 1))
    print(name, theirs / ours)
    assert theirs / ours > bar
