"""The VAE-GAN: a variational autoencoder whose reconstructions are judged by a discriminator's features."""

from typing import Literal

import torch
from torch import Tensor, nn

from ludus.game import Batch, Game, Generates, HasEncoder, Loss, Player
from ludus.losses import adversarial
from ludus.networks.check import check_law
from ludus.networks.features import features_at, layer_of
from ludus.networks.laws import divergence
from ludus.ranges import Share

BIBTEX = """@inproceedings{larsen2016vaegan,
  title     = {Autoencoding beyond pixels using a learned similarity metric},
  author    = {Larsen, Anders Boesen Lindbo and S{\\o}nderby, S{\\o}ren Kaae and Larochelle, Hugo and Winther, Ole},
  booktitle = {International Conference on Machine Learning},
  year      = {2016},
}"""


class VAEGAN(Generates, HasEncoder, Game):
    """An autoencoder that is right in what a discriminator looks at, not in each pixel (Larsen et al. 2016).

    With z ~ q(z|x), x̃ = G(z), z_p ~ p(z), x_p = G(z_p), f the features of the discriminator, a = σ⁻¹(D):

        L_features = −log N(f(x); f(x̃), 1) = ½ |f(x) − f(x̃)|² + const
        L_GAN      = log D(x) + log(1 − D(x_p)) [+ log(1 − D(x̃))]

        encoder         KL(q(z|x) ‖ p(z)) + L_features       nothing of L_GAN
        generator       γ L_features + (1 − γ) L_GAN         the paper's decoder: it lowers what D raises; (1 − γ) is
                                                             the authors' code's, the paper prints 1
        discriminator   −L_GAN                               nothing of L_features: it would make f constant

    L_features is a sum over all features and L_GAN one number, hence a small γ. The paper prints L_GAN with x̃; its
    experiments leave x̃ out, as is done here unless fakes="both". No p(x|z) of pixels is left, so p(x) has no meaning.

    Args:
        encoder: (x, c) -> q(z|x).    generator: (z, c) -> x.    discriminator: (x, c) -> a (B,).    prior: p(z).
        gamma: γ.    layer: f: "convolution", the output of the last one, as in the paper (without any: the features);
            "features", the last before the logit; or a layer by its name in the network, "features.rest.1".
        fakes: which generated data the discriminator is shown.
        cost: what the generator does about them: minimax as printed, or heuristic, −log D, which does not vanish where
            D is sure.
    """

    cross_entropies = True

    def __init__(
        self,
        encoder: nn.Module,
        generator: nn.Module,
        discriminator: nn.Module,
        prior: nn.Module,
        *,
        gamma: Share = 0.01,
        layer: str = "convolution",
        fakes: Literal["prior", "both"] = "prior",
        cost: Literal["minimax", "heuristic"] = "minimax",
    ):
        super().__init__()
        check_law(encoder, prior, "vae_gan")
        layer_of(discriminator, layer)
        self.encoder, self.generator, self.discriminator, self.prior = encoder, generator, discriminator, prior
        self.gamma, self.layer, self.fakes, self.cost = gamma, layer, fakes, cost

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
        if self.fakes == "both":
            with torch.set_grad_enabled(self.attached):
                again = self.decode(self.code(batch), batch.c)
            terms["reconstructed"] = adversarial.fake(self.discriminator(again, c=batch.c))
        return Loss(terms, {"accuracy": adversarial.accuracy(a_real, a_fake)})

    def encoder_loss(self, batch: Batch) -> Loss:
        q = self.encoder(batch.x, batch.c)
        z = q.rsample()
        kl = divergence(q, self.prior, z).sum(1).mean()
        return Loss({"kl": kl, "features": self.mismatch(batch, self.decode(z, batch.c))}, {"nats": kl})

    def generator_loss(self, batch: Batch) -> Loss:
        cost = adversarial.COSTS[self.cost]
        game = cost(self.discriminator(self.live(batch), c=batch.c))
        again = self.decode(self.code(batch), batch.c)
        if self.fakes == "both":
            game = game + cost(self.discriminator(again, c=batch.c))
        return Loss({"features": self.gamma * self.mismatch(batch, again), self.cost: (1 - self.gamma) * game})

    def code(self, batch: Batch) -> Tensor:
        """z ~ q(z|x); no gradient leads back to the encoder."""
        with torch.set_grad_enabled(self.attached):
            return self.encoder(batch.x, batch.c).rsample()

    def mismatch(self, batch: Batch, again: Tensor) -> Tensor:
        """E ½ |f(x) − f(x̃)|², a sum over features."""
        f, f_again = (features_at(self.discriminator, self.layer, x, batch.c) for x in (batch.x, again))
        return (f - f_again).square().sum(1).mean() / 2
