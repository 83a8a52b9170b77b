"""The adversarial autoencoder."""

import torch
from torch import Tensor, nn

from ludus.errors import UserError
from ludus.game import Batch, Encodes, Game, HasDecoder, Loss, Player
from ludus.losses import adversarial
from ludus.networks.laws import Law
from ludus.networks.lenses import Lensed

BIBTEX = """@article{makhzani2015aae,
  title   = {Adversarial Autoencoders},
  author  = {Makhzani, Alireza and Shlens, Jonathon and Jaitly, Navdeep and Goodfellow, Ian and Frey, Brendan},
  journal = {arXiv:1511.05644},
  year    = {2015},
}"""


class AAE(HasDecoder, Encodes, Game):
    """An autoencoder whose codes a discriminator cannot tell from the prior (Makhzani et al. 2015).

        autoencoder     −E log p(x|z),  z ~ q(z|x)
        discriminator   −E log D(z_p) − E log(1 − D(z)),  z_p ~ p(z)
        encoder         −E log D(z)                         the same encoder, with an optimiser of its own

    What is brought to the prior is q(z) = E_x q(z|x), all codes together: any prior that can be drawn from will do. A
    single q(z|x) is held to nothing and mostly shrinks to a point, so it is no calibrated posterior of x. The encoder
    is a point, a Gaussian, or fed with noise (encoder.posterior); the lecture's slide, "VAE's latent (+ seed) as input
    of GAN", is the last.

    Conditions: the discriminator is told c, so that the codes of each c follow p(z|c). With a prior that knows of no c
    z is then independent of it, and carries style alone; with "mixture" or "swiss_roll" each class has its place.
    Unknown c: compared with the whole prior, which is the paper's semi-supervised shaping. The encoder is never told.

    Args:
        encoder: x -> q(z|x).    decoder: (z, c) -> p(x|z).    discriminator: (z, c) -> logits (B,).    prior: p(z).
        offset: log p(z) is added to the logit, which then need only learn −log q(z) (a prior with a density).
    """

    def __init__(
        self,
        encoder: nn.Module,
        decoder: nn.Module,
        discriminator: nn.Module,
        prior: nn.Module,
        *,
        offset: bool = False,
    ):
        super().__init__()
        if offset and (not hasattr(prior, "log_prob") or getattr(prior, "bounded", False)):
            raise UserError(
                "method.offset adds log p(z) to the logit: it needs a prior with tails, gaussian or mixture"
            )
        if offset and isinstance(discriminator, Lensed):
            raise UserError("method.offset is the density of one z as it is, which a lens would falsify: no [lens]")
        self.encoder, self.decoder, self.discriminator, self.prior = encoder, decoder, discriminator, prior
        self.offset = offset

    @property
    def players(self) -> dict[str, Player]:
        return {
            "autoencoder": Player([self.encoder, self.decoder], self.autoencoder_loss),
            "discriminator": Player([self.discriminator], self.discriminator_loss),
            "encoder": Player([self.encoder], self.encoder_loss),
        }

    def posterior(self, x: Tensor, c: Tensor | None = None) -> Law:
        return self.encoder(x)

    def autoencoder_loss(self, batch: Batch) -> Loss:
        z = self.encoder(batch.x).rsample()
        return Loss({"reconstruction": -self.decoder(z, batch.c).log_prob(batch.x).mean()})

    def discriminator_loss(self, batch: Batch) -> Loss:
        with torch.set_grad_enabled(self.attached):
            z = self.encoder(batch.x).rsample()
        a_prior, a_code = self.logits(self.prior.sample(len(z), batch.c), batch.c), self.logits(z, batch.c)
        terms = {"prior": adversarial.real(a_prior), "code": adversarial.fake(a_code)}
        return Loss(terms, {"accuracy": adversarial.accuracy(a_prior, a_code)})

    def encoder_loss(self, batch: Batch) -> Loss:
        z = self.encoder(batch.x).rsample()
        return Loss({"heuristic": adversarial.heuristic(self.logits(z, batch.c))})

    def logits(self, z: Tensor, c: Tensor | None) -> Tensor:
        """a(z), high on the prior."""
        a = self.discriminator(z, c=c)
        return a + self.prior.log_prob(z) if self.offset else a
