"""The nouns: a generative model is a game.

Player i owns parameters and lowers a loss that depends on what the others own too. A VAE is a game of one player, a GAN
of two, a VAE-GAN of three. A method is a small final class that states its players and their losses; `trainer.py`
plays any of them.
"""

import abc
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from ludus.networks.laws import Law, Pixels


class Batch(NamedTuple):
    """Data x, (B, C, H, W) or (B, D), and conditions c, (B, K): one-hot or standardised, NaN = unknown; or None."""

    x: Tensor
    c: Tensor | None = None


class Loss(NamedTuple):
    """What a player lowers, and what it measured on the way."""

    terms: dict[str, Tensor]  # named scalars; the player lowers their sum
    seen: dict[str, Tensor] = {}  # noqa: RUF012  (accuracy, ...): logged, never summed

    @property
    def total(self) -> Tensor:
        return sum(self.terms.values())


@dataclass(frozen=True)
class Player:
    """One side of the game."""

    owns: Sequence[nn.Module]  # a module may have two owners, each with an optimiser of its own
    loss: Callable[[Batch], Loss]
    every: int = 1  # moves when (turn + 1) % every == 0: n_critic, asynchronous training
    after: Callable[[], None] = field(default=lambda: None)  # what follows a move, e.g. WGAN's weight clipping

    @property
    def parameters(self) -> list[nn.Parameter]:
        """The parameters that it moves, each once; frozen ones are left alone."""
        owned = (p for module in self.owns for p in module.parameters() if p.requires_grad)
        return list(dict.fromkeys(owned))


class Game(nn.Module, abc.ABC):
    """A generative model: players, their losses, and how to draw from it."""

    @property
    @abc.abstractmethod
    def players(self) -> dict[str, Player]:
        """The players by name, in the order in which they move."""

    @abc.abstractmethod
    def sample(self, n: int, c: Tensor | None = None) -> Tensor:
        """n draws x ~ p(x | c), in the network's range."""

    # The fakes of a turn are drawn once and shared by its players, which saves a forward pass of the generator
    # (12 % of a turn of r3gan on MNIST). They are used up when the generator takes them, since it then moves.

    real_is_high = True  # the side of the discriminator's output on which real data are
    cross_entropies = False  # whether its costs "real" and "fake" are, so that they can be balanced about log 2

    _drawn: tuple[Batch, Tensor] | None = None
    attached = False  # consensus differentiates the discriminator's gradient in the generator's parameters

    def shown(self, batch: Batch) -> Tensor:
        """x̃ ~ p(x | c), one for each row of the batch, as a discriminator sees them: no gradient leads back."""
        if self._drawn is None or self._drawn[0] is not batch:
            with torch.enable_grad():
                self._drawn = batch, self.sample(len(batch.x), batch.c)
        return self._drawn[1] if self.attached else self._drawn[1].detach()

    def live(self, batch: Batch) -> Tensor:
        """The same x̃, if the batch has been shown any, with the gradient that leads to the generator."""
        self.shown(batch)
        (_, fake), self._drawn = self._drawn, None
        return fake

    def __getstate__(self) -> dict:
        return self.__dict__ | {"_drawn": None}  # a copy of a game does not carry a turn's graph along


# What a game may be able to do besides: asked for by type


class Decodes(abc.ABC):
    """A game with a latent z that is drawn from `prior` and determines x, up to pixel noise."""

    prior: nn.Module

    @abc.abstractmethod
    def decode(self, z: Tensor, c: Tensor | None = None) -> Tensor:
        """E[x | z, c], z (B, d), in the network's range: what pictures show. Where z determines x, x itself."""


class Generates(Decodes):
    """A game whose generator maps z to x."""

    generator: nn.Module

    def sample(self, n: int, c: Tensor | None = None) -> Tensor:
        return self.decode(self.prior.sample(n, c), c)

    def decode(self, z: Tensor, c: Tensor | None = None) -> Tensor:
        return self.generator(z, c)


class HasDecoder(Decodes):
    """A game with a law of x for a z, p(x | z, c)."""

    decoder: nn.Module

    def sample(self, n: int, c: Tensor | None = None) -> Tensor:
        return self.decoder(self.prior.sample(n, c), c).sample()

    def decode(self, z: Tensor, c: Tensor | None = None) -> Tensor:
        return self.decoder(z, c).mean


class Encodes(Decodes):
    """A game that also says which z an x may have come from."""

    @abc.abstractmethod
    def posterior(self, x: Tensor, c: Tensor | None = None) -> "Law":
        """q(z | x, c)."""


class HasEncoder(Encodes):
    """A game whose encoder is told x and c, and gives the law of z."""

    encoder: nn.Module

    def posterior(self, x: Tensor, c: Tensor | None = None) -> "Law":
        return self.encoder(x, c)


class Labels(abc.ABC):
    """A game that says which label an x has."""

    @abc.abstractmethod
    def label(self, x: Tensor) -> Tensor:
        """E[c | x], (B, K): probabilities of classes, and values as the network has them."""


class Recognises(Decodes):
    """A game that finds again, in an x, the part of z that is its prior's codes."""

    @abc.abstractmethod
    def recognise(self, x: Tensor, c: Tensor | None = None) -> Tensor:
        """What Q says of the codes, (B, prior.numbers): logits of categories, means of values."""


class HasLikelihood(HasDecoder, HasEncoder):
    """A game whose p(x | c) = ∫ p(x | z, c) p(z) dz is what it raises; its encoder proposes z."""

    def likelihood(self, z: Tensor, c: Tensor | None = None) -> "Pixels":
        """p(x | z, c), z (..., B, d)."""
        return self.decoder(z, c)
