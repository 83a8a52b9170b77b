"""The exchange parameters behind one 20×200 spin-wave picture, by a global search under both models.

The lines of a picture are one pixel wide: a parameter that is slightly wrong moves them off their pixels, and a local
search sees nothing to climb. So picture and model are blurred alike, much at first, then less, then not at all, while a
population of parameters evolves (differential evolution, Storn & Price 1997, Journal of Global Optimization 11, 341).
"""

import math
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from ludus.data.locate import Source
from ludus.data.sources import check_numbers, opened
from ludus.errors import UserError
from ludus.worlds.ins import Ins
from ludus.worlds.ins_facts import mirror
from ludus.worlds.spin_wave import MODELS, Stability

BLURS = ((2.0, 1.0, 60), (1.0, 0.5, 45), (0.0, 0.0, 200))  # sd in pixels of H and K, in bins of energy; generations
FIRST, POPULATION = 600, 100
BLOCK = 5  # pixels; what a fit leaves is taken as independent from one 5×5 block of a panel to the next
BOOTSTRAPS = 400


class Fit(NamedTuple):
    """The best parameters of one model."""

    model: str
    parameters: Tensor  # (6,) meV
    errors: Tensor  # (6,) meV: standard errors, by a bootstrap over blocks of pixels
    correlation: float  # with the picture, over all pixels
    image: Tensor  # (20, 200), scaled to the picture

    def lines(self) -> list[str]:
        """What was found, for people."""
        rows = zip(MODELS[self.model].parameters, self.parameters.tolist(), self.errors.tolist())
        values = [f"  {name:5} = {value:8.3f} ± {error:.3f} meV" for name, value, error in rows]
        return [f"{self.model}: correlation {self.correlation:.4f}", *values]


def fit(image: Any, seed: int = 0, world: Ins | None = None, count: Callable[[int], None] | None = None) -> list[Fit]:
    """Fits of both models to a picture (20, 200), the better one first. `count` hears how many pictures were computed.

    What is maximised is the correlation over the pixels, which does not know the picture's scale. Raises UserError for
    another shape, NaN, or a constant picture.
    """
    world = world or Ins()
    y = torch.from_numpy(np.asarray(image, np.float64).copy())
    if y.shape != world.shape:
        raise UserError(f"a picture to fit has shape {world.shape}, ten 20×20 panels; this is {tuple(y.shape)}")
    if not y.isfinite().all():
        raise UserError(f"the picture has {int((~y.isfinite()).sum())} values that are not finite: fill them first")
    if y.min() == y.max():
        raise UserError("the picture is constant: there is no line to fit")
    unit = 2.0 ** math.floor(math.log2(y.std()))  # pictures come in units of any size; this division is exact
    done = dict.fromkeys(MODELS, 0)

    def search(model: str) -> Fit:
        def counted(n: int) -> None:
            done[model] += n
            if count:
                count(sum(done.values()))

        found = _Search(model, y / unit, world, seed, counted).result()
        return found._replace(image=unit * found.image)

    with ThreadPoolExecutor(len(MODELS)) as pool:  # the linear algebra runs outside Python's lock
        return sorted(pool.map(search, MODELS), key=lambda found: -found.correlation)


def picture(source: Source, row: int) -> np.ndarray:
    """One picture of a source that holds one (20, 200), or several (n, 20, 200[, 1])."""
    with opened(source) as raw:
        check_numbers(raw)
        single = len(raw.shape) == 2
        if row >= (1 if single else raw.shape[0]):
            raise UserError(f"{raw.name} has {1 if single else raw.shape[0]:,} pictures: there is no --row {row}")
        found = raw.rows(0, raw.shape[0]) if single else raw.rows(row, row + 1)[0]
    return found[..., 0] if found.shape[2:] == (1,) else found


def cost() -> int:
    """How many pictures a fit computes, both models together."""
    return len(MODELS) * (FIRST + POPULATION * sum(generations for *_, generations in BLURS))


class _Search:
    """Differential evolution under one model: each member tries a step towards a good one; who improves moves."""

    def __init__(self, model: str, y: Tensor, world: Ins, seed: int, count: Callable[[int], None]):
        self.model, self.y, self.world, self.count = model, y, world, count
        self.stable, self.random = Stability(model), torch.Generator().manual_seed(seed)
        self.low, self.high = (torch.tensor(x, dtype=torch.float64) for x in MODELS[model][1:3])
        self.seen: list[tuple[Tensor, Tensor]] = []  # parameters, and the moments of their pictures by block

    def result(self) -> Fit:
        parameters = self.one_of_two(self.best()[None])[0]
        image = self.world.spectra(self.model, parameters[None])[0][0]
        correlation = float(similarity(self.y, 0.0, 0.0)(image[None])[0])
        scale = correlation * self.y.std() / image.std()
        return Fit(self.model, parameters, self.errors(), correlation, self.y.mean() + scale * (image - image.mean()))

    def best(self) -> Tensor:
        members = self.drawn(FIRST)
        images, ok = self.images(members)
        for sd, sd_e, generations in BLURS:
            score = similarity(self.y, sd, sd_e)
            scores = torch.where(ok, score(images), -1.0)
            kept = scores.topk(POPULATION).indices
            members, images, ok, scores = members[kept], images[kept], ok[kept], scores[kept]
            for _ in range(generations):
                tried = self.steps(members, scores)
                new_images, new_ok = self.images(tried)
                new_scores = torch.where(new_ok, score(new_images), -1.0)
                better = new_scores >= scores
                members = torch.where(better[:, None], tried, members)
                images = torch.where(better[:, None, None], new_images, images)
                ok, scores = torch.where(better, new_ok, ok), torch.where(better, new_scores, scores)
        return members[scores.argmax()]

    def errors(self) -> Tensor:
        """The spread of the best parameters (6,) when blocks of pixels are drawn again with replacement.

        Among the parameters that the search has seen, so it is a lower bound: in a trial on 8 pictures with Poisson
        noise of 30 counts, 48 % of the truths lay within one error and 73 % within two (of normal errors, 68 and 95).
        """
        members, moments = (torch.cat(each) for each in zip(*self.seen))
        of_y = _blocks(torch.stack([torch.ones_like(self.y), self.y, self.y**2]))  # (3, blocks)
        count = of_y.shape[1]
        drawn = torch.randint(count, (BOOTSTRAPS, count), generator=self.random)
        times = torch.nn.functional.one_hot(drawn, count).sum(1).double()
        n, y, yy = (times @ of_y.T).T[:, :, None]
        x, xx, xy = (times @ moments[:, i].T for i in range(3))  # (bootstraps, members)
        covariance, variance = xy - x * y / n, xx - x**2 / n
        best = (covariance / (variance * (yy - y**2 / n)).clamp(min=1e-12).sqrt()).argmax(1)
        return self.one_of_two(members[best]).std(0)

    def one_of_two(self, members: Tensor) -> Tensor:
        """Of two dimer parameters (b, 6) with the same picture, those whose JFS is the stronger bond."""
        if self.model != "dimer":
            return members
        return torch.where((members[:, 0] < members[:, 3])[:, None], mirror(members), members)

    def uniform(self, *shape: int) -> Tensor:
        return torch.rand(*shape, generator=self.random, dtype=torch.float64)

    def drawn(self, n: int) -> Tensor:
        """n stable parameters (n, 6) from the whole range."""
        tried = self.low + (self.high - self.low) * self.uniform(4 * n, 6)
        return tried[self.stable(tried)][:n]

    def images(self, members: Tensor) -> tuple[Tensor, Tensor]:
        """Pictures (b, 20, 200), and whether the state is stable; zeros where it is not."""
        ok = self.stable(members)
        images = torch.zeros(len(members), *self.world.shape, dtype=torch.float64)
        images[ok], ok[ok.clone()] = self.world.spectra(self.model, members[ok])
        x = images[ok]
        self.seen.append((members[ok], torch.stack([_blocks(x), _blocks(x**2), _blocks(x * self.y)], 1)))
        self.count(len(members))
        return images, ok

    def steps(self, members: Tensor, scores: Tensor) -> Tensor:
        """Each member, a step towards one of the best third and along the difference of two others."""
        n = len(members)
        best = members[scores.topk(n // 3).indices[torch.randint(n // 3, (n,), generator=self.random)]]
        one, other = self.uniform(n, n).argsort(1)[:, :2].T
        far = 0.4 + 0.5 * self.uniform(n, 1)
        moved = members + far * (best - members + members[one] - members[other])
        moved = torch.where(self.uniform(n, 6) < 0.9, moved, members)
        moved = torch.where(moved < self.low, (members + self.low) / 2, moved)
        return torch.where(moved > self.high, (members + self.high) / 2, moved)


def blurred(images: Tensor, sd: float, sd_e: float) -> Tensor:
    """(b, 20, 200) -> (b, 4000): Gaussian blur in H and K (pixels) and over the panels (bins), mean 0 and length 1."""
    across, along = _kernel(20, sd), _kernel(10, sd_e)
    out = torch.einsum("bhek,hi,kj,ef->bifj", images.reshape(-1, 20, 10, 20), across, across, along).flatten(1)
    out = out - out.mean(1, keepdim=True)
    return out / out.norm(dim=1, keepdim=True).clamp(min=1e-12)


def _kernel(n: int, sd: float) -> Tensor:
    """(n, n): what pixel i gives to pixel j; a constant stays one, at the ends too."""
    if not sd:
        return torch.eye(n, dtype=torch.float64)
    at = torch.arange(n, dtype=torch.float64)
    weight = torch.exp(-(((at[:, None] - at) / sd) ** 2) / 2)
    return weight / weight.sum(0)


def similarity(y: Tensor, sd: float, sd_e: float) -> Callable[[Tensor], Tensor]:
    """The correlation with y of pictures (b, 20, 200) blurred alike: (b,)."""
    target = blurred(y[None], sd, sd_e)[0]
    return lambda images: blurred(images, sd, sd_e) @ target


def _blocks(x: Tensor) -> Tensor:
    """(b, 20, 200) -> (b, 160): sums over 5×5 pixels of a panel."""
    return x.reshape(-1, 20 // BLOCK, BLOCK, 200 // BLOCK, BLOCK).sum((2, 4)).flatten(1)
