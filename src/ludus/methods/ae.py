"""The autoencoder."""

from torch import Tensor, nn

from ludus.errors import UserError
from ludus.game import Batch, Game, HasDecoder, HasEncoder, Loss, Player
from ludus.networks.check import check_point
from ludus.networks.priors import Fitted

BIBTEX = """@article{hinton2006autoencoder,
  title   = {Reducing the Dimensionality of Data with Neural Networks},
  author  = {Hinton, Geoffrey E. and Salakhutdinov, Ruslan R.},
  journal = {Science},
  volume  = {313},
  number  = {5786},
  pages   = {504--507},
  year    = {2006},
}"""


class AE(HasDecoder, HasEncoder, Game):
    """An encoder squeezes x into a code, a decoder gets it back (Hinton & Salakhutdinov 2006).

        −E log p(x | z),    z = E(x)

    With the Gaussian likelihood this is the squared error, D/2 log of it where σ is learned. No law of z is asked for:
    to draw x, z is drawn from a Gaussian with the moments of the codes, which need not look like one.

    Args:
        encoder: (x, c) -> q(z|x), a point.    decoder: (z, c) -> p(x|z).    prior: `Fitted` to the codes.
    """

    def __init__(self, encoder: nn.Module, decoder: nn.Module, prior: nn.Module):
        super().__init__()
        check_point(encoder, "ae")
        if not isinstance(prior, Fitted):
            raise UserError("ae draws from a law that is fitted to its codes: prior.name=fitted")
        self.encoder, self.decoder, self.prior = encoder, decoder, prior
        self.codes: Tensor | None = None

    @property
    def players(self) -> dict[str, Player]:
        return {"autoencoder": Player([self.encoder, self.decoder], self.loss, after=self.observe)}

    def loss(self, batch: Batch) -> Loss:
        z = self.encoder(batch.x, batch.c).mean
        self.codes = z.detach()
        return Loss({"reconstruction": -self.decoder(z, batch.c).log_prob(batch.x).mean()})

    def observe(self) -> None:
        self.prior.observe(self.codes)
