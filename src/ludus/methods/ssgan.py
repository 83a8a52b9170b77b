"""The semi-supervised GAN: a classifier of K classes that also tells generated from real."""

import torch
from torch import Tensor, nn
from torch.nn.functional import log_softmax

from ludus.game import Batch, Decodes, Game, Labels, Loss, Player
from ludus.losses import adversarial

BIBTEX = """@inproceedings{salimans2016improved,
  title     = {Improved Techniques for Training {GANs}},
  author    = {Salimans, Tim and Goodfellow, Ian and Zaremba, Wojciech and Cheung, Vicki and Radford, Alec
               and Chen, Xi},
  booktitle = {Advances in Neural Information Processing Systems},
  volume    = {29},
  year      = {2016},
}"""


class SSGAN(Decodes, Labels, Game):
    """A classifier of few labels learns from the other rows by telling them from generated ones (Salimans et al. 2016).

    With K logits l(x), a(x) = log Σ_k exp l_k(x), x̃ = G(z), f the features before the logits:

        p(k | x, real) = exp(l_k − a)      D(x) = Z / (Z + 1) = σ(a),  Z = exp a      generated is a class of logit 0

        labeller     −E log p(y | x, real)  −½ E log D(x)  −½ E log(1 − D(x̃))
        generator    |E f(x) − E f(x̃)|²

    The first expectation is over the rows whose label y is known, 0 where a batch has none; the others over those whose
    label is not, or all where each is. A class K + 1 of its own would say no more: the same number added to all logits
    changes no softmax, so that one of them may be 0. What is told apart of real and generated must be features of the
    data, and few labels then name them. That the generator matches features only, and so is a poor generator, is what
    makes the labels good (Dai et al. 2017, arXiv:1705.09783).

    The ½ are the paper's, a weight of the labels against the rest: this is the one game here that keeps them. The one
    network is the paper's D; the player is named after its role, the labeller, since D is not what it is kept for.
    G is not told the label: x is of any class.

    Args:
        labeller: x -> l (B, K), with `features` (x, c) -> (B, width).    generator: (z, c) -> x, its c None.
        prior: z ~ p(z).
    """

    def __init__(self, labeller: nn.Module, generator: nn.Module, prior: nn.Module):
        super().__init__()
        self.labeller, self.generator, self.prior = labeller, generator, prior

    @property
    def players(self) -> dict[str, Player]:
        return {
            "labeller": Player([self.labeller], self.labeller_loss),
            "generator": Player([self.generator], self.generator_loss),
        }

    def sample(self, n: int, c: None = None) -> Tensor:
        return self.decode(self.prior.sample(n))

    def decode(self, z: Tensor, c: None = None) -> Tensor:
        return self.generator(z, None)

    def label(self, x: Tensor) -> Tensor:
        return self.labeller(x).softmax(1)

    def labeller_loss(self, batch: Batch) -> Loss:
        logits, known = self.labeller(batch.x), known_rows(batch)
        a_real, a_fake = log_z(logits[unlabelled(known)]), log_z(self.labeller(self.shown(batch)))
        terms = {"real": adversarial.real(a_real) / 2, "fake": adversarial.fake(a_fake) / 2}
        if batch.c is not None:
            each = -(batch.c[known] * log_softmax(logits[known], 1)).sum(1)
            terms = {"labelled": each.sum() / known.sum().clamp(min=1)} | terms
        return Loss(terms, {"accuracy": adversarial.accuracy(a_real, a_fake)})

    def generator_loss(self, batch: Batch) -> Loss:
        with torch.set_grad_enabled(self.attached):  # consensus differentiates it in the labeller's parameters
            real = self.labeller.features(batch.x[unlabelled(known_rows(batch))])
        return Loss({"matching": adversarial.feature_matching(real, self.labeller.features(self.live(batch)))})


def log_z(logits: Tensor) -> Tensor:
    """a = log Σ_k exp l_k (B,), in at least float32: the logit of D = Z / (Z + 1)."""
    return logits.to(torch.promote_types(logits.dtype, torch.float32)).logsumexp(1)


def known_rows(batch: Batch) -> Tensor:
    """Which rows have a label, (B,) bool."""
    return batch.x.new_zeros(len(batch.x), dtype=torch.bool) if batch.c is None else ~batch.c.isnan().any(1)


def unlabelled(known: Tensor) -> Tensor:
    """Which rows stand for the data without a label: all, where each has one."""
    return known if known.all() else ~known
