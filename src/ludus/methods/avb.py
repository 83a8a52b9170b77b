"""Adversarial variational Bayes: a variational autoencoder whose posterior needs no density."""

import torch
from torch import Tensor, nn

from ludus.errors import UserError
from ludus.game import Batch, Game, HasLikelihood, Loss, Player
from ludus.losses import adversarial
from ludus.networks.check import check_rows_alone, check_standard
from ludus.networks.laws import DiagonalGaussian, Law
from ludus.networks.lenses import Lensed
from ludus.networks.pairs import joined
from ludus.ranges import Count, NotNegative

BIBTEX = """@inproceedings{mescheder2017avb,
  title     = {Adversarial Variational {Bayes}: Unifying Variational Autoencoders and Generative Adversarial Networks},
  author    = {Mescheder, Lars and Nowozin, Sebastian and Geiger, Andreas},
  booktitle = {International Conference on Machine Learning},
  year      = {2017},
}"""


class AVB(HasLikelihood, Game):
    """The evidence lower bound, its KL estimated by a discriminator, so that q may be of any shape (Mescheder 2017).

        discriminator   −E log σ(T(x, z)) − E log(1 − σ(T(x, z_p)))      z ~ q(z|x), z_p ~ p(z); both x from the data
        autoencoder     E[−log p(x|z) + β T(x, z)]                       the gradient goes through z = z(x, ε)

    At its best T* = log q(z|x) − log p(z), and E_q of its gradient in the encoder's parameters is 0, so that they need
    not be followed through T. `contrast`: T compares w = (z − m) / s with N(0, 1) instead, m and s being the moments of
    q(z|x) at this x, held fixed; with r = N(m, s²)

        KL(q ‖ p) = KL(q ‖ r) + E_q[log r(z|x) − log p(z)],     T* = log q(z|x) − log r(z|x)

    which leaves to the discriminator the shape of q alone (the paper's adaptive contrast). ½ |w|² is added to the
    network's output, which need then learn log q only.

    The bound so estimated is none where T under-fits: the KL comes out too small. `run.log_likelihood` is the check.

    Args:
        encoder: (x, c) -> q(z|x), encoder.posterior=noise.    decoder: (z, c) -> p(x|z).    prior: N(0, 1).
        discriminator: (x, c) -> T (B,), which gets z or w in front of c, (B, d + K).
        beta: β.    contrast: whether it is adaptive.    n_critic: turns of the discriminator for one of the other.
    """

    FLOOR = 1e-3  # is added to s in quadrature: a q that shrinks to a point leaves T a w that is finite

    def __init__(
        self,
        encoder: nn.Module,
        decoder: nn.Module,
        discriminator: nn.Module,
        prior: nn.Module,
        *,
        beta: NotNegative = 1.0,
        contrast: bool = True,
        n_critic: Count = 1,
    ):
        super().__init__()
        if getattr(encoder, "posterior", "noise") == "point":
            raise UserError("avb needs a law of z: encoder.posterior=noise, or gaussian or flow; aae takes a point")
        check_standard(prior, "avb")
        if isinstance(discriminator, Lensed):
            raise UserError("avb's discriminator is a log-ratio of densities, which a lens would falsify: no [lens]")
        check_rows_alone(discriminator, "log-ratios")
        self.encoder, self.decoder, self.discriminator, self.prior = encoder, decoder, discriminator, prior
        self.beta, self.contrast, self.n_critic = beta, contrast, n_critic

    @property
    def players(self) -> dict[str, Player]:
        return {
            "discriminator": Player([self.discriminator], self.discriminator_loss),
            "autoencoder": Player([self.encoder, self.decoder], self.autoencoder_loss, every=self.n_critic),
        }

    def discriminator_loss(self, batch: Batch) -> Loss:
        with torch.set_grad_enabled(self.attached):
            q = self.encoder(batch.x, batch.c)
            z = q.rsample()
        w = self.standardised(z, self.rival(q, z))
        t_code, t_prior = (self.log_ratio(batch, each) for each in (w, torch.randn_like(w)))
        terms = {"code": adversarial.real(t_code), "prior": adversarial.fake(t_prior)}
        return Loss(terms, {"accuracy": adversarial.accuracy(t_code, t_prior)})

    def autoencoder_loss(self, batch: Batch) -> Loss:
        q = self.encoder(batch.x, batch.c)
        z = q.rsample()
        r = self.rival(q, z)
        kl = (self.log_ratio(batch, self.standardised(z, r)) + r.log_prob(z) - self.prior.log_prob(z)).mean()
        reconstruction = -self.decoder(z, batch.c).log_prob(batch.x).mean()
        terms = {"reconstruction": reconstruction, "kl": self.beta * kl}
        return Loss(terms, {"elbo": -reconstruction - kl, "nats": kl})

    @torch.no_grad()
    def rival(self, q: Law, z: Tensor) -> DiagonalGaussian:
        """r(z|x), what q is told from: the prior, or the Gaussian with its moments."""
        if not self.contrast:
            return DiagonalGaussian(torch.zeros_like(z), torch.zeros_like(z))
        # a Gaussian's mean is a tensor that is there already, which no_grad does not cut off
        return DiagonalGaussian(q.mean.detach(), (q.std.square() + self.FLOOR**2).log() / 2)

    def standardised(self, z: Tensor, r: DiagonalGaussian) -> Tensor:
        """w = (z − m) / s."""
        return (z - r.mean) / r.std

    def log_ratio(self, batch: Batch, w: Tensor) -> Tensor:
        """T(x, w) (B,)."""
        return self.discriminator(batch.x, c=joined(w, batch.c)) + w.square().sum(1) / 2
