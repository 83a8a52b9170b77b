"""What the networks share: how a condition enters, the grid of any H×W, the crop, the initialisers."""

import math

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from ludus.errors import UserError


def known(c: Tensor) -> Tensor:
    """c (B, K) with NaN = unknown -> (B, K + 1): NaN becomes 0, the last column is 1 where a row has any."""
    missing = c.isnan()
    return torch.cat([c.masked_fill(missing, 0), missing.any(1, keepdim=True).to(c.dtype)], 1)


def given(c: Tensor | None, condition: int, like: Tensor) -> Tensor:
    """What a network built with K = `condition` sees of c: (B, K + 1) as `known` has it, or (B, 0) where K = 0.

    `like` (B, ...) lends its length, dtype and device. c = None means that all of c is unknown.
    Raises UserError where the width of c is not K.
    """
    width = 0 if c is None else c.shape[1]
    if c is not None and width != condition:
        raise UserError(f"a network built with condition={condition} was given a condition of {width} numbers a row")
    if not condition:
        return like.new_zeros(len(like), 0)
    return known(like.new_full((len(like), condition), math.nan) if c is None else c.to(like.dtype))


def inputs(condition: int) -> int:
    """The width of `given`: K + 1, or 0 where there is no condition."""
    return condition + 1 if condition else 0


class Trunk(nn.Module):
    """features(x, c) -> (B, width) of every image discriminator: h = rest(first(x) + A k) ⊙ (1 + B k), k = known(c).

    k (B, K + 1) enters twice, linearly and without bias. A k shifts the first maps, so that all later layers are
    nonlinear functions of x and c together, which a continuous c needs. B k scales the features, so that a linear head
    w has the term Σ_i w_i h_i (B k)_i: the projection discriminator (Miyato & Koyama 2018, arXiv:1802.05637), which is
    what log p(c|x) looks like for classes (softmax) and for values (an exponential family) alike. Without a condition
    it is rest(first(x)).

    first: a convolution (C, H, W) -> (F, h, w);  rest: (B, F, h, w) -> (B, width).
    """

    def __init__(self, first: nn.Conv2d, rest: nn.Module, condition: int, width: int):
        super().__init__()
        self.condition = condition
        self.first, self.rest = first, rest
        self.shift = nn.Linear(condition + 1, first.out_channels, bias=False) if condition else None
        self.scale = nn.Linear(condition + 1, width, bias=False) if condition else None

    def forward(self, x: Tensor, c: Tensor | None = None) -> Tensor:
        k = given(c, self.condition, x)
        if not self.condition:
            return self.rest(self.first(x))
        h = self.first(x) + self.shift(k)[:, :, None, None]
        return self.rest(h) * (1 + self.scale(k))


REFERENCE = 64  # rows


class VirtualNorm(nn.Module):
    """Virtual batch norm: a row by the moments of a reference batch and of itself (Salimans et al. 2016).

    (B, F, ...) -> the same, y = weight · (h − μ) / √(σ² + 10⁻⁵) + bias with μ and σ² of each of the F maps over the
    first REFERENCE rows, which `WithReference` puts in front, and the row itself. No row sees another of its batch.
    """

    def __init__(self, maps: int):
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.ones(maps)), nn.Parameter(torch.zeros(maps))

    def forward(self, h: Tensor) -> Tensor:
        flat = h.flatten(2) if h.dim() > 2 else h[:, :, None]
        off = flat - flat[:REFERENCE].mean((0, 2))[:, None]
        share = off.new_full((len(h), 1, 1), 1 / (REFERENCE + 1))  # of the row itself in its moments
        share[:REFERENCE] = 0  # the reference rows are in already
        variance = off[:REFERENCE].square().mean((0, 2))[:, None]
        mean = share * off.mean(2, keepdim=True)  # from here on relative to the reference's: nothing cancels
        variance = torch.lerp(variance.expand_as(mean), off.square().mean(2, keepdim=True), share) - mean.square()
        y = self.weight[:, None] * (off - mean) * (variance + 1e-5).rsqrt() + self.bias[:, None]
        return y.view_as(h)


class WithReference(nn.Module):
    """body(h), h (B, width), with the reference batch of its `VirtualNorm`s in front, which is taken off again.

    The reference is the first batch seen in train mode, repeated or cut to REFERENCE rows; it stays, as a buffer. Until
    then a batch is its own.
    """

    def __init__(self, body: nn.Module, width: int):
        super().__init__()
        self.body = body
        self.register_buffer("reference", torch.zeros(REFERENCE, width))
        self.register_buffer("chosen", torch.zeros((), dtype=torch.bool))

    def forward(self, h: Tensor) -> Tensor:
        reference = self.reference if self.chosen else h.detach()[torch.arange(REFERENCE) % len(h)]
        if self.training and not self.chosen:
            self.reference.copy_(reference)
            self.chosen.fill_(True)
        return self.body(torch.cat([reference, h]))[REFERENCE:]


class Dropout(nn.Module):
    """Each value is 0 with probability p, else 1/(1 - p) times itself, while it is trained (Srivastava et al. 2014).

    On a CPU from random words of 64 bits, a quarter for each value, which is four times as fast as torch's own: p is
    then rounded to 2^-16.
    """

    def __init__(self, p: float):
        super().__init__()
        self.p = p

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or not self.p or x.device.type != "cpu":
            return nn.functional.dropout(x, self.p, self.training)
        n, cut = x.numel(), round(2**16 * self.p)
        words = torch.randint(-(2**63), 2**63 - 1, (-(-n // 4),))
        kept = words.view(torch.int16)[:n].as_strided(x.shape, torch.empty_like(x).stride()) >= cut - 2**15
        return x * kept.to(x.dtype).mul_(2**16 / (2**16 - cut))


class Crop(nn.Module):
    """The central H×W of maps (B, C, H' ≥ H, W' ≥ W); of an odd margin the smaller half is top and left."""

    def __init__(self, height: int, width: int):
        super().__init__()
        self.height, self.width = height, width

    def forward(self, x: Tensor) -> Tensor:
        top, left = (x.shape[2] - self.height) // 2, (x.shape[3] - self.width) // 2
        return x[:, :, top : top + self.height, left : left + self.width]


class Masked(nn.Module):
    """A generator that gives 0 where there is no detector, as the data have it there: network(z, c) · mask.

    Else a discriminator could tell generated from real by those pixels alone, and its gradient would go there.
    mask: (C, H, W) or (D,), False where there is none.
    """

    def __init__(self, network: nn.Module, mask: np.ndarray):
        super().__init__()
        self.network = network
        self.register_buffer("mask", torch.from_numpy(mask), persistent=False)
        self.register_load_state_dict_pre_hook(_renamed)

    def forward(self, z: Tensor, c: Tensor | None = None) -> Tensor:
        return self.network(z, c=c) * self.mask


def _renamed(masked: Masked, weights: dict[str, Tensor], prefix: str, *_) -> None:
    """Weights of runs from when generators were not masked are those of the network inside."""
    inside = f"{prefix}network."
    for name in [name for name in weights if name.startswith(prefix) and not name.startswith(inside)]:
        weights[inside + name.removeprefix(prefix)] = weights.pop(name)


def image(shape: tuple[int, ...], network: str) -> tuple[int, int, int]:
    """`shape` as (C, H, W); UserError where the data are no images."""
    if len(shape) != 3:
        raise UserError(
            f"network {network!r} is for images (C, H, W), the data have shape {tuple(shape)}: use the network 'mlp'"
        )
    positive(**dict(zip(("channels", "height", "width"), shape)))
    return tuple(shape)


def positive(**options: int) -> None:
    """UserError for the first option, or entry of one, below 1."""
    for name, value in options.items():
        if min(value if isinstance(value, (tuple, list)) else (value,), default=0) < 1:
            raise UserError(f"{name} is {value!r}: a network needs at least 1")


def halved(n: int, times: int) -> int:
    """n after `times` convolutions of stride 2 with 'same' padding: ⌈n / 2^times⌉."""
    return -(-n // 2**times)


def range_of(bounded: bool) -> nn.Module:
    """The generator's last layer: tanh where the data's scaling is bounded by ±1, else nothing."""
    return nn.Tanh() if bounded else nn.Identity()


def glorot(module: nn.Module) -> None:
    """Keras' default, for `Module.apply`: weights U(±√(6 / (fan_in + fan_out))), biases 0 (Glorot & Bengio 2010)."""
    if isinstance(module, (nn.Linear, nn.Conv2d, nn.ConvTranspose2d)):
        nn.init.xavier_uniform_(module.weight)
        if module.bias is not None:
            nn.init.zeros_(module.bias)


def he(module: nn.Module) -> None:
    """For `Module.apply`: weights N(0, 2 / ((1 + 0.2²) fan_in)), biases 0, which keeps the size of what passes through
    leaky ReLU 0.2 (He et al. 2015); torch's default makes it 2.4 times smaller at every layer.
    """
    if isinstance(module, (nn.Linear, nn.Conv2d)):
        normal(module, math.sqrt(2 / 1.04))


def normal(layer: nn.Linear | nn.Conv2d, gain: float = 1.0) -> nn.Module:
    """`layer` with weights N(0, gain² / fan_in), bias 0 (He et al. 2015); gain 0 makes it the zero function."""
    nn.init.normal_(layer.weight, std=gain / math.sqrt(layer.weight[0].numel()))
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    return layer


def unit_norms(network: nn.Module) -> None:
    """Divides the weight of every linear layer and convolution by its largest singular value (Miyato et al. 2018).

    A linear layer then has the Lipschitz constant 1. The matrix of a convolution is its weight laid out as
    (F, C·kh·kw), as in the paper, which allows it a constant of √(⌈kh / stride⌉ ⌈kw / stride⌉). The singular value
    follows the weight by one power iteration at each forward in train mode; its vectors are buffers. A weight of
    zeros has none: it starts as `normal` has it.
    """
    for layer in list(network.modules()):
        if isinstance(layer, (nn.Linear, nn.Conv2d)):
            if not layer.weight.any():
                normal(layer)
            spectral_norm(layer)
