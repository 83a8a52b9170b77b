"""Invertible conditional GANs: a conditional GAN, and two encoders that undo it."""

from functools import partial

import torch
from torch import Tensor, nn

from ludus.game import Batch, Encodes, Game, Generates, Labels, Loss, Player
from ludus.losses import adversarial
from ludus.losses.penalties import half_square, value_and_slope
from ludus.networks.check import check_rows_alone
from ludus.networks.laws import Law
from ludus.ranges import NotNegative

BIBTEX = """@misc{perarnau2016icgan,
  title         = {Invertible Conditional {GANs} for image editing},
  author        = {Perarnau, Guim and van de Weijer, Joost and Raducanu, Bogdan and {\\'A}lvarez, Jose M.},
  year          = {2016},
  eprint        = {1611.06355},
  archivePrefix = {arXiv},
}"""


class ICGAN(Generates, Encodes, Labels, Game):
    """What an x has beside its label goes into z: change the label, keep z, and decode (Perarnau et al. 2016).

    With a = σ⁻¹(D), z ~ p(z), x̃ = G(z, c), c' the label of another row where it is another label:

        discriminator   −E log D(x, c) − ½ E log(1 − D(x, c')) − ½ E log(1 − D(x̃, c))
        generator       −E log D(x̃, c)
        encoder         E|z − E_z(x̃)|²       on generated data, where z is known; or −E log q(z|x̃), where it gives a law
        labeller        E|c − E_y(x)|²        on real data, over the rows whose label is known

    A pair of real data and a wrong label is as bad as a generated one: it is what makes D look at the label. The
    paper's stages are the trainer's: {"generator": [0, 0.6], "discriminator": [0, 0.6], "encoder": [0.6, 1]}; the
    labeller depends on nobody. E_z never sees real data, and is good on them as far as G makes such. The labels are
    0 and 1 or standardised numbers here, in the paper −1 and 1.

    Args:
        generator: (z, c) -> x.    discriminator: (x, c) -> a (B,).    encoder: x -> a point z, or q(z|x); it is not
            told c.    labeller: x -> (B, K).    prior: p(z).
        gamma: γ/2 E|∇a|² in x on real and on generated data; 0 is the paper's game, which has batch norm instead.
    """

    cross_entropies = True

    def __init__(
        self,
        generator: nn.Module,
        discriminator: nn.Module,
        encoder: nn.Module,
        labeller: nn.Module,
        prior: nn.Module,
        *,
        gamma: NotNegative = 0.0,
    ):
        super().__init__()
        if gamma:
            check_rows_alone(discriminator)
        self.generator, self.discriminator, self.prior = generator, discriminator, prior
        self.encoder, self.labeller, self.gamma = encoder, labeller, gamma

    @property
    def players(self) -> dict[str, Player]:
        return {
            "discriminator": Player([self.discriminator], self.discriminator_loss),
            "generator": Player([self.generator], self.generator_loss),
            "encoder": Player([self.encoder], self.encoder_loss),
            "labeller": Player([self.labeller], self.labeller_loss),
        }

    def discriminator_loss(self, batch: Batch) -> Loss:
        f, fake = partial(self.discriminator, c=batch.c), self.shown(batch)
        a_real, a_fake = f(batch.x), f(fake)
        terms = {"real": adversarial.real(a_real), "fake": adversarial.fake(a_fake) / 2}
        other = batch.c.roll(1, 0)
        wrong = ((other != batch.c) & ~other.isnan() & ~batch.c.isnan()).any(1)
        a_wrong = self.discriminator(batch.x, c=other)
        a_wrong = a_wrong[wrong.view(len(a_wrong), -1).any(1)]  # of a pack, where one label of it is
        terms["mismatched"] = nn.functional.softplus(a_wrong).sum() / max(len(a_wrong), 1) / 2
        if self.gamma:
            for name, x in (("r1", batch.x), ("r2", fake)):
                terms[name] = self.gamma * half_square(value_and_slope(f, x)[1])
        return Loss(terms, {"accuracy": adversarial.accuracy(a_real, a_fake)})

    def generator_loss(self, batch: Batch) -> Loss:
        return Loss({"heuristic": adversarial.heuristic(self.discriminator(self.live(batch), c=batch.c))})

    def encoder_loss(self, batch: Batch) -> Loss:
        z = self.prior.sample(len(batch.x), batch.c)
        with torch.set_grad_enabled(self.attached):
            fake = self.generator(z, batch.c)
        q = self.encoder(fake)
        if q.deterministic:
            return Loss({"regression": (z - q.mean).square().sum(1).mean()})
        return Loss({"log_q": -q.log_prob(z).mean()})

    def labeller_loss(self, batch: Batch) -> Loss:
        known = ~batch.c.isnan().any(1)
        off = (self.labeller(batch.x) - batch.c.nan_to_num()).square().sum(1)
        return Loss({"regression": (off * known).sum() / known.sum().clamp_min(1)})

    def posterior(self, x: Tensor, c: Tensor | None = None) -> Law:
        """q(z | x), without c."""
        return self.encoder(x)

    def label(self, x: Tensor) -> Tensor:
        return self.labeller(x)
