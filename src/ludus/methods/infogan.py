"""infoGAN: a GAN with codes that can be read from what it makes."""

import math

import torch
from torch import Tensor, nn

from ludus.game import Batch, Game, Generates, Loss, Player, Recognises
from ludus.losses import adversarial
from ludus.losses.penalties import half_square, value_and_slope
from ludus.networks.check import check_rows_alone
from ludus.networks.features import features_at, seen
from ludus.ranges import NotNegative

BIBTEX = """@inproceedings{chen2016infogan,
  title     = {{InfoGAN}: Interpretable Representation Learning by Information Maximizing Generative Adversarial Nets},
  author    = {Chen, Xi and Duan, Yan and Houthooft, Rein and Schulman, John and Sutskever, Ilya and Abbeel, Pieter},
  booktitle = {Advances in Neural Information Processing Systems},
  volume    = {29},
  year      = {2016},
}"""


class InfoGAN(Generates, Recognises, Game):
    """A GAN whose generator may not ignore a part of z, the codes k: a network Q finds them again (Chen et al. 2016).

    With a = σ⁻¹(D), z = (k, noise) ~ p(z), x̃ = G(z), h the discriminator's features:

        L_I             = H(k) + E log Q(k | h(x̃))  ≤ I(k; x̃) ≤ H(k)      the last for categories
        discriminator   −E log D(x) − E log(1 − D(x̃)) − weight · L_I      owns D and Q, which share D's trunk
        generator       −E log D(x̃) − weight · L_I

    Q learns from generated data alone, where the codes are known; that it then says something of real data, such as
    which digit it is, is what the paper finds. Values have a Gaussian Q of sd 1: −log Q is ½ (k − μ)², and a learned
    sd would let it outweigh the rest. H(k) is a constant: of U[-1, 1] it is log 2.

    Args:
        generator: (z, c) -> x.    discriminator: (x, c) -> a (B,), with `features` (x, c) -> h.    recogniser: h -> Q's
            numbers, see `networks.codes`.    prior: codes and noise.
        weight: λ of the information.
        gamma: γ/2 E|∇a|² on real and on generated data; 0 is the paper's game, which has batch norm instead.
    """

    cross_entropies = True

    def __init__(
        self,
        generator: nn.Module,
        discriminator: nn.Module,
        recogniser: nn.Module,
        prior: nn.Module,
        *,
        weight: NotNegative = 1.0,
        gamma: NotNegative = 0.0,
    ):
        super().__init__()
        if gamma:
            check_rows_alone(discriminator)
        self.generator, self.discriminator, self.recogniser, self.prior = generator, discriminator, recogniser, prior
        self.weight, self.gamma = weight, gamma

    @property
    def players(self) -> dict[str, Player]:
        return {
            "discriminator": Player([self.discriminator, self.recogniser], self.discriminator_loss),
            "generator": Player([self.generator], self.generator_loss),
        }

    def discriminator_loss(self, batch: Batch) -> Loss:
        with torch.set_grad_enabled(self.attached):
            z, fake = self.drawn(batch)
        a_real = self.discriminator(batch.x, c=batch.c)
        a_fake, information, found = self.judged(z, fake, batch.c)
        terms = {"real": adversarial.real(a_real), "fake": adversarial.fake(a_fake)}
        terms["information"] = -self.weight * information
        if self.gamma:
            for name, x in (("r1", batch.x), ("r2", fake)):
                slope = value_and_slope(lambda x: self.discriminator(x, c=batch.c), x)[1]
                terms[name] = self.gamma * half_square(slope)
        return Loss(terms, {"accuracy": adversarial.accuracy(a_real, a_fake), **found})

    def generator_loss(self, batch: Batch) -> Loss:
        z, fake = self.drawn(batch)
        a_fake, information, _ = self.judged(z, fake, batch.c)
        return Loss({"heuristic": adversarial.heuristic(a_fake), "information": -self.weight * information})

    def drawn(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """z and G(z), one for each row of the batch."""
        z = self.prior.sample(len(batch.x), batch.c)
        return z, self.generator(z, batch.c)

    def judged(self, z: Tensor, fake: Tensor, c: Tensor | None) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
        """a(x̃); L_I in nats; and apart, for the categories, where it is at most Σ log K, and as R² for the values."""
        a, h = seen(self.discriminator, fake, c)
        numbers = self.recogniser(h)
        categories, values = (each.mean() for each in self.prior.log_prob(numbers, z))
        found, (_, means), (_, truth) = {}, self.prior.parts(numbers), self.prior.parts(z[:, : self.prior.numbers])
        if self.prior.categories:
            found["categories"] = sum(math.log(k) for k in self.prior.categories) + categories
        if self.prior.values:
            found["values"] = 1 - 3 * (truth - means).square().mean()  # U[-1, 1] has the variance 1/3
        return a, self.prior.entropy + categories + values, found

    def recognise(self, x: Tensor, c: Tensor | None = None) -> Tensor:
        return self.recogniser(features_at(self.discriminator, "features", x, c))
