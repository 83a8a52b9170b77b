"""Unrolled generative adversarial networks."""

from functools import partial
from typing import Literal

import torch
from torch import Tensor, nn
from torch.func import functional_call

from ludus.errors import UserError
from ludus.game import Batch, Game, Generates, Loss, Player
from ludus.losses import adversarial
from ludus.networks.check import batch_norm
from ludus.ranges import Many, Positive

BIBTEX = """@inproceedings{metz2017unrolled,
  title     = {Unrolled Generative Adversarial Networks},
  author    = {Metz, Luke and Poole, Ben and Pfau, David and Sohl-Dickstein, Jascha},
  booktitle = {International Conference on Learning Representations},
  year      = {2017},
}"""


class UnrolledGAN(Generates, Game):
    """The generator fools the discriminator as it will be after K more steps of its own (Metz et al. 2017).

    With f(θ, ψ) = −E log D(x) − E log(1 − D(x̃)), x̃ = G(z), which the discriminator ψ lowers by ordinary moves:

        ψ⁰ = ψ,   ψᵏ⁺¹ = ψᵏ − rate · ∂f(θ, ψᵏ)/∂ψ
        generator   minimax     −f(θ, ψᴷ)                both are differentiated
                    heuristic   −E log D(x̃; ψᴷ)         through the K steps too

    The second part of the gradient, ∂ψᴷ/∂θ, says how the discriminator will answer: to put all mass on one mode does
    not pay when D is about to catch it. K = 0 is the plain GAN. So is K → ∞ under minimax, where ∂f/∂ψ at ψᴷ is 0.
    Near the equilibrium of the Dirac-GAN the eigenvalues are those of R1 with γ = K · rate / 2.

    The K steps are plain gradient steps on the turn's own rows. (The authors' code takes Adam's, at 1e-4 and with the
    discriminator's moments.) On the ring of 8 modes a rate ten times the default already lost modes. The discriminator
    must have no batch norm: its statistics would advance K + 1 times.

    Args:
        generator: (z, c) -> x.    discriminator: (x, c) -> logits (B,).    prior: z ~ p(z).
        cost: the generator's cost.    unroll: K.    rate: of the K steps, for logits and losses without the ½.
    """

    cross_entropies = True

    def __init__(
        self,
        generator: nn.Module,
        discriminator: nn.Module,
        prior: nn.Module,
        *,
        cost: Literal["minimax", "heuristic"] = "heuristic",
        unroll: Many = 5,
        rate: Positive = 0.003,
    ):
        super().__init__()
        if batch_norm(discriminator):
            raise UserError("an unrolled discriminator steps without moving, but its batch norm would: take that out")
        self.generator, self.discriminator, self.prior = generator, discriminator, prior
        self.cost, self.unroll, self.rate = cost, unroll, rate

    @property
    def players(self) -> dict[str, Player]:
        return {
            "discriminator": Player([self.discriminator], self.discriminator_loss),
            "generator": Player([self.generator], self.generator_loss),
        }

    def discriminator_loss(self, batch: Batch) -> Loss:
        f, fake = partial(self.discriminator, c=batch.c), self.shown(batch)
        a_real, a_fake = f(batch.x), f(fake)
        terms = {"real": adversarial.real(a_real), "fake": adversarial.fake(a_fake)}
        return Loss(terms, {"accuracy": adversarial.accuracy(a_real, a_fake)})

    def generator_loss(self, batch: Batch) -> Loss:
        fake = self.live(batch)
        weights = self.unrolled(batch, fake)
        terms = {self.cost: adversarial.COSTS[self.cost](self._logits(weights, fake, batch.c))}
        if self.cost == "minimax" and self.unroll:  # at K = 0 nothing of it depends on the generator
            terms["real"] = -adversarial.real(self._logits(weights, batch.x, batch.c))
        return Loss(terms)

    def unrolled(self, batch: Batch, fake: Tensor) -> dict[str, Tensor]:
        """ψᴷ by name, as a function of the generated rows and of ψ."""
        weights = {name: p for name, p in self.discriminator.named_parameters() if p.requires_grad}
        with torch.enable_grad():
            for _ in range(self.unroll):
                real, made = (self._logits(weights, x, batch.c) for x in (batch.x, fake))
                f = adversarial.real(real) + adversarial.fake(made)
                slopes = torch.autograd.grad(f, weights.values(), create_graph=True)
                weights = {name: w - self.rate * slope for (name, w), slope in zip(weights.items(), slopes)}
        return weights

    def _logits(self, weights: dict[str, Tensor], x: Tensor, c: Tensor | None) -> Tensor:
        return functional_call(self.discriminator, weights, (x,), {"c": c})
