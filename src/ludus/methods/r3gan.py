"""R3GAN: the relativistic pairing game with R1 and R2."""

from functools import partial

import torch
from torch import nn

from ludus.game import Batch, Game, Generates, Loss, Player
from ludus.losses.adversarial import ordered, relativistic
from ludus.losses.penalties import half_square, value_and_slope
from ludus.networks.check import check_rows_alone
from ludus.ranges import NotNegative

BIBTEX = """@inproceedings{huang2024r3gan,
  title     = {The {GAN} is dead; long live the {GAN}! {A} Modern {GAN} Baseline},
  author    = {Huang, Yiwen and Gokaslan, Aaron and Kuleshov, Volodymyr and Tompkin, James},
  booktitle = {Advances in Neural Information Processing Systems},
  volume    = {37},
  year      = {2024},
}"""


class R3GAN(Generates, Game):
    """Each generated sample plays against the real one beside it; both slopes are penalised (Huang et al. 2024).

        discriminator   E softplus(−(a(x) − a(x̃))) + γ/2 E|∇a(x)|² + γ/2 E|∇a(x̃)|²
        generator       E softplus(−(a(x̃) − a(x)))

    where a is the logit and x̃ = G(z). Pairing leaves no reward for dropping modes, since every real sample has to be
    matched; R1 and R2 on every turn make the equilibrium attract (either alone fails in the paper's ablation).
    The discriminator must treat each row on its own: no batch norm.

    Args:
        generator: (z, c) -> x.    discriminator: (x, c) -> logits (B,).    prior: z ~ p(z).
        gamma: γ of both penalties, in squared units of the data's range; the defaults anneal it to a tenth.
    """

    def __init__(self, generator: nn.Module, discriminator: nn.Module, prior: nn.Module, *, gamma: NotNegative = 1.0):
        super().__init__()
        check_rows_alone(discriminator)
        self.generator, self.discriminator, self.prior = generator, discriminator, prior
        self.gamma = gamma

    @property
    def players(self) -> dict[str, Player]:
        return {
            "discriminator": Player([self.discriminator], self.discriminator_loss),
            "generator": Player([self.generator], self.generator_loss),
        }

    def discriminator_loss(self, batch: Batch) -> Loss:
        fake, c = self.shown(batch), None if batch.c is None else batch.c.repeat(2, 1)
        a, slope = value_and_slope(partial(self.discriminator, c=c), torch.cat([batch.x, fake]))  # both in one pass
        (a_real, a_fake), (slope_real, slope_fake) = a.unflatten(0, (2, -1)), slope.unflatten(0, (2, -1))
        if self.attached:  # `value_and_slope` looks at points of its own; consensus asks where these come from
            a_fake = self.discriminator(fake, c=batch.c)
        terms = {
            "relativistic": relativistic(a_real, a_fake),
            "r1": self.gamma * half_square(slope_real),
            "r2": self.gamma * half_square(slope_fake),
        }
        return Loss(terms, {"accuracy": ordered(a_real, a_fake)})

    def generator_loss(self, batch: Batch) -> Loss:
        a_fake = self.discriminator(self.live(batch), c=batch.c)
        with torch.no_grad():
            a_real = self.discriminator(batch.x, c=batch.c)
        return Loss({"relativistic": relativistic(a_fake, a_real)})
