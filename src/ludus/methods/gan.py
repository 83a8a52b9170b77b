"""Generative adversarial nets."""

from functools import partial
from typing import Literal

from torch import Tensor, nn

from ludus.errors import unknown
from ludus.game import Batch, Game, Loss, Player
from ludus.losses import adversarial
from ludus.losses.penalties import PENALTIES
from ludus.networks.check import check_rows_alone
from ludus.ranges import NotNegative, Share

BIBTEX = """@inproceedings{goodfellow2014gan,
  title     = {Generative Adversarial Nets},
  author    = {Goodfellow, Ian and Pouget-Abadie, Jean and Mirza, Mehdi and Xu, Bing and Warde-Farley, David
               and Ozair, Sherjil and Courville, Aaron and Bengio, Yoshua},
  booktitle = {Advances in Neural Information Processing Systems},
  volume    = {27},
  year      = {2014},
}"""


class GAN(Game):
    """Two players: the discriminator tells real from generated, the generator fools it (Goodfellow et al. 2014).

    With a = σ⁻¹(D), x ~ data and x̃ = G(z):

        discriminator   −E log D(x) − E log(1 − D(x̃))          at its best D* = p / (p + q)
        generator       minimax               E log(1 − D(x̃))        gradient of 2 JSD(p, q) at D*
                        heuristic            −E log D(x̃)             gradient of KL(q‖p) − 2 JSD(p, q)
                        maximum_likelihood   −E exp(a(x̃))            gradient of KL(p‖q)

    These are the lecture's three games, each without its factor ½. Minimax gives no gradient where D is sure of
    a fake; under maximum likelihood a few samples carry nearly all of it.

    Args:
        generator: (z, c) -> x.    discriminator: (x, c) -> logits (B,).    prior: z ~ p(z).
        cost: the generator's cost.
        smoothing: one-sided label smoothing, real labels are 1 − smoothing; then D* = (1 − smoothing) p / (p + q).
        penalties: weights γ of slope penalties on the discriminator, {"r1": γ, "r2": γ}: γ/2 E|∇a|² on real (r1) and
            on generated (r2) data. The discriminator must then treat each row on its own: no batch norm.
    """

    def __init__(
        self,
        generator: nn.Module,
        discriminator: nn.Module,
        prior: nn.Module,
        *,
        cost: Literal["minimax", "heuristic", "maximum_likelihood"] = "heuristic",
        smoothing: Share = 0.0,
        penalties: dict[str, NotNegative] | None = None,
    ):
        super().__init__()
        if cost not in adversarial.COSTS:
            raise unknown("cost", cost, adversarial.COSTS)
        for name in penalties or {}:
            if name not in PENALTIES:
                raise unknown("penalty", name, PENALTIES)
            check_rows_alone(discriminator)
        self.generator, self.discriminator, self.prior = generator, discriminator, prior
        self.cost, self.smoothing, self.penalties = cost, smoothing, penalties

    @property
    def players(self) -> dict[str, Player]:
        return {
            "discriminator": Player([self.discriminator], self.discriminator_loss),
            "generator": Player([self.generator], self.generator_loss),
        }

    def sample(self, n: int, c: Tensor | None = None) -> Tensor:
        return self.generator(self.prior.sample(n), c)

    def discriminator_loss(self, batch: Batch) -> Loss:
        f, fake = partial(self.discriminator, c=batch.c), self.shown(batch)
        a_real, a_fake = f(batch.x), f(fake)
        terms = {"real": adversarial.real(a_real, self.smoothing), "fake": adversarial.fake(a_fake)}
        for name, weight in (self.penalties or {}).items():
            terms[name] = weight * PENALTIES[name](f, batch.x, fake)
        return Loss(terms, {"accuracy": adversarial.accuracy(a_real, a_fake)})

    def generator_loss(self, batch: Batch) -> Loss:
        a = self.discriminator(self.live(batch), c=batch.c)
        return Loss({self.cost: adversarial.COSTS[self.cost](a)})
