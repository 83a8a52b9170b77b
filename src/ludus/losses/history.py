"""Historical averaging."""

import torch
from torch import Tensor, nn


class History(nn.Module):
    """The mean θ̄ of all that a network's parameters θ have been; called, it gives |θ − θ̄|² (Salimans et al. 2016).

    As a term of a player's loss this draws θ to its own past: play that turns round an equilibrium has its mean there.
    θ̄ counts the start and what each move led to. It is a buffer, so that a resumed run goes on with it.
    """

    def __init__(self, network: nn.Module):
        super().__init__()
        self.register_buffer("mean", _flat(network).detach().clone())
        self.register_buffer("count", torch.ones((), dtype=torch.int64))

    def forward(self, network: nn.Module) -> Tensor:
        return (_flat(network) - self.mean).square().sum()

    @torch.no_grad()
    def moved(self, network: nn.Module) -> None:
        """Takes in where a move led to."""
        self.count += 1
        self.mean += (_flat(network) - self.mean) / self.count


def _flat(network: nn.Module) -> Tensor:
    return torch.cat([p.flatten() for p in network.parameters()])
