"""What a discriminator is shown instead of x: packs, noise, augmentations. The same law for real and generated rows."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from ludus.errors import UserError
from ludus.ranges import Count, NotNegative, Share


class Lensed(nn.Module):
    """a(x, c) = discriminator(lens(x, c)), lens = pack ∘ noise ∘ augment: how it sees everything, real or generated.

    pack: m rows of one kind become one, joined along channels (images) or features (points), conditions alike; the
        discriminator, built for m·C channels and m·K conditions, judges them together: logits (B/m,). Packs divide a
        batch, so real and generated rows are never in one, also where both come in one pass. Two distributions that
        differ in their modes differ more as products p^m and q^m (PacGAN, Lin et al. 2018, arXiv:1712.04086).
    noise: standard deviation of Gaussian instance noise, in the units of the scaled data (±1 where bounded); it makes
        the supports of data and model overlap (Sønderby et al. 2017, arXiv:1610.04490), and is meant to be annealed:
        annealing.values.discriminator.noise=[0.5,0].
    augment: probability p with which each transformation of `augmented` befalls each row (images only); the gradient
        goes through it to the generator (Zhao et al. 2020, arXiv:2006.10738). `callbacks.ada` steers it.

    The game's solution stays q = p: noise is a convolution whose spectrum has no zeros, and augmentation loses nothing
    of a distribution for p < 3/4 (see `augmented`). Slopes for penalties are taken in x, before the lens.

    Args:
        discriminator: (x, c) -> logits. Its `features`, if it has them, are those of lens(x, c).
    """

    def __init__(
        self, discriminator: nn.Module, *, pack: Count = 1, noise: NotNegative = 0.0, augment: Share = 0.0
    ):
        super().__init__()
        self.discriminator = discriminator
        self.pack, self.noise, self.augment = pack, noise, augment

    def lens(self, x: Tensor, c: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
        """What the discriminator is shown of x (B, ...) and c (B, K) | None: (B/m, ...) and (B/m, m·K) | None."""
        if self.augment:
            x = augmented(x, self.augment)
        if self.noise:
            x = x + self.noise * torch.randn_like(x)
        return packed(x, self.pack), None if c is None else packed(c, self.pack)

    def forward(self, x: Tensor, c: Tensor | None = None) -> Tensor:
        return self.discriminator(*self.lens(x, c))

    @property
    def features(self) -> Callable[..., Tensor]:
        features = self.discriminator.features
        return lambda x, c=None: features(*self.lens(x, c))


def packed(x: Tensor, m: int) -> Tensor:
    """m consecutive rows as one, joined along the second axis: (B, C, ...) -> (B/m, m·C, ...)."""
    return x if m == 1 else x.unflatten(0, (-1, m)).flatten(1, 2)


def augmented(x: Tensor, p: float) -> Tensor:
    """Each of shift, cutout and tone, each with probability p, row by row: (B, C, H, W) -> (B, C, H, W), any C, H, W.

    On distributions each acts as (1 − p) identity + p K, K the mean over its strengths, and can be undone where no
    eigenvalue 1 − p + p k vanishes. For a shift k ≥ −1/3 (one step to either side is the worst), for tone Re k > −1/3,
    and a cutout only erases: its map is triangular with a positive diagonal. So for p < 3/4 distributions that differ
    are seen to differ, and nothing is gained by generating what the augmentation makes. Above, it can leak into the
    samples (Karras et al. 2020, arXiv:2006.06676, saw it above 0.8).
    """
    if x.dim() != 4:
        raise UserError(f"augmentation shifts and cuts images (B, C, H, W); got rows of shape {tuple(x.shape[1:])}")
    for transform in (tone, shift, cutout):
        befalls = torch.rand(len(x), 1, 1, 1, dtype=x.dtype, device=x.device) < p
        x = torch.where(befalls, transform(x), x)
    return x


def tone(x: Tensor) -> Tensor:
    """a (x − x̄) + x̄ + b: contrast a ~ U[½, 1½] about the row's own mean x̄, brightness b ~ U[−½, ½]; E tone(x) = x."""
    a, b = torch.rand(2, len(x), 1, 1, 1, dtype=x.dtype, device=x.device) - 0.5
    return x + a * (x - x.mean((1, 2, 3), keepdim=True)) + b


def shift(x: Tensor) -> Tensor:
    """The row moved by whole pixels, uniform over at most an eighth of each side; what comes in is 0."""
    height, width = x.shape[2:]
    rows, columns = _moved(len(x), height, x.device), _moved(len(x), width, x.device)
    inside = ((rows >= 0) & (rows < height))[:, :, None] & ((columns >= 0) & (columns < width))[:, None, :]
    rows, columns = rows.clamp(0, height - 1)[:, :, None], columns.clamp(0, width - 1)[:, None, :]
    moved = x.permute(0, 2, 3, 1)[torch.arange(len(x), device=x.device)[:, None, None], rows, columns]
    return moved.permute(0, 3, 1, 2) * inside[:, None]


def _moved(n: int, side: int, device: torch.device) -> Tensor:
    """Where each of n shifted rows takes its pixels from along one side, (n, side)."""
    most = round(side / 8)
    return torch.arange(side, device=device) + torch.randint(-most, most + 1, (n, 1), device=device)


def cutout(x: Tensor) -> Tensor:
    """0 inside a rectangle of half of each side, its centre uniform over the image (some of it may be outside)."""
    hit = [_hit(len(x), side, x) for side in x.shape[2:]]
    return x.masked_fill((hit[0][:, :, None] & hit[1][:, None, :])[:, None], 0)


def _hit(n: int, side: int, like: Tensor) -> Tensor:
    """Which pixels of one side lie within a quarter of it of a uniform centre, (n, side)."""
    centre = side * torch.rand(n, 1, dtype=like.dtype, device=like.device)
    return (torch.arange(side, device=like.device) + 0.5 - centre).abs() < side / 4
