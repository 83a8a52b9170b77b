"""What says which label an x has."""

from torch import Tensor, nn

from ludus.networks.check import trunk_of


class Labeller(nn.Module):
    """x -> the numbers of its label: logits of classes, or the label itself, as its game has it.

    network: (x, c) -> features (B, width): a discriminator of the library, whose own head is not kept, or a network of
        the user's own.    shape: of the data.    labels: K.
    forward(x (B, *shape)) -> (B, K); `features` gives (B, width). It is not told c. Raises UserError where the network
    mixes rows by a minibatch layer.
    """

    def __init__(self, network: nn.Module, shape: tuple[int, ...], labels: int):
        super().__init__()
        self.features, width = trunk_of("labeller", network, shape, 0)
        self.head = nn.Linear(width, labels)

    def forward(self, x: Tensor, c: None = None) -> Tensor:
        return self.head(self.features(x, c))
