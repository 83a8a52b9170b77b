"""The Wasserstein GAN with weight clipping."""

from functools import partial

import torch
from torch import nn

from ludus.game import Batch, Game, Generates, Loss, Player
from ludus.losses.adversarial import ordered
from ludus.ranges import Count, Positive

BIBTEX = """@inproceedings{arjovsky2017wgan,
  title     = {Wasserstein Generative Adversarial Networks},
  author    = {Arjovsky, Martin and Chintala, Soumith and Bottou, L{\\'e}on},
  booktitle = {International Conference on Machine Learning},
  pages     = {214--223},
  year      = {2017},
}"""


class WGAN(Generates, Game):
    """A critic of bounded weights estimates the Wasserstein distance, the generator lowers it (Arjovsky et al. 2017).

        critic      E f(x) − E f(G(z))        generator   E f(G(z))        then every critic weight is clipped to ±clip

    These are the lecture's signs and those of the authors' code: both are lowered, the critic is LOW on real
    data, and minus its loss estimates W up to a constant factor. Gulrajani's code (`wgan_gp`) has f → −f: the critic
    is high on real data. Negating the critic's last layer carries one into the other; one of each is the classic bug.

    Args:
        generator: (z, c) -> x.    discriminator: the critic f, (x, c) -> (B,).    prior: z ~ p(z).
        clip: bound on each critic weight, kept after each of its moves.
        n_critic: critic moves per generator move. (The authors' code makes 100 in place of 5 before each of the first
            25 generator moves and before every 500th; here it is always n_critic.)
    """

    real_is_high = False

    def __init__(
        self,
        generator: nn.Module,
        discriminator: nn.Module,
        prior: nn.Module,
        *,
        clip: Positive = 0.01,
        n_critic: Count = 5,
    ):
        super().__init__()
        self.generator, self.discriminator, self.prior = generator, discriminator, prior
        self.clip, self.n_critic = clip, n_critic

    @property
    def players(self) -> dict[str, Player]:
        return {
            "discriminator": Player([self.discriminator], self.discriminator_loss, after=self.clip_weights),
            "generator": Player([self.generator], self.generator_loss, every=self.n_critic),
        }

    def discriminator_loss(self, batch: Batch) -> Loss:
        f, fake = partial(self.discriminator, c=batch.c), self.shown(batch)
        real, fake = f(batch.x), f(fake)
        return Loss({"real": real.mean(), "fake": -fake.mean()}, {"accuracy": ordered(fake, real)})

    def generator_loss(self, batch: Batch) -> Loss:
        return Loss({"fake": self.discriminator(self.live(batch), c=batch.c).mean()})

    @torch.no_grad()
    def clip_weights(self) -> None:
        for p in self.players["discriminator"].parameters:
            p.clamp_(-self.clip, self.clip)
