"""The importance-weighted autoencoder."""

import math

from torch import nn

from ludus.game import Batch, Game, HasLikelihood, Loss, Player
from ludus.networks.check import check_law
from ludus.ranges import Count

BIBTEX = """@inproceedings{burda2016iwae,
  title     = {Importance Weighted Autoencoders},
  author    = {Burda, Yuri and Grosse, Roger and Salakhutdinov, Ruslan},
  booktitle = {International Conference on Learning Representations},
  year      = {2016},
}"""


class IWAE(HasLikelihood, Game):
    """Raises a bound of log p(x) that closes as k grows (Burda et al. 2016).

        L_k = E log 1/k Σ_i w_i,    w_i = p(x|z_i) p(z_i) / q(z_i|x),    z_i ~ q(z|x)

    L_1 is the VAE's bound, L_k ≤ L_{k+1} ≤ log p(x). The encoder is then no longer the best single law: z of q(z|x)
    are proposals, to be weighted by w.

    Args:
        encoder: (x, c) -> q(z|x).    decoder: (z, c) -> p(x|z).    prior: p(z), a standard Gaussian.
        k: draws for each x; a turn costs about k times as much of the decoder.
    """

    def __init__(self, encoder: nn.Module, decoder: nn.Module, prior: nn.Module, *, k: Count = 5):
        super().__init__()
        check_law(encoder, prior, "iwae")
        self.encoder, self.decoder, self.prior, self.k = encoder, decoder, prior, k

    @property
    def players(self) -> dict[str, Player]:
        return {"autoencoder": Player([self.encoder, self.decoder], self.loss)}

    def loss(self, batch: Batch) -> Loss:
        q = self.encoder(batch.x, batch.c)
        z = q.rsample((self.k,))
        log_w = self.decoder(z, batch.c).log_prob(batch.x) + self.prior.log_prob(z) - q.log_prob(z)  # (k, B)
        bound = (log_w.logsumexp(0) - math.log(self.k)).mean()
        return Loss({"bound": -bound}, {"elbo": log_w.mean()})
