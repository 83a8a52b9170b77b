"""Bidirectional GANs: a generator and an encoder against a discriminator of pairs."""

import torch
from torch import Tensor, nn

from ludus.game import Batch, Game, Generates, HasEncoder, Loss, Player
from ludus.losses import adversarial
from ludus.losses.penalties import half_square, value_and_slope
from ludus.networks.check import check_rows_alone
from ludus.networks.pairs import joined
from ludus.ranges import NotNegative

BIBTEX = """@inproceedings{donahue2017bigan,
  title     = {Adversarial Feature Learning},
  author    = {Donahue, Jeff and Kr{\\"a}henb{\\"u}hl, Philipp and Darrell, Trevor},
  booktitle = {International Conference on Learning Representations},
  year      = {2017},
}"""


class BiGAN(Generates, HasEncoder, Game):
    """A discriminator of pairs cannot tell (x, E(x)) from (G(z), z) (Donahue et al. 2017; Dumoulin et al. 2017).

    With logits a of pairs, x ~ data, ẑ ~ q(z|x), z ~ p(z), x̃ = G(z):

        discriminator        −E log σ(a(x, ẑ)) − E log(1 − σ(a(x̃, z)))
        encoder_generator    −E log(1 − σ(a(x, ẑ))) − E log σ(a(x̃, z))       one player, who owns both

    At the solution the two joint laws are one: q(z|x) is then the posterior of the generator, and a deterministic E its
    inverse. Nothing compares x with G(E(x)): short of the solution a reconstruction is another x of the same kind. The
    encoder is a point (BiGAN), or with encoder.posterior=gaussian a law (ALI, arXiv:1606.00704). The cost of the second
    player is the labels exchanged, which keeps both of its gradients where the discriminator is sure.

    Pairs are told apart more easily than data, and without the papers' batch norm the discriminator mostly wins: the
    defaults of the recipe have a `gamma`, γ/2 E|∇a|² on both kinds of pairs, the slope being that in x and z.

    Args:
        encoder: (x, c) -> q(z|x).    generator: (z, c) -> x.    prior: p(z).
        discriminator: (x, c) -> logits (B,), which gets the pair's z in front of c, (B, d + K).
        gamma: γ; 0 is the paper's game. With it the discriminator must treat each row on its own: no batch norm.
    """

    def __init__(
        self,
        encoder: nn.Module,
        generator: nn.Module,
        discriminator: nn.Module,
        prior: nn.Module,
        *,
        gamma: NotNegative = 0.0,
    ):
        super().__init__()
        if gamma:
            check_rows_alone(discriminator)
        self.encoder, self.generator, self.discriminator, self.prior = encoder, generator, discriminator, prior
        self.gamma = gamma

    @property
    def players(self) -> dict[str, Player]:
        return {
            "discriminator": Player([self.discriminator], self.discriminator_loss),
            "encoder_generator": Player([self.encoder, self.generator], self.encoder_generator_loss),
        }

    def discriminator_loss(self, batch: Batch) -> Loss:
        with torch.set_grad_enabled(self.attached):
            pairs = self.pairs(batch)
        a_real, a_fake = self.logits(*pairs, batch)
        terms = {"real": adversarial.real(a_real), "fake": adversarial.fake(a_fake)}
        if self.gamma:
            code, fake, z = pairs
            terms["r1"] = self.gamma * self.steepness(batch.x, code, batch.c)
            terms["r2"] = self.gamma * self.steepness(fake, z, batch.c)
        return Loss(terms, {"accuracy": adversarial.accuracy(a_real, a_fake)})

    def encoder_generator_loss(self, batch: Batch) -> Loss:
        a_real, a_fake = self.logits(*self.pairs(batch), batch)
        return Loss({"encoder": adversarial.fake(a_real), "generator": adversarial.real(a_fake)})

    def pairs(self, batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
        """ẑ, x̃ and z, one of each for each row of the batch."""
        z = self.prior.sample(len(batch.x), batch.c)
        return self.encoder(batch.x, batch.c).rsample(), self.generator(z, batch.c), z

    def logits(self, code: Tensor, fake: Tensor, z: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
        """a(x, ẑ) and a(x̃, z)."""
        real = self.discriminator(batch.x, c=joined(code, batch.c))
        return real, self.discriminator(fake, c=joined(z, batch.c))

    def steepness(self, x: Tensor, z: Tensor, c: Tensor | None) -> Tensor:
        """½ E|∇a(x, z)|², the slope in both."""

        def f(pair: Tensor) -> Tensor:
            one, other = pair.tensor_split([pair.shape[1] - z.shape[1]], 1)
            return self.discriminator(one.view_as(x), c=joined(other, c))

        return half_square(value_and_slope(f, torch.cat([x.flatten(1), z], 1))[1])
