"""What says which label an x has."""

from functools import partial

import torch
from torch import Tensor, nn

from ludus.networks.check import trunk_of
from ludus.ranges import NotNegative


class Labeller(nn.Module):
    """x -> the numbers of its label: logits of classes, or the label itself, as its game has it.

    network: (x, c) -> features (B, width): a discriminator of the library, whose own head is not kept, or a network of
        the user's own.    shape: of the data.    labels: K.
    noise: sd of the Gaussian noise that is added to what each linear layer and convolution sees, in training alone:
        with few labels it is what keeps them from being learned by heart (Salimans et al. 2016 have .5).
    forward(x (B, *shape)) -> (B, K); `features` gives (B, width). It is not told c. Raises UserError where the network
    mixes rows by a minibatch layer.
    """

    def __init__(self, network: nn.Module, shape: tuple[int, ...], labels: int, *, noise: NotNegative = 0.0):
        super().__init__()
        self.noise = noise
        self.features, width = trunk_of("labeller", network, shape, 0)
        self.head = nn.Linear(width, labels)
        if noise:
            for layer in self.modules():
                if isinstance(layer, (nn.Linear, nn.Conv2d)):
                    layer.register_forward_pre_hook(partial(_noisy, noise))

    def forward(self, x: Tensor, c: None = None) -> Tensor:
        return self.head(self.features(x, c))


def _noisy(sd: float, layer: nn.Module, given: tuple[Tensor]) -> tuple[Tensor] | None:
    (h,) = given
    if not layer.training:
        return None
    noise = torch.randn(h.shape, dtype=h.dtype, device=h.device)  # randn_like of channels_last takes five times as long
    return (torch.add(h, noise, alpha=sd),)
