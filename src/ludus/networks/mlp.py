"""Fully connected networks: for vectors, and for images as one long vector."""

import math
from typing import Literal

import torch
from torch import Tensor, nn

from ludus.errors import unknown
from ludus.networks.heads import head, logits
from ludus.networks.layers import given, inputs, positive, range_of, unit_norms
from ludus.ranges import Positive

ACTIVATIONS = {
    "relu": nn.ReLU,
    "leaky_relu": lambda: nn.LeakyReLU(0.2),
    "tanh": nn.Tanh,
    "elu": nn.ELU,
}


def _hidden(n_in: int, width: int, depth: int, activation: str) -> nn.Sequential:
    """`depth` layers of `width`, each followed by the activation."""
    positive(width=width, depth=depth)
    if activation not in ACTIVATIONS:
        raise unknown("activation", activation, ACTIVATIONS)
    layers = []
    for n in [n_in] + [width] * (depth - 1):
        layers += [nn.Linear(n, width), ACTIVATIONS[activation]()]
    return nn.Sequential(*layers)


class MlpGenerator(nn.Module):
    """x = W h(z, c) + b with `depth` hidden layers of `width` units; (z, known(c)) is the input. tanh if `bounded`.

    Weights and biases start at torch's default U(±1/√fan_in), whose sd is 1/√(3·fan_in): the outputs are small at
    first, which the ring of 8 modes likes. forward(z (B, latent), c (B, K) | None) -> (B, *shape), for any shape.
    """

    def __init__(
        self,
        shape: tuple[int, ...],
        latent: int,
        condition: int = 0,
        bounded: bool = False,
        *,
        width: int = 128,
        depth: int = 3,
        activation: Literal["relu", "leaky_relu", "tanh", "elu"] = "leaky_relu",
    ):
        super().__init__()
        self.shape, self.latent, self.condition, self.bounded = shape, latent, condition, bounded
        self.width, self.depth, self.activation = width, depth, activation
        self.body = nn.Sequential(
            _hidden(latent + inputs(condition), width, depth, activation),
            nn.Linear(width, math.prod(shape)),
            nn.Unflatten(1, tuple(shape)),
            range_of(bounded),
        )

    def forward(self, z: Tensor, c: Tensor | None = None) -> Tensor:
        return self.body(torch.cat([z, given(c, self.condition, z)], 1))


class _Features(nn.Module):
    def __init__(self, n_in: int, condition: int, width: int, depth: int, activation: str):
        super().__init__()
        self.condition = condition
        self.body = _hidden(n_in + inputs(condition), width, depth, activation)

    def forward(self, x: Tensor, c: Tensor | None = None) -> Tensor:
        return self.body(torch.cat([x.flatten(1), given(c, self.condition, x)], 1))


class MlpDiscriminator(nn.Module):
    """logit = w · features(x, c) + b with `depth` hidden layers of `width` units; (x, known(c)) is the input.

    Weights and biases start at torch's default U(±1/√fan_in), whose sd is 1/√(3·fan_in), those of the first layer
    `fine` times as large: the logit then bends on scales so many times smaller. A network that starts smooth may stay
    so, and blind to modes much narrower than the data, for thousands of turns (Tancik et al. 2020, arXiv:2006.10739).
    minibatch: a layer of `heads` before the last one;  spectral: `layers.unit_norms`.
    forward(x (B, *shape), c (B, K) | None) -> logits (B,), at least float32; `features` gives (B, width).
    """

    def __init__(
        self,
        shape: tuple[int, ...],
        condition: int = 0,
        *,
        width: int = 128,
        depth: int = 3,
        activation: Literal["relu", "leaky_relu", "tanh", "elu"] = "leaky_relu",
        minibatch: Literal["none", "discrimination", "deviation"] = "none",
        spectral: bool = False,
        fine: Positive = 1.0,
    ):
        super().__init__()
        self.shape, self.condition = shape, condition
        self.width, self.depth, self.activation = width, depth, activation
        self.minibatch, self.spectral, self.fine = minibatch, spectral, fine
        self.features = _Features(math.prod(shape), condition, width, depth, activation)
        with torch.no_grad():
            for p in self.features.body[0].parameters():
                p *= fine
        self.head = head(width, minibatch)
        if spectral:
            unit_norms(self)

    def forward(self, x: Tensor, c: Tensor | None = None) -> Tensor:
        return logits(self.head(self.features(x, c)))
