"""The variational autoencoder, β-VAE among its settings."""

from torch import nn

from ludus.game import Batch, Game, HasLikelihood, Loss, Player
from ludus.networks.check import check_law
from ludus.networks.laws import divergence
from ludus.ranges import NotNegative

BIBTEX = """@inproceedings{kingma2014vae,
  title     = {Auto-Encoding Variational {Bayes}},
  author    = {Kingma, Diederik P. and Welling, Max},
  booktitle = {International Conference on Learning Representations},
  year      = {2014},
}"""


class VAE(HasLikelihood, Game):
    """Raises a lower bound of log p(x), the evidence (Kingma & Welling 2014, Rezende et al. 2014).

        log p(x) = E_q[log p(x|z) + log p(z) − log q(z|x)] + KL(q(z|x) ‖ p(z|x)) ≥ E_q log p(x|z) − KL(q(z|x) ‖ p(z))

    The loss is −E_q log p(x|z) + β |KL − C|. At β = 1 and C = 0 it is minus the bound (ELBO). β > 1 asks for codes
    nearer to the prior than the evidence does (Higgins et al. 2017); C, annealed upwards, lets so many nats through
    (Burgess et al. 2018, arXiv:1804.03599): annealing.values.capacity=[0,25] with beta=100. KL annealing is
    annealing.values.beta=[0,1].

    The gradient goes through z = mean + std ε; the KL of a Gaussian is exact, that of a flow is log q(z|x) − log p(z)
    at the one z.

    Args:
        encoder: (x, c) -> q(z|x).    decoder: (z, c) -> p(x|z).    prior: p(z), a standard Gaussian.
        beta: β.    capacity: C in nats.
        free_bits: λ in nats: of each latent max(λ, its KL, mean over the batch) counts (Kingma et al. 2016); of a flow,
            whose KL is one number, of all latents together.
    """

    def __init__(
        self,
        encoder: nn.Module,
        decoder: nn.Module,
        prior: nn.Module,
        *,
        beta: NotNegative = 1.0,
        capacity: NotNegative = 0.0,
        free_bits: NotNegative = 0.0,
    ):
        super().__init__()
        check_law(encoder, prior, "vae")
        self.encoder, self.decoder, self.prior = encoder, decoder, prior
        self.beta, self.capacity, self.free_bits = beta, capacity, free_bits

    @property
    def players(self) -> dict[str, Player]:
        return {"autoencoder": Player([self.encoder, self.decoder], self.loss)}

    def loss(self, batch: Batch) -> Loss:
        q = self.encoder(batch.x, batch.c)
        z = q.rsample()
        reconstruction = -self.decoder(z, batch.c).log_prob(batch.x).mean()
        each = divergence(q, self.prior, z).mean(0)
        kl = each.sum()
        counted = each.clamp_min(self.free_bits).sum() if self.free_bits else kl
        if self.capacity:
            counted = (counted - self.capacity).abs()
        terms = {"reconstruction": reconstruction, "kl": self.beta * counted}
        return Loss(terms, {"elbo": -reconstruction - kl, "nats": kl})
