"""Generative adversarial nets."""

from functools import partial
from typing import Literal

import torch
from torch import Tensor, nn

from ludus.errors import UserError, unknown
from ludus.game import Batch, Game, Generates, Loss, Player
from ludus.losses import adversarial
from ludus.losses.history import History
from ludus.losses.penalties import PENALTIES, Lazily
from ludus.networks.check import check_features, check_rows_alone
from ludus.ranges import Count, NotNegative, Share

BIBTEX = """@inproceedings{goodfellow2014gan,
  title     = {Generative Adversarial Nets},
  author    = {Goodfellow, Ian and Pouget-Abadie, Jean and Mirza, Mehdi and Xu, Bing and Warde-Farley, David
               and Ozair, Sherjil and Courville, Aaron and Bengio, Yoshua},
  booktitle = {Advances in Neural Information Processing Systems},
  volume    = {27},
  year      = {2014},
}"""


class GAN(Generates, Game):
    """Two players: the discriminator tells real from generated, the generator fools it (Goodfellow et al. 2014).

    With a = σ⁻¹(D), x ~ data and x̃ = G(z):

        discriminator   −E log D(x) − E log(1 − D(x̃))          at its best D* = p / (p + q)
        generator       minimax               E log(1 − D(x̃))        gradient of 2 JSD(p, q) at D*
                        heuristic            −E log D(x̃)             gradient of KL(q‖p) − 2 JSD(p, q)
                        maximum_likelihood   −E exp(a(x̃))            gradient of KL(p‖q)
                        feature_matching     |E f(x) − E f(x̃)|²      f: the discriminator's features

    The first three are the lecture's games, each without its factor ½. Minimax gives no gradient where D is sure of
    a fake; under maximum likelihood a few samples carry nearly all of it. Two costs bring a discriminator's cost of
    their own; its output a is then no logit, but 0 is undecided still:

        least_squares   E(a(x) − 1)² + E(a(x̃) + 1)²             at its best a* = (p − q) / (p + q) (Mao et al. 2017)
                        cost 2 − ∫ (p − q)² / (p + q), the integral being the paper's Pearson χ²(p + q‖2q)
                        generator E(a(x̃) − 1)², gradient of 8 KL(p‖m) − 2 χ²(p‖m), m = (p + q) / 2
        hinge           E max(0, 1 − a(x)) + E max(0, 1 + a(x̃))  at its best a* = sign(p − q), cost 2 − 2 TV(p, q)
                        generator −E a(x̃)                        (Lim & Ye 2017, arXiv:1705.02894)

    Args:
        generator: (z, c) -> x.    discriminator: (x, c) -> a (B,), with `features` (x, c) -> (B, K) if they are to
            be matched.    prior: z ~ p(z).
        cost: the generator's cost, and with it the discriminator's.
        smoothing: one-sided label smoothing: this share of the real labels says generated (Salimans et al. 2016); then
            D* = (1 − smoothing) p / (p + q).
        penalties: weights γ of slope penalties on the discriminator, {"r1": γ, "r2": γ}: γ/2 E|∇a|² on real (r1) and on
            generated (r2) data; "gradient_penalty" and "gradient_penalty_one_sided": γ E(|∇a| − 1)² between the two.
            The discriminator must then treat each row on its own: no batch norm, no minibatch layer.
        lazy: the penalties are taken on every lazy-th move of the discriminator, lazy times as strong.
        history: weight of |θ − mean of past θ|² in each player's loss: historical averaging (Salimans et al. 2016).
    """

    def __init__(
        self,
        generator: nn.Module,
        discriminator: nn.Module,
        prior: nn.Module,
        *,
        cost: Literal[
            "minimax", "heuristic", "maximum_likelihood", "feature_matching", "least_squares", "hinge"
        ] = "heuristic",
        smoothing: Share = 0.0,
        penalties: dict[str, NotNegative] | None = None,
        lazy: Count = 1,
        history: NotNegative = 0.0,
    ):
        super().__init__()
        if cost not in adversarial.AGAINST:
            raise unknown("cost", cost, adversarial.AGAINST)
        if cost == "feature_matching":
            check_features(discriminator, "feature matching compares their means")
        for name in penalties or {}:
            if name not in PENALTIES:
                raise unknown("penalty", name, PENALTIES)
            check_rows_alone(discriminator)
        self.generator, self.discriminator, self.prior = generator, discriminator, prior
        self.cost, self.smoothing, self.penalties = cost, smoothing, penalties
        self.lazy, self.history = lazy, history
        self.lazily = Lazily(lazy)
        self.past = nn.ModuleDict({name: History(getattr(self, name)) for name in self.players} if history else {})

    @property
    def cross_entropies(self) -> bool:
        return self.cost not in ("least_squares", "hinge")

    @property
    def players(self) -> dict[str, Player]:
        return {
            "discriminator": Player([self.discriminator], self.discriminator_loss, after=self.discriminator_moved),
            "generator": Player([self.generator], self.generator_loss, after=partial(self.remember, "generator")),
        }

    def discriminator_loss(self, batch: Batch) -> Loss:
        f, fake = partial(self.discriminator, c=batch.c), self.shown(batch)
        a_real, a_fake = f(batch.x), f(fake)
        says_real, says_fake = adversarial.AGAINST[self.cost]
        real = says_real(a_real)
        if self.smoothing:
            real = (1 - self.smoothing) * real + self.smoothing * says_fake(a_real)
        terms = {"real": real, "fake": says_fake(a_fake)}
        if factor := self.lazily.factor:
            for name, weight in (self.penalties or {}).items():
                terms[name] = factor * weight * PENALTIES[name](f, batch.x, fake, len(fake) // len(a_fake))
        return Loss(terms | self.history_term("discriminator"), {"accuracy": adversarial.accuracy(a_real, a_fake)})

    def generator_loss(self, batch: Batch) -> Loss:
        fake = self.live(batch)
        if self.cost == "feature_matching":
            f = partial(self.discriminator.features, c=batch.c)
            with torch.set_grad_enabled(self.attached):  # consensus differentiates it in the discriminator's parameters
                real = f(batch.x)
            cost = adversarial.feature_matching(real, f(fake))
        else:
            cost = adversarial.COSTS[self.cost](self.discriminator(fake, c=batch.c))
        return Loss({self.cost: cost} | self.history_term("generator"))

    def history_term(self, name: str) -> dict[str, Tensor]:
        """The term that draws a player to its past, if there is one."""
        if not self.history:
            return {}
        if name not in self.past:
            raise UserError("history is annealed from 0: give [method] history above 0 too, so that the past is kept")
        return {"history": self.history * self.past[name](getattr(self, name))}

    def remember(self, name: str) -> None:
        if name in self.past:
            self.past[name].moved(getattr(self, name))

    def discriminator_moved(self) -> None:
        self.lazily.moved()
        self.remember("discriminator")
