"""The exchange parameters behind one 20×200 spin-wave picture, by a global search under both models.

The lines of a picture are one pixel wide: a parameter that is slightly wrong moves them off their pixels, and a local
search sees nothing to climb. So picture and model are blurred alike, much at first, then less, then not at all, while a
population of parameters evolves (differential evolution, Storn & Price 1997, Journal of Global Optimization 11, 341).
"""

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
from ludus.worlds.spin_wave import MODELS, Stability

BLURS = ((2.0, 1.0, 90), (1.0, 0.5, 70), (0.0, 0.0, 70))  # sd in pixels of H and K, in bins of energy; generations
FIRST, POPULATION = 600, 60
ERRORS_AT = (1.0, 0.5)  # the blur at which derivatives mean something
STEP = 0.01  # of a parameter's range, for derivatives
BLOCK = 5  # pixels; residuals nearer than this are taken as one


class Fit(NamedTuple):
    """The best parameters of one model."""

    model: str
    parameters: Tensor  # (6,) meV
    errors: Tensor  # (6,) meV: standard errors, robust to residuals that belong together
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
    y = torch.as_tensor(image, dtype=torch.float64)
    if y.shape != world.shape:
        raise UserError(f"a picture to fit has shape {world.shape}, ten 20×20 panels; this is {tuple(y.shape)}")
    if not y.isfinite().all():
        raise UserError(f"the picture has {int((~y.isfinite()).sum())} values that are not finite: fill them first")
    if y.min() == y.max():
        raise UserError("the picture is constant: there is no line to fit")
    done = dict.fromkeys(MODELS, 0)

    def search(model: str) -> Fit:
        def counted(n: int) -> None:
            done[model] += n
            if count:
                count(sum(done.values()))

        return _finished(model, y, _Search(model, y, world, seed, counted).best(), world)

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
    """Differential evolution under one model: each member tries a step towards one of the best; who improves moves."""

    def __init__(self, model: str, y: Tensor, world: Ins, seed: int, count: Callable[[int], None]):
        self.model, self.y, self.world, self.count = model, y, world, count
        self.stable, self.random = Stability(model), torch.Generator().manual_seed(seed)
        self.low, self.high = (torch.tensor(x, dtype=torch.float64) for x in MODELS[model][1:3])

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
        self.count(len(members))
        return images, ok

    def steps(self, members: Tensor, scores: Tensor) -> Tensor:
        """Each member, a step towards one of the best eighth and along the difference of two others."""
        n = len(members)
        best = members[scores.topk(n // 8).indices[torch.randint(n // 8, (n,), generator=self.random)]]
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
    """(n, n): what pixel i gives to pixel j; it loses nothing at the ends."""
    if not sd:
        return torch.eye(n, dtype=torch.float64)
    at = torch.arange(n, dtype=torch.float64)
    weight = torch.exp(-(((at[:, None] - at) / sd) ** 2) / 2)
    return weight / weight.sum(1, keepdim=True)


def similarity(y: Tensor, sd: float, sd_e: float) -> Callable[[Tensor], Tensor]:
    """The correlation with y of pictures (b, 20, 200) blurred alike: (b,)."""
    target = blurred(y[None], sd, sd_e)[0]
    return lambda images: blurred(images, sd, sd_e) @ target


def _finished(model: str, y: Tensor, parameters: Tensor, world: Ins) -> Fit:
    if model == "dimer" and parameters[0] < parameters[3]:
        parameters = parameters[[3, 2, 1, 0, 4, 5]]  # the mirror image, same picture: JFS is the stronger one
    image = world.spectra(model, parameters[None])[0][0]
    correlation = float(similarity(y, 0.0, 0.0)(image[None])[0])
    scale = correlation * y.std() / image.std()
    fitted = y.mean() + scale * (image - image.mean())
    return Fit(model, parameters, errors(model, y, parameters, world), correlation, fitted)


def errors(model: str, y: Tensor, parameters: Tensor, world: Ins) -> Tensor:
    """Standard errors (6,) by the sandwich formula, (JᵀJ)⁻¹ (Σ_blocks Jᵀr rᵀJ) (JᵀJ)⁻¹, on pictures blurred a little.

    r is what the fit leaves and J its derivatives; residuals within a block of 5×5 pixels of a panel may depend on each
    other in any way. Infinite for a parameter that the picture does not depend on.
    """
    low, high = (torch.tensor(x, dtype=torch.float64) for x in MODELS[model][1:3])
    step = torch.diag(STEP * (high - low))
    points = torch.cat([(parameters + step).clamp(max=high), (parameters - step).clamp(min=low), parameters[None]])
    points = torch.where(Stability(model)(points)[:, None], points, parameters)
    images = blurred(world.spectra(model, points)[0], *ERRORS_AT)
    widths = (points[:6] - points[6:12]).diagonal()
    jacobian = ((images[:6] - images[6:12]) / widths.clamp(min=1e-12)[:, None]).T  # (4000, 6)
    residual = blurred(y[None], *ERRORS_AT)[0] - images[12]
    size = 20 // BLOCK
    blocks = (jacobian * residual[:, None]).reshape(size, BLOCK, 10, size, BLOCK, 6).sum((1, 4)).reshape(-1, 6)
    bread = torch.linalg.pinv(jacobian.T @ jacobian, hermitian=True)
    variance = (bread @ (blocks.T @ blocks) @ bread).diagonal()
    return torch.where(jacobian.square().sum(0) > 0, variance.sqrt(), torch.inf)
