"""Random states: read, put back, forked. Measuring never disturbs training, and a run never disturbs its caller."""

import contextlib

import torch
from torch import Tensor


def state(device: torch.device) -> dict[str, Tensor]:
    """The random states that a computation on `device` draws from, by device type."""
    found = {"cpu": torch.get_rng_state()}
    if device.type != "cpu":
        found[device.type] = torch.get_device_module(device).get_rng_state()
    return found


def restore(states: dict[str, Tensor]) -> None:
    """Puts back what `state` read."""
    for kind, value in states.items():
        (torch if kind == "cpu" else torch.get_device_module(kind)).set_rng_state(value)


@contextlib.contextmanager
def forked(device: torch.device, seed: int | None = None):
    """Inside, draws start from `seed` (or go on); outside, nobody notices."""
    before = state(device)
    try:
        if seed is not None:
            torch.manual_seed(seed)
        yield
    finally:
        restore(before)


@contextlib.contextmanager
def measuring(game: torch.nn.Module, seed: int | None = None):
    """Look at a game in motion: eval mode, no gradients, a forked random state; all of it restored afterwards."""
    modes = {module: module.training for module in game.modules()}
    device = next((p.device for p in game.parameters()), torch.device("cpu"))
    with forked(device, seed), torch.no_grad():
        try:
            game.eval()
            yield
        finally:
            for module, mode in modes.items():
                module.training = mode
