"""The Wasserstein autoencoder with the maximum mean discrepancy."""

from torch import nn

from ludus.game import Batch, Game, Generates, HasEncoder, Loss, Player
from ludus.losses.divergences import mmd
from ludus.ranges import NotNegative

BIBTEX = """@inproceedings{tolstikhin2018wae,
  title     = {{Wasserstein} Auto-Encoders},
  author    = {Tolstikhin, Ilya and Bousquet, Olivier and Gelly, Sylvain and Sch{\\"o}lkopf, Bernhard},
  booktitle = {International Conference on Learning Representations},
  year      = {2018},
}"""


class WAE(Generates, HasEncoder, Game):
    """Codes follow the prior all together, not one by one: no KL is needed (Tolstikhin et al. 2018).

        E |x − G(z)|² + weight · MMD²(q(z), p(z)),    z ~ q(z|x),  q(z) = E_x q(z|x)

    A VAE pulls the law of each code to the prior, which makes codes of different x overlap; here only their mixture
    is held to it. MMD² compares the batch's codes with as many draws of the prior, by inverse multiquadrics
    (`losses.divergences.mmd`). The squared error has no law of pixels: p(x) has no meaning here.

    Args:
        encoder: (x, c) -> q(z|x), a point or a law.    generator: G, (z, c) -> x.    prior: p(z).
        weight: the paper's λ.
    """

    def __init__(self, encoder: nn.Module, generator: nn.Module, prior: nn.Module, *, weight: NotNegative = 10.0):
        super().__init__()
        self.encoder, self.generator, self.prior, self.weight = encoder, generator, prior, weight

    @property
    def players(self) -> dict[str, Player]:
        return {"autoencoder": Player([self.encoder, self.generator], self.loss)}

    def loss(self, batch: Batch) -> Loss:
        z = self.encoder(batch.x, batch.c).rsample()
        error = (batch.x - self.decode(z, batch.c)).square().flatten(1).sum(1).mean()
        distance = mmd(z, self.prior.sample(len(z), batch.c), width=2 * z.shape[1])
        return Loss({"reconstruction": error, "mmd": self.weight * distance})
