"""The latent regressor: a GAN, and an encoder that learns from what the generator makes."""

import torch
from torch import Tensor, nn

from ludus.game import Batch, Game, Generates, HasEncoder, Loss, Player
from ludus.losses import adversarial
from ludus.networks.check import check_point
from ludus.ranges import NotNegative

BIBTEX = """@inproceedings{donahue2017bigan,
  title     = {Adversarial Feature Learning},
  author    = {Donahue, Jeff and Kr{\\"a}henb{\\"u}hl, Philipp and Darrell, Trevor},
  booktitle = {International Conference on Learning Representations},
  year      = {2017},
}"""


class LatentRegressor(Generates, HasEncoder, Game):
    """An encoder that finds z from G(z), beside a GAN that may or may not help it (Donahue et al. 2017, section 4.1).

    With a = σ⁻¹(D), z ~ p(z), x̃ = G(z):

        discriminator   −E log D(x) − E log(1 − D(x̃))
        encoder         E|z − E(x̃)|²
        generator       −E log D(x̃) + weight · E|z − E(x̃)|²

    BiGAN's baseline: the encoder never sees data, and is good on data as far as the generator makes such. weight = 0 is
    the paper's LR; with a weight the two help each other, the paper's joint LR, for which it took ¼; at 1 it
    degenerated.

    Args:
        encoder: (x, c) -> a point z.    generator: (z, c) -> x.    discriminator: (x, c) -> a (B,).    prior: p(z).
        weight: of the regression in the generator's loss, where |z − E|² is a sum over the d numbers.
    """

    cross_entropies = True

    def __init__(
        self,
        encoder: nn.Module,
        generator: nn.Module,
        discriminator: nn.Module,
        prior: nn.Module,
        *,
        weight: NotNegative = 0.0,
    ):
        super().__init__()
        check_point(encoder, "latent_regressor")
        self.encoder, self.generator, self.discriminator, self.prior = encoder, generator, discriminator, prior
        self.weight = weight

    @property
    def players(self) -> dict[str, Player]:
        return {
            "discriminator": Player([self.discriminator], self.discriminator_loss),
            "encoder": Player([self.encoder], self.encoder_loss),
            "generator": Player([self.generator], self.generator_loss),
        }

    def discriminator_loss(self, batch: Batch) -> Loss:
        a_real, a_fake = (self.discriminator(x, c=batch.c) for x in (batch.x, self.shown(batch)))
        terms = {"real": adversarial.real(a_real), "fake": adversarial.fake(a_fake)}
        return Loss(terms, {"accuracy": adversarial.accuracy(a_real, a_fake)})

    def encoder_loss(self, batch: Batch) -> Loss:
        z = self.prior.sample(len(batch.x), batch.c)
        with torch.set_grad_enabled(self.attached):
            fake = self.generator(z, batch.c)
        return Loss({"regression": self.distance(z, fake, batch.c)})

    def generator_loss(self, batch: Batch) -> Loss:
        terms = {"heuristic": adversarial.heuristic(self.discriminator(self.live(batch), c=batch.c))}
        if self.weight:
            z = self.prior.sample(len(batch.x), batch.c)
            terms["regression"] = self.weight * self.distance(z, self.generator(z, batch.c), batch.c)
        return Loss(terms)

    def distance(self, z: Tensor, x: Tensor, c: Tensor | None) -> Tensor:
        """E|z − E(x)|²."""
        return (z - self.encoder(x, c).mean).square().sum(1).mean()
