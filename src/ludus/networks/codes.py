"""Latents with a meaning: codes that a network is to find again in x, beside noise."""

import math

import torch
from torch import Tensor, nn
from torch.nn.functional import one_hot

from ludus import seeds
from ludus.errors import UserError
from ludus.networks.check import check_features
from ludus.networks.layers import positive
from ludus.ranges import Count, Many


class Codes(nn.Module):
    """z = (categories, values, noise): categories one-hot, all classes alike, values U[-1, 1], noise N(0, 1).

    The first `numbers` entries of z are codes, Σ categories + values of them. Samples take the dtype and device the
    module was moved to.
    """

    def __init__(self, *, categories: tuple[Count, ...] = (10,), values: Many = 2, noise: Many = 62):
        super().__init__()
        self.categories, self.values, self.noise = tuple(categories), values, noise
        self.numbers = sum(self.categories) + values
        self.dimension = self.numbers + noise
        if not self.numbers or min(self.categories, default=2) < 2:
            raise UserError(f"prior.categories={list(categories)}, prior.values={values}: there is one code at least, "
                            "and a category has two classes at least")  # fmt: skip
        self.register_buffer("like", torch.zeros(()), persistent=False)

    def sample(self, n: int, c: Tensor | None = None) -> Tensor:
        """n draws, (n, dimension)."""
        like = {"dtype": self.like.dtype, "device": self.like.device}
        drawn = [one_hot(torch.randint(k, (n,), device=self.like.device), k).to(self.like) for k in self.categories]
        values, noise = 2 * torch.rand(n, self.values, **like) - 1, torch.randn(n, self.noise, **like)
        return torch.cat([*drawn, values, noise], 1)

    def parts(self, numbers: Tensor) -> tuple[list[Tensor], Tensor]:
        """Codes (..., numbers), or what a network says of them, as each category's K numbers, and the values'."""
        *categories, values = numbers.split([*self.categories, self.values], -1)
        return categories, values

    def walk(self, z: Tensor, steps: int) -> tuple[list[list[str]], Tensor]:
        """z (d,) with one code at a time taken through all that it may be, (codes, steps, d): the classes of a category
        in turn, or −1 to 1; and what each step is. Raises UserError for fewer steps than classes."""
        if steps < (most := max(self.categories, default=0)):
            raise UserError(f"{steps} steps do not show a category's {most} classes: take {most} at least")
        walks, titles, at = z.repeat(len(self.categories) + self.values, steps, 1), [], 0
        for i, k in enumerate(self.categories):
            which = torch.arange(steps) * k // steps
            walks[i, :, at : at + k] = one_hot(which, k).to(z)
            titles.append([f"category {i}: {j}" for j in which.tolist()])
            at += k
        for i in range(self.values):
            walks[len(self.categories) + i, :, at + i] = torch.linspace(-1, 1, steps)
            titles.append([f"value {i}"] * steps)
        return titles, walks

    @property
    def entropy(self) -> float:
        """H of the codes in nats, Σ log K + `values` log 2; of the values it is differential."""
        return sum(math.log(k) for k in self.categories) + self.values * math.log(2)

    def log_prob(self, numbers: Tensor, z: Tensor) -> tuple[Tensor, Tensor]:
        """log Q of the codes in z (B, d): of all categories, with logits `numbers`, and of all values, Gaussians of
        sd 1 about theirs, (B,) each."""
        (logits, means), (classes, values) = self.parts(numbers), self.parts(z[:, : self.numbers])
        found = sum(((a.log_softmax(1) * k).sum(1) for a, k in zip(logits, classes)), z.new_zeros(len(z)))
        off = (values - means).square() + math.log(2 * math.pi)
        return found, -0.5 * off.sum(1)


class Recogniser(nn.Module):
    """Q of the codes from the discriminator's features h: h -> dense `hidden` -> logits of categories, means of values.

    discriminator: its trunk, which is not kept here, with h = features(x, c) (B, width).    prior: the codes.
    forward(h (B, width)) -> (B, prior.numbers). Raises UserError where the discriminator shows no features, or the
    prior has no codes.
    """

    def __init__(
        self,
        discriminator: nn.Module,
        prior: nn.Module,
        shape: tuple[int, ...],
        condition: int = 0,
        *,
        hidden: int = 128,
    ):
        super().__init__()
        positive(hidden=hidden)
        if not isinstance(prior, Codes):
            raise UserError("a recogniser finds codes in x, and this prior has none: prior.name=codes")
        check_features(discriminator, "the codes are read from them")
        with seeds.measuring(discriminator):
            c = torch.zeros(2, condition) if condition else None
            try:
                width = discriminator.features(torch.zeros(2, *shape), c=c).shape[1]
            except (TypeError, IndexError) as error:
                raise UserError(f"the discriminator's features(x, c=None) must give (batch, width): {error}") from None
        self.body = nn.Sequential(nn.Linear(width, hidden), nn.LeakyReLU(0.1), nn.Linear(hidden, prior.numbers))

    def forward(self, h: Tensor, c: None = None) -> Tensor:
        return self.body(h)
