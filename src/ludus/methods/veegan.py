"""VEEGAN: a reconstructor that maps data back to noise."""

import math

import torch
from torch import Tensor, nn

from ludus.errors import UserError
from ludus.game import Batch, Encodes, Game, Generates, Loss, Player
from ludus.losses import adversarial
from ludus.networks.check import check_point
from ludus.networks.laws import DiagonalGaussian, Point
from ludus.networks.pairs import joined
from ludus.ranges import NotNegative

BIBTEX = """@inproceedings{srivastava2017veegan,
  title     = {{VEEGAN}: Reducing Mode Collapse in {GAN}s using Implicit Variational Learning},
  author    = {Srivastava, Akash and Valkov, Lazar and Russell, Chris and Gutmann, Michael U. and Sutton, Charles},
  booktitle = {Advances in Neural Information Processing Systems},
  volume    = {30},
  year      = {2017},
}"""


class VEEGAN(Generates, Encodes, Game):
    """A reconstructor F maps data back to the noise they came from; the generator helps it (Srivastava et al. 2017).

    With logits a of the pairs (x, z), z ~ p(z), x̃ = G(z) and ẑ ~ p(z|x) = N(F(x), spread²):

        discriminator   −E log σ(a(x̃, z)) − E log(1 − σ(a(x, ẑ)))       at its best a = log q(x|z) p(z) / p(z|x) p(x)
        encoder         E|z − F(x̃)|²
        generator       E a(x̃, z) + weight · E|z − F(x̃)|²

    F undoes G. On data that G does not produce it then gives something else than p(z), and the discriminator sees it: a
    dropped mode costs the generator. Here the logit is high on generated pairs. The losses are those of the paper's
    algorithm 1: no gradient reaches F through the discriminator. Where z has more numbers than x determines, F(x) alone
    lies on a surface that no z lies on, and the pairs are told apart at once: hence the spread, 1 as for z itself.

    Args:
        generator: (z, c) -> x.    encoder: F, the paper's reconstructor: (x, c) -> a point z.    prior: z ~ p(z).
        discriminator: (x, c) -> logits (B,), which gets the pair's z in front of c, (B, d + K).
        weight: of the reconstruction in the generator's loss, where |z − F|² is a sum over the d numbers.
        spread: standard deviation of the reconstructor's law about F(x), in each of the d.
    """

    cross_entropies = True

    def __init__(
        self,
        generator: nn.Module,
        discriminator: nn.Module,
        encoder: nn.Module,
        prior: nn.Module,
        *,
        weight: NotNegative = 1.0,
        spread: NotNegative = 1.0,
    ):
        super().__init__()
        check_point(encoder, "veegan")
        if spread and getattr(prior, "bounded", False):
            raise UserError("veegan's law of z has tails, this prior has none: prior.name=gaussian, or method.spread=0")
        self.generator, self.discriminator, self.encoder = generator, discriminator, encoder
        self.prior, self.weight, self.spread = prior, weight, spread

    @property
    def players(self) -> dict[str, Player]:
        return {
            "discriminator": Player([self.discriminator], self.discriminator_loss),
            "encoder": Player([self.encoder], self.encoder_loss),
            "generator": Player([self.generator], self.generator_loss),
        }

    def posterior(self, x: Tensor, c: Tensor | None = None) -> DiagonalGaussian | Point:
        mean = self.encoder(x, c).mean
        return DiagonalGaussian(mean, torch.full_like(mean, math.log(self.spread))) if self.spread else Point(mean)

    def pairs(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """(x̃, z), one for each row of the batch."""
        z = self.prior.sample(len(batch.x), batch.c)
        return self.generator(z, batch.c), z

    def logits(self, x: Tensor, z: Tensor, c: Tensor | None) -> Tensor:
        """a(x, z)."""
        return self.discriminator(x, c=joined(z, c))

    def discriminator_loss(self, batch: Batch) -> Loss:
        z = self.encoder(batch.x, batch.c).mean
        a_real = self.logits(batch.x, z + self.spread * torch.randn_like(z), batch.c)
        a_fake = self.logits(*self.pairs(batch), batch.c)
        terms = {"fake": adversarial.real(a_fake), "real": adversarial.fake(a_real)}
        return Loss(terms, {"accuracy": adversarial.accuracy(a_fake, a_real)})

    def encoder_loss(self, batch: Batch) -> Loss:
        return Loss({"reconstruction": self.distance(*self.pairs(batch), batch.c)})

    def generator_loss(self, batch: Batch) -> Loss:
        fake, z = self.pairs(batch)
        ratio = self.logits(fake, z, batch.c).mean()
        return Loss({"ratio": ratio, "reconstruction": self.weight * self.distance(fake, z, batch.c)})

    def distance(self, x: Tensor, z: Tensor, c: Tensor | None) -> Tensor:
        """E|z − F(x)|²."""
        return (z - self.encoder(x, c).mean).square().sum(1).mean()
