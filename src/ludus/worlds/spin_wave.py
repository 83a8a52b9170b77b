"""Linear spin waves of Pr(Ca,Sr)2Mn2O7, half-doped and charge-ordered, under two rival models of its exchange.

    H = Σ_bonds J_ij S_i·S_j + D Σ_i (S_i^z)²,    energies in meV, J < 0 ferromagnetic, D > 0 an easy plane

The CE order, ferromagnetic zigzag chains coupled antiferromagnetically, in one bilayer: 16 manganese spins S = 7/4
along ±b in the cell A = 2a, B = 2b, C = c. A half translation along b flips every spin and the layers repeat each
other, so four sites and a parity p = ±1 (top ± bottom) are enough: instead of one 32×32 problem, 4×4 ones. Their
transverse components S^z_i = √S X_i and S^x_i = ±√S P_i, [X, P] = i, obey

    H₂ = ½ (P† A P + X† B X),    Δ_i = -S Σ s J,    A_p = A - p S J⊥,    B_p = B + p S J⊥
    A_ij = S Σ s J e^{-2πi q·d} + δ_ij Δ_i,    B_ij = S Σ J e^{-2πi q·d} + δ_ij (Δ_i + 2DS)

over the bonds of i with displacement d and s = ±1 for equal or opposite spins. With A = L L†, L†BL = U ω² U†, the
modes are X_m = (LU)_m / √(2ω_m), and P_m alike with A and B exchanged. Source of the model: Johnstone et al., Phys.
Rev. Lett. 109, 237202 (2012); of the bonds and ranges: Butler et al., J. Phys.: Condens. Matter 33, 194006 (2021).
All in float64: in single precision the matrices of soft modes stop being positive.
"""

import math
from typing import Literal, NamedTuple

import torch
from torch import Tensor

CELL = (10.816, 10.9198, 19.266)  # A, B, C in Å; H, K, L below are in units of 2π/A, 2π/B, 2π/C
SPIN = 7 / 4
LAYER = 0.1  # the layers are at z = ±0.1 C
SITES = ((0, 0), (1 / 2, 1 / 2), (1 / 4, 3 / 4), (3 / 4, 3 / 4))  # Mn4+, Mn4+, Mn3+, Mn3+; x, y in A, B
SHIFT = 1e-6  # meV, added to a matrix that the Goldstone mode makes singular

# a, A, b, B, c, C, d of f = a e^{-As} + b e^{-Bs} + c e^{-Cs} + d, s = (|Q| / 4π)²; rows Mn4+, Mn3+
FORM_FACTORS = ((0.3760, 12.5661, 0.6602, 5.1329, -0.0372, 0.5630, 0.0011),
                (0.4198, 14.2829, 0.6054, 5.4689, 0.9241, -0.0088, -0.9498))  # fmt: skip


class Model(NamedTuple):
    """An exchange model: its six parameters in meV, the range each is drawn from, and its bonds.

    A bond is (i, j, (x, y), s, parameter): from site i to site j, displaced by (x, y) in units of (A, B), between equal
    (s = 1) or opposite (s = -1) spins.
    """

    parameters: tuple[str, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]
    fitted: tuple[float, ...]  # to the experiment, in Johnstone et al.
    bonds: tuple[tuple[int, int, tuple[float, float], int, str], ...]


def _bonds(strong: str, weak: str, first: str, second: str) -> tuple:
    """The nearest neighbours: `strong` and `weak` along the zigzag, `first` and `second` between chains."""
    q = 1 / 4
    return (
        (0, 2, (q, -q), 1, strong), (1, 3, (q, q), 1, strong), (0, 3, (-q, -q), 1, weak), (1, 2, (-q, q), 1, weak),
        (0, 2, (q, q), -1, first), (0, 3, (-q, q), -1, first),
        (1, 2, (-q, -q), -1, second), (1, 3, (q, -q), -1, second),
    )  # fmt: skip


_FURTHER = (
    (1, 0, (1 / 2, 1 / 2), 1, "JF2"), (1, 0, (-1 / 2, 1 / 2), 1, "JF2"),
    (2, 3, (1 / 2, 0), 1, "JF3"), (3, 2, (1 / 2, 0), 1, "JF3"),
)  # fmt: skip

MODELS = {  # in the order of the practical's one-hot labels
    "dimer": Model(
        ("JFW", "JA1", "JA2", "JFS", "Jperp", "D"),
        (-20, -3, -3, -20, 0, 0), (0, 3, 3, 0, 3, 0.2), (-8.43, 1.52, 1.52, -14.2, 0.92, 0.073),
        _bonds("JFS", "JFW", "JA1", "JA2"),
    ),
    "goodenough": Model(
        ("JF1", "JA", "JF2", "JF3", "Jperp", "D"),
        (-20, 0, -3, -3, 0, 0), (0, 3, 3, 3, 3, 0.2), (-11.39, 1.50, -1.35, 1.50, 0.88, 0.074),
        _bonds("JF1", "JF1", "JA", "JA") + _FURTHER,
    ),
}  # fmt: skip


def matrices(model: str, q: Tensor) -> Tensor:
    """What each parameter adds to A and to B at each wave vector: q (Q, 2) in (H, K) -> (6, 2, Q, 4, 4) complex.

    A and B are linear in the parameters: J (b, 6) gives them as J @ matrices, for parity p after `layered`.
    """
    names = MODELS[model].parameters
    out = torch.zeros(6, 2, len(q), 4, 4, dtype=torch.complex128, device=q.device)
    for i, j, d, s, name in MODELS[model].bonds:
        phase = torch.exp(-2j * math.pi * (q @ q.new_tensor(d)))
        for matrix, sign in enumerate((s, 1)):
            entry = out[names.index(name), matrix]
            entry[:, i, j] += SPIN * sign * phase
            entry[:, j, i] += SPIN * sign * phase.conj()
            for site in (i, j):
                entry[:, site, site] -= SPIN * s
    one = torch.eye(4, dtype=out.dtype, device=q.device)
    out[names.index("Jperp")] += SPIN * one
    out[names.index("D"), 1] += 2 * SPIN * one
    return out


def layered(parts: Tensor, p: Literal[1, -1]) -> Tensor:
    """`matrices` for layer parity p: A_p = A - p S J⊥, B_p = B + p S J⊥."""
    out, one = parts.clone(), SPIN * p * torch.eye(4, dtype=parts.dtype, device=parts.device)
    out[4, 0] -= one  # J⊥ is the fifth parameter of both models
    out[4, 1] += one
    return out


def combined(parts: Tensor, parameters: Tensor) -> Tensor:
    """Σ_k J_k parts_k: parts (6, ...) complex, J (b, 6) real -> (b, ...) complex."""
    flat = torch.view_as_real(parts).reshape(len(parts), -1)
    return torch.view_as_complex((parameters @ flat).reshape(len(parameters), *parts.shape[1:], 2))


class Modes(NamedTuple):
    """Four branches at each wave vector, of one component and one parity."""

    energy: Tensor  # ω (b, Q, 4), meV, ascending
    amplitude: Tensor  # (b, Q, 2, 4) complex: Σ over the Mn4+ sites, and over the Mn3+ sites, of X_m or P_m
    stable: Tensor  # (b,) whether all ω are real


def modes(parts: Tensor, parameters: Tensor, component: Literal["zz", "xx"]) -> Modes:
    """The spin waves seen in S^zz (out of the plane, X) or in S^xx (in the plane, P).

    `parts` (6, 2, Q, 4, 4) are the layered matrices, at q for zz and, since S^x alternates, at q + (0, 1) for xx.
    """
    a, b = combined(parts, parameters).unbind(1)
    first, second = (a, b) if component == "zz" else (b, a)
    first = first + SHIFT * torch.eye(4, dtype=first.dtype, device=first.device)
    root, failed = torch.linalg.cholesky_ex(first)
    stable = (failed == 0).all(1)
    root = torch.where(stable[:, None, None, None], root, torch.eye(4, dtype=root.dtype, device=root.device))
    squares, u = torch.linalg.eigh(root.mH @ second @ root)
    stable &= (squares > -SHIFT).all(-1).all(-1)
    energy = squares.clamp(min=SHIFT**2).sqrt()
    ions = ions_of(component).to(root)
    return Modes(energy, (ions @ root) @ u / (2 * energy).sqrt()[..., None, :], stable)


def ions_of(component: Literal["zz", "xx"]) -> Tensor:
    """(2, 4): the phase of each site in the amplitude of Mn4+ and in that of Mn3+; for xx e^{-2πi y}."""
    rows = torch.tensor([[1, 1, 0, 0], [0, 0, 1, 1]], dtype=torch.complex128)
    if component == "zz":
        return rows
    return rows * torch.exp(-2j * math.pi * torch.tensor([y for _, y in SITES], dtype=torch.float64))


def form_factors(q: Tensor) -> Tensor:
    """f of Mn4+ and of Mn3+ at |Q| in 1/Å: (...) -> (..., 2)."""
    s = (q / (4 * math.pi)) ** 2
    return torch.stack(
        [sum(c * torch.exp(-e * s) for c, e in zip(row[:6:2], row[1:6:2])) + row[6] for row in FORM_FACTORS], -1
    )


def intensity(found: Modes, f: Tensor, layers: Tensor | float) -> Tensor:
    """I_m = 2S · layers · |Σ_ions f · amplitude_m|² per 16 atoms: (b, Q, 4).

    f (..., 4 or 1, 2) by mode and ion. `layers` is what the two layers make of it: 2 cos²θ (zz with p = 1, and xx with
    p = -1) or 2 sin²θ, θ = 2π·0.1·L.
    """
    return 2 * SPIN * layers * (f.mT * found.amplitude).sum(-2).abs().square()


def zone() -> Tensor:
    """Wave vectors (Q, 2) at which a state is tested: steps of 0.1 through half of the zone, H in [0, 1), K in [0, 1].

    -q has the spectrum of q, and the zone of the four sites is 1×2.
    """
    h, k = torch.meshgrid(torch.arange(10) / 10, torch.arange(11) / 10, indexing="ij")
    return torch.stack([h, k], -1).reshape(-1, 2).double()


class Stability:
    """Whether the CE state is a minimum of the energy: A_p and B_p have no negative eigenvalue anywhere in the zone.

    As J⊥ >= 0, A_+ is the smaller one of A_±, and B_- of B_±.
    """

    def __init__(self, model: str, q: Tensor | None = None):
        q = zone() if q is None else q
        self.parts = matrices(model, q)
        self.parts = torch.stack([layered(self.parts, 1)[:, 0], layered(self.parts, -1)[:, 1]], 1)

    def __call__(self, parameters: Tensor) -> Tensor:
        """(b, 6) -> (b,) bool."""
        both = combined(self.parts.to(parameters.device), parameters)
        _, failed = torch.linalg.cholesky_ex(both + SHIFT * torch.eye(4, dtype=both.dtype, device=both.device))
        return (failed == 0).flatten(1).all(1)


def unstable_mode(model: str, parameters: Tensor) -> str:
    """The softest mode of an unstable state in words: its component, its wave vector and how far below zero it is."""
    q, worst = zone(), (math.inf, "")
    for number, (component, p) in enumerate((("S^x, in the plane", 1), ("S^z, out of the plane", -1))):
        matrix = combined(layered(matrices(model, q), p)[:, number], parameters[None])[0]
        lowest, at = torch.linalg.eigvalsh(matrix)[:, 0].min(0)
        h, k = q[at].tolist()
        worst = min(worst, (float(lowest), f"the mode {component}, at (H, K) = ({h:.1f}, {k:.1f})"))
    return f"{worst[1]} has the negative stiffness {worst[0]:.3g} meV"
