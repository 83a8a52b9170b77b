"""The Wasserstein GAN with gradient penalty."""

from functools import partial

from torch import nn

from ludus.game import Batch, Game, Generates, Loss, Player
from ludus.losses.adversarial import ordered
from ludus.losses.penalties import Lazily, gradient_penalty
from ludus.networks.check import check_rows_alone
from ludus.ranges import Count, NotNegative

BIBTEX = """@inproceedings{gulrajani2017wgangp,
  title     = {Improved Training of {W}asserstein {GAN}s},
  author    = {Gulrajani, Ishaan and Ahmed, Faruk and Arjovsky, Martin and Dumoulin, Vincent and Courville, Aaron},
  booktitle = {Advances in Neural Information Processing Systems},
  volume    = {30},
  year      = {2017},
}"""


class WGANGP(Generates, Game):
    """A critic of slope near 1 estimates the Wasserstein distance, the generator lowers it (Gulrajani et al. 2017).

        critic      E f(G(z)) − E f(x) + weight · E(|∇f(x̂)| − target)²,   x̂ on the lines from x to G(z)
        generator   −E f(G(z))

    The critic is high on real data (the lecture and `wgan` have the opposite sign). Between two points at distance d
    the best slope is target + d / (2 weight), not target: the critic over-reads the distance, by a factor 6 at d = 1
    and the toys' weight of 0.1. The critic must treat each row on its own: no batch norm.

    Args:
        generator: (z, c) -> x.    discriminator: the critic f, (x, c) -> (B,).    prior: z ~ p(z).
        weight: λ of the penalty (the paper: 10 for images, 0.1 for the 2-D toys).    target: the slope it asks for.
        n_critic: critic moves per generator move.
        one_sided: only a slope above the target costs, E max(0, |∇f(x̂)| − target)² (Petzka et al. 2018).
        lazy: the penalty is taken on every lazy-th move of the critic, lazy times as strong.
    """

    def __init__(
        self,
        generator: nn.Module,
        discriminator: nn.Module,
        prior: nn.Module,
        *,
        weight: NotNegative = 10.0,
        target: NotNegative = 1.0,
        n_critic: Count = 5,
        one_sided: bool = False,
        lazy: Count = 1,
    ):
        super().__init__()
        check_rows_alone(discriminator)
        self.generator, self.discriminator, self.prior = generator, discriminator, prior
        self.weight, self.target, self.n_critic = weight, target, n_critic
        self.one_sided, self.lazy, self.lazily = one_sided, lazy, Lazily(lazy)

    @property
    def players(self) -> dict[str, Player]:
        return {
            "discriminator": Player([self.discriminator], self.discriminator_loss, after=self.lazily.moved),
            "generator": Player([self.generator], self.generator_loss, every=self.n_critic),
        }

    def discriminator_loss(self, batch: Batch) -> Loss:
        f, x_fake = partial(self.discriminator, c=batch.c), self.shown(batch)
        real, fake, penalty = f(batch.x), f(x_fake), {}
        if factor := self.lazily.factor:
            slopes = gradient_penalty(f, batch.x, x_fake, len(x_fake) // len(fake), self.target, self.one_sided)
            penalty = {"penalty": factor * self.weight * slopes}
        return Loss({"fake": fake.mean(), "real": -real.mean()} | penalty, {"accuracy": ordered(real, fake)})

    def generator_loss(self, batch: Batch) -> Loss:
        return Loss({"fake": -self.discriminator(self.live(batch), c=batch.c).mean()})
