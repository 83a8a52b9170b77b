"""Pictures of the spin waves as an inelastic neutron spectrometer takes them, with the truth behind each.

`practical`    20×200: ten energies side by side, (H, K) panels of 20×20; the lecture practical's images, quirk included
`physical`     the same picture with both twins whole and the L that the kinematics give
`instrument`   240×400: six incident energies (rows) by ten energy transfers (columns), panels of 40×40, resolution
`published`    the same as the published simulation of it computes it

The crystal is twinned: the second twin has x and y exchanged, and the intensities add. The programs behind all
published simulations lose a component there (the rotation's last diagonal entry is 0 instead of 1): twin 2 is evaluated
at L = 0 and without its S^zz. `published` also folds L into [-1/2, 1/2] and takes the form factor at L = 0, which is
what explains the published arrays. `practical` needs only the twin's quirk, as its L is 0.
"""

import math
from collections.abc import Iterator
from typing import Literal, NamedTuple, final

import torch
from torch import Tensor

from ludus.errors import UserError
from ludus.game import Batch
from ludus.ranges import NotNegative, Positive
from ludus.worlds.spin_wave import (
    CELL,
    LAYER,
    MODELS,
    Modes,
    Stability,
    form_factors,
    intensity,
    layered,
    matrices,
    modes,
    unstable_mode,
)

NEUTRON = 2.0721  # ħ²/2m in meV Å²: E = 2.0721 k²
INCIDENT = (25.0, 35.0, 50.0, 70.0, 100.0, 140.0)  # meV
# MAPS, 'S' chopper: sd of the energy transfer, a - b E / Ei in meV, fitted to the published covariances (to 0.13)
RESOLUTION = ((0.404, 0.143), (0.705, 0.329), (1.110, 0.550), (1.498, 0.730), (2.384, 1.232), (2.788, 1.250))
RESOLUTION_H = 0.028  # r.l.u. of A and B; the sd is 0.018-0.042 from Ei = 25 to 140, less than a pixel of 0.103
SLAB = 25  # pictures computed at once: the fastest on a CPU, and little memory


class View(NamedTuple):
    """What a spectrometer sees at once: wave vectors, and the energy bins of each incident energy."""

    h: Tensor  # (Q,)
    k: Tensor
    edges: Tensor  # (Ei, bins + 1), meV
    incident: tuple[float | None, ...]  # None: L is 0


def panels(ei: float | None) -> View:
    """The practical's grid: H = -2 + 0.1 i by K = -2 + 0.1 j, 10 bins of 4.8 meV from 2 to 50 meV."""
    axis = -2 + torch.arange(20, dtype=torch.float64) / 10
    h, k = torch.meshgrid(axis, axis, indexing="ij")
    return View(h.flatten(), k.flatten(), torch.linspace(2, 50, 11, dtype=torch.float64)[None], (ei,))


def instrument() -> View:
    """Pixels with H = 2h descending by K = 2k ascending, h and k from -1 to 1 in 40 steps, each of 3×3 points.

    The points spread over the pixel and the resolution in H and K together. Bins of 0.06 Ei from 0.1 Ei.
    The spectrum at -Q is that at Q: only the first 20 rows are computed.
    """
    axis = torch.linspace(-2, 2, 40, dtype=torch.float64)
    step = float(axis[1] - axis[0])
    spread = math.sqrt(3 / 2 * (step**2 / 12 + RESOLUTION_H**2))
    fine = (axis[:, None] + spread * torch.tensor([-1.0, 0.0, 1.0])).double()
    h, k = torch.meshgrid(fine.flip(0)[:20].flatten(), fine.flatten(), indexing="ij")
    h, k = (t.reshape(20, 3, 40, 3).permute(0, 2, 1, 3).flatten() for t in (h, k))
    edges = torch.tensor(INCIDENT, dtype=torch.float64)[:, None] * (0.1 + 0.06 * torch.arange(11))
    return View(h, k, edges, INCIDENT)


def kinematic(energy: Tensor, qx: Tensor, qy: Tensor, ei: float | None) -> tuple[Tensor, Tensor]:
    """Q_z of a mode with the c axis along the beam, k_i - √(k_f² - Q_x² - Q_y²) in 1/Å, and whether it can be seen.

    energy (b, Q, 4) in meV, Q_x and Q_y (Q, 1). E > Ei, and a Q_x, Q_y longer than k_f, cannot. No `ei`: Q_z = 0.
    """
    if ei is None:
        return torch.zeros_like(energy[:1, :, :1]), torch.ones_like(energy[:1, :, :1], dtype=torch.bool)
    square = (ei - energy) / NEUTRON - qx**2 - qy**2
    return math.sqrt(ei / NEUTRON) - square.clamp(min=0).sqrt(), square >= 0


def binned(energy: Tensor, weight: Tensor, edges: Tensor, sd: Tensor | float) -> Tensor:
    """Σ over modes of the weight between edges: (b, Q, m) -> (b, Q, bins); Gaussian lines of `sd`, or none."""
    if isinstance(sd, Tensor) or sd > 0:
        below = torch.special.ndtr((edges - energy[..., None]) / torch.as_tensor(sd).to(energy)[..., None])
        return (below.diff(dim=-1) * weight[..., None]).sum(2)
    bins = len(edges) - 1
    which = torch.bucketize(energy, edges, right=True) - 1
    weight = torch.where((which >= 0) & (which < bins), weight, 0)
    out = energy.new_zeros(*energy.shape[:2], bins)
    return out.scatter_add_(2, which.clamp(0, bins - 1), weight)


class _Block(NamedTuple):
    """The modes of one twin, component and parity, before the parameters are known."""

    parts: Tensor
    component: Literal["zz", "xx"]
    p: Literal[1, -1]
    axis: int  # of the crystal's component in the laboratory: 0, 1, 2 for a, b, c
    frozen: bool  # at L = 0, as in the published programs


def blocks(model: str, view: View, published: bool) -> list[_Block]:
    """Everything to diagonalise; with L = 0 throughout, only zz with p = 1 and xx with p = -1 have an intensity."""
    out, still = [], view.incident == (None,)
    for twin in (1, 2):
        h, k = (view.h, view.k) if twin == 1 else (view.k * CELL[0] / CELL[1], view.h * CELL[1] / CELL[0])
        quirk = published and twin == 2
        for component in ("xx",) if quirk else ("zz", "xx"):
            q = torch.stack([h, k + (component == "xx")], 1)
            parts = matrices(model, q)
            seen = 1 if component == "zz" else -1
            for p in (seen,) if still or quirk else (1, -1):
                axis = 2 if component == "zz" else twin - 1
                out.append(_Block(layered(parts, p), component, p, axis, quirk))
    return out


def weights(found: Modes, block: _Block, view: View, ei: float | None, published: bool) -> Tensor:
    """The intensity (b, Q, 4) that neutrons see of a block: I_m (1 - Q̂_axis²), 0 where the kinematics forbid it."""
    qx, qy = (2 * math.pi * x[:, None] / side for x, side in zip((view.h, view.k), CELL))
    qz, visible = kinematic(found.energy, qx, qy, ei)
    across = qx**2 + qy**2
    polarisation = 1 - (qx, qy, qz)[block.axis] ** 2 / (across + qz**2).clamp(min=1e-12)
    along = qz * CELL[2] / (2 * math.pi)  # L
    if published:
        along = 0 * along if block.frozen else along - along.round()
    theta = 2 * math.pi * LAYER * along
    layers = (theta.cos() if (block.component == "zz") == (block.p == 1) else theta.sin()) ** 2
    f = form_factors((across if published else across + qz**2).sqrt())
    return intensity(found, f, 2 * layers) * polarisation * visible


class Draw(NamedTuple):
    """Pictures and the truth behind them."""

    images: Tensor  # (n, H, W), the brightest pixel 1
    labels: Tensor  # (n, 2) one-hot: dimer, goodenough
    parameters: Tensor  # (n, 6), meV, in the model's order
    tried: int  # draws that were made; those that were not kept have no stable CE state


@final
class Ins:
    """Spin-wave pictures of Pr(Ca,Sr)2Mn2O7 with random exchange: the images of the lecture's neutron practical.

    Parameters are uniform in the ranges of Butler et al. (`spin_wave.MODELS`); draws whose magnetic order is unstable
    are rejected (about 12 % for goodenough, 59 % for dimer). Each picture is divided by its maximum.

    Args:
        mask: (H, W) bool, True where there is no detector: pixels that are 0 in every picture.
        mode: see the file's first lines.    model: "both" takes each with probability 1/2.
        parameters: six numbers in meV, in the model's order, instead of random ones.
        ei: incident energy of `physical`, meV.    sigma_e: sd of the energy resolution of the 20×200 pictures, meV; 0
        gives lines one pixel wide.    counts: expected counts in the brightest pixel; 0 is no noise.
        background: added everywhere before counting, as a share of the brightest pixel.
    """

    labels = tuple(MODELS)

    def __init__(
        self,
        mask: Tensor | None = None,
        *,
        mode: Literal["practical", "physical", "instrument", "published"] = "practical",
        model: Literal["both", "dimer", "goodenough"] = "both",
        parameters: list[float] | None = None,
        ei: Positive = 100.0,
        sigma_e: NotNegative = 0.0,
        counts: NotNegative = 0.0,
        background: NotNegative = 0.0,
    ):
        self.mode, self.model, self.parameters, self.ei = mode, model, parameters, ei
        self.sigma_e, self.counts, self.background = sigma_e, counts, background
        self.large = mode in ("instrument", "published")
        self.view = instrument() if self.large else panels(ei if mode == "physical" else None)
        self.shape = (240, 400) if self.large else (20, 200)
        self.mask = torch.zeros(self.shape, dtype=torch.bool) if mask is None else mask
        if self.mask.shape != self.shape:
            raise UserError(f"a mask of {mode} has shape {self.shape}, this one {tuple(self.mask.shape)}")
        self.names = tuple(MODELS) if model == "both" else (model,)
        self._blocks: dict[str, list[_Block]] = {}
        self._stable = {name: Stability(name) for name in self.names}
        if mode == "physical" and ei <= 50:
            raise UserError(f"ei = {ei:g} meV: the picture's energies go to 50 meV, above the incident energy")
        if mode != "physical" and ei != 100:
            raise UserError(f"ei = {ei:g} meV is for the mode physical: in {mode} the incident energies are given")
        if counts > 1e12 or background > 1e6:
            raise UserError(f"counts = {counts:g}, background = {background:g}: at most 1e12 and 1e6")
        if self.large and sigma_e:
            raise UserError("sigma_e is for the 20×200 pictures: the instrument has its own resolution")
        if parameters is not None:
            if model == "both":
                raise UserError("parameters belong to one model: give model=dimer or model=goodenough too")
            check(model, torch.tensor(parameters, dtype=torch.float64))

    @property
    def published(self) -> bool:
        return self.mode in ("practical", "published")

    def to(self, device: torch.device | str) -> "Ins":
        """The same world on another device."""
        self.view = View(*(t.to(device) for t in self.view[:3]), self.view.incident)
        self._blocks.clear()
        return self

    def spectra(self, model: str, parameters: Tensor) -> tuple[Tensor, Tensor]:
        """S_perp per 16 atoms, summed over each bin (20×200) or per meV (240×400), and whether all modes are stable.

        parameters (b, 6) in meV -> (b, *shape), (b,).
        """
        parameters = parameters.to(self.view.h)
        out = [self._slab(model, part) for part in parameters.split(1 if self.large else SLAB)]
        return torch.cat([x for x, _ in out]), torch.cat([stable for _, stable in out])

    def _slab(self, model: str, parameters: Tensor) -> tuple[Tensor, Tensor]:
        view, b = self.view, len(parameters)
        if model not in self._blocks:
            self._blocks[model] = blocks(model, view, self.published)
        stable = torch.ones(b, dtype=torch.bool, device=parameters.device)
        out = view.h.new_zeros(b, len(view.edges), len(view.h), view.edges.shape[1] - 1)
        for block in self._blocks[model]:
            found = modes(block.parts, parameters, block.component)
            stable &= found.stable
            for row, ei in enumerate(view.incident):
                weight = weights(found, block, view, ei, self.published)
                out[:, row] += binned(found.energy, weight, view.edges[row], self._sd(row, found.energy))
        return (self._large(out) if self.large else out.reshape(b, 20, 20, 10).mT.reshape(b, 20, 200)), stable

    def _sd(self, row: int, energy: Tensor) -> Tensor | float:
        if not self.large:
            return self.sigma_e
        a, b = RESOLUTION[row]
        return a - b * (energy / INCIDENT[row]).clamp(max=1)

    def _large(self, out: Tensor) -> Tensor:
        """(b, Ei, points, bins) of the upper half -> (b, 240, 400) per meV, means over a pixel, completed by I(-Q)."""
        b, ei, _, bins = out.shape
        half = out.reshape(b, ei, 20, 40, 9, bins).mean(4) / self.view.edges.diff(dim=1)[:, None, None]
        whole = torch.cat([half, half.flip(2, 3)], 2)  # (b, Ei, h, k, bins)
        return whole.permute(0, 1, 2, 4, 3).reshape(b, 240, 400)

    def draw(self, n: int, generator: torch.Generator | None = None) -> Draw:
        """n pictures; the same generator gives the same ones."""
        which = torch.randint(len(self.names), (n,), generator=generator)
        images = torch.empty(n, *self.shape, dtype=torch.float32)
        parameters, tried = torch.empty(n, 6, dtype=torch.float64), 0
        for number, name in enumerate(self.names):
            places = (which == number).nonzero()[:, 0]
            for found, picture, made in self._accepted(name, len(places), generator):
                here, places = places[: len(found)], places[len(found) :]
                parameters[here], images[here] = found.cpu(), picture.float().cpu()
                tried += made
        labels = torch.nn.functional.one_hot(which + (self.model == "goodenough"), 2).float()
        return Draw(self._counted(images, generator), labels, parameters, tried)

    def _accepted(
        self, model: str, n: int, generator: torch.Generator | None
    ) -> Iterator[tuple[Tensor, Tensor, int]]:
        """Stable parameters and their pictures until there are n, with how many draws each helping took."""
        low, high = (torch.tensor(x, dtype=torch.float64) for x in MODELS[model][1:3])
        while n:
            if self.parameters is not None:
                drawn = torch.tensor([self.parameters] * min(n, SLAB), dtype=torch.float64)
            else:
                drawn = low + (high - low) * torch.rand(2 * SLAB, 6, generator=generator, dtype=torch.float64)
            rows = self._stable[model](drawn).nonzero()[: min(n, SLAB), 0]
            tried = int(rows[-1]) + 1 if len(rows) == min(n, SLAB) else len(drawn)  # later draws were not needed
            pictures, stable = self.spectra(model, drawn[rows])
            pictures = pictures.masked_fill(self.mask.to(pictures.device), 0)
            kept = stable & (pictures.amax((1, 2)) > 0)  # a picture without a line shows nothing
            if self.parameters is not None and not kept.all():
                why = "no line within the picture" if stable.all() else "the magnetic order is unstable"
                raise UserError(f"{model} with these parameters: {why}")
            rows, pictures = rows[kept.cpu()], pictures[kept]
            n -= len(rows)
            yield drawn[rows], pictures / pictures.amax((1, 2), keepdim=True), tried

    def _counted(self, images: Tensor, generator: torch.Generator | None) -> Tensor:
        images = images + self.background
        if self.counts:
            images = torch.poisson(images * self.counts, generator=generator) / self.counts
        return images.masked_fill(self.mask, 0)

    @property
    def title(self) -> str:
        return f"Pr(Ca,Sr)2Mn2O7, inelastic neutron scattering, simulated by linear spin-wave theory ({self.mode})"

    @property
    def columns(self) -> dict[str, tuple[str, ...]]:
        """The names of the parameters of each model."""
        return {name: model.parameters for name, model in MODELS.items()}

    def axes(self) -> dict[str, tuple[Tensor, str, list[int], str]]:
        """Coordinates of a picture by name: values, units, the axes of (n, H, W, 1) that they run along, meaning."""
        if self.large:
            h = torch.linspace(2, -2, 40).repeat(6)
            k = torch.linspace(-2, 2, 40).repeat(10)
            middle = (self.view.edges[:, 1:] + self.view.edges[:, :-1]) / 2
            energy = middle.cpu().repeat_interleave(40, 0).repeat_interleave(40, 1), [1, 2]
        else:
            h = -2 + torch.arange(20) / 10
            k = h.repeat(10)
            energy = torch.linspace(4.4, 47.6, 10).repeat_interleave(20), [2]
        found = {
            "H": (h, "2*pi/A, A = 10.816 angstrom", [1], "wave vector along a, in the doubled cell"),
            "K": (k, "2*pi/B, B = 10.9198 angstrom", [2], "wave vector along b, in the doubled cell"),
            "Qa": (2 * math.pi * h / CELL[0], "1/angstrom", [1], "wave vector along a"),
            "Qb": (2 * math.pi * k / CELL[1], "1/angstrom", [2], "wave vector along b"),
            "E": (energy[0], "meV", energy[1], "energy transfer, middle of the bin"),
        }
        if self.large:
            ei = torch.tensor(INCIDENT).repeat_interleave(40)
            found["Ei"] = (ei, "meV", [1], "incident energy")
        return found

    def sample(self, n: int, generator: torch.Generator | None = None) -> Batch:
        """n pictures x (n, 1, H, W) in [0, 1] and c (n, 8): dimer, goodenough, and the six parameters in meV."""
        drawn = self.draw(n, generator)
        return Batch(drawn.images[:, None], torch.cat([drawn.labels, drawn.parameters.float()], 1))


def check(model: str, parameters: Tensor) -> None:
    """Refuses parameters outside their range, or whose magnetic order is unstable, naming the mode."""
    of = MODELS[model]
    if parameters.shape != (6,):
        raise UserError(f"{model} has six parameters, {', '.join(of.parameters)} in meV; got {parameters.numel()}")
    for name, value, low, high in zip(of.parameters, parameters.tolist(), of.low, of.high):
        if not low <= value <= high:
            raise UserError(f"{name} = {value:g} meV is outside [{low:g}, {high:g}], the range of {model}")
    if not Stability(model)(parameters[None])[0]:
        why = unstable_mode(model, parameters)
        raise UserError(f"{model} with these parameters: the magnetic order is unstable, {why}")
