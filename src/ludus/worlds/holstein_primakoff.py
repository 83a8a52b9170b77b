"""Linear spin waves of any commensurate magnet, one dense problem of twice its sites: the reference, slow and general.

    H = Σ_bonds S_i·J_ij·S_j + Σ_i S_i·K_i·S_i

With e3 along a spin, e1 and e2 across it and u = e1 + i e2, S_i ≈ √(S_i/2) (ū_i a_i + u_i a_i†) + e3_i (S_i - a_i†a_i)
(Holstein and Primakoff, Phys. Rev. 58, 1098 (1940)). Let w = √(S/2) (u, ū), 2N rows, and J(q) the 3N×3N matrix of
J_ij e^{2πi q·R} over the bonds, both ways, with 2K_i on its diagonal. Then, for x_q = (a_q, a†_{-q}),

    H₂ = ½ Σ_q x†_q h(q) x_q,    h(q) = w J(q) w† - C,    C_i = e3_i·F_i,    F = J(0) S e3

Its modes, after Colpa, Physica A 93, 327 (1978): h = K†K, K g K† = U E U† with g = (1, -1), the energies ω are the
positive E, and x = K⁻¹ U √ω creates and destroys them. Here K comes from the eigenvectors of h, not from a Cholesky
factor: so a Goldstone mode, where h is singular, needs no shift. Units: meV for J and K; q in r.l.u. of the cell.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from ludus.errors import UserError

ROUNDING = 1e-10  # of the largest eigenvalue or exchange field: below it, a number is zero


class Bond(NamedTuple):
    """From site i to site j of the cell that lies `cell` away; each bond is given once."""

    i: int
    j: int
    cell: tuple[int, int, int]
    exchange: float | Tensor  # J, or the matrix (3, 3) of S_i·J·S_j


class Magnet:
    """Spins in their classical ground state.

    Args: positions (N, 3) in fractions of the cell, directions (N, 3) in Cartesian axes (any length), spin (N,), bonds,
    onsite K (N, 3, 3). Raises UserError where the spins feel a torque, later where h(q) has a negative eigenvalue.
    """

    def __init__(
        self, positions: Tensor, directions: Tensor, spin: Tensor, bonds: Sequence[Bond], onsite: Tensor | None = None
    ):
        self.positions, self.bonds, self.onsite = positions.double(), bonds, onsite
        e3 = torch.nn.functional.normalize(directions.double(), dim=1)
        e1 = torch.linalg.cross(torch.eye(3, dtype=e3.dtype)[e3.abs().argmin(1)], e3)
        e1 = torch.nn.functional.normalize(e1, dim=1)
        u = torch.complex(e1, torch.linalg.cross(e3, e1))
        self.w = torch.stack([u, u.conj()]) * (spin.double() / 2).sqrt()[:, None]
        field = torch.einsum("iajb,jb->ia", self.exchange(torch.zeros(1, 3))[0].real, spin.double()[:, None] * e3)
        torque = torch.linalg.cross(e3, field).norm(dim=1)
        if torque.max() > ROUNDING * field.norm(dim=1).max():
            site = int(torque.argmax())
            raise UserError(f"no ground state: site {site} feels a field of {torque[site]:.3g} meV across its spin")
        self.along = (e3 * field).sum(1)

    def exchange(self, q: Tensor) -> Tensor:
        """J(q): (Q, 3) -> (Q, N, 3, N, 3) complex."""
        n, one = len(self.positions), torch.eye(3, dtype=torch.complex128)
        out = torch.zeros(len(q), n, 3, n, 3, dtype=torch.complex128)
        for i, j, cell, exchange in self.bonds:
            matrix = exchange.to(one) if isinstance(exchange, Tensor) else exchange * one
            phase = torch.exp(2j * math.pi * (q.double() @ torch.tensor(cell, dtype=torch.float64)))[:, None, None]
            out[:, i, :, j] += phase * matrix
            out[:, j, :, i] += phase.conj() * matrix.T
        for i, matrix in enumerate([] if self.onsite is None else self.onsite.to(one)):
            out[:, i, :, i] += matrix + matrix.T
        return out

    def energies(self, q: Tensor) -> Tensor:
        """ω ascending, meV: (Q, 3) -> (Q, N). Raises UserError where h(q) is not positive semidefinite."""
        return self._modes(q)[0]

    def structure_factor(self, q: Tensor, f: Tensor | float = 1.0) -> tuple[Tensor, Tensor]:
        """ω (Q, N) and, per cell, S^{ab} = ⟨0|S^a(-q)|m⟩ ⟨m|S^b(q)|0⟩ (Q, N, 3, 3) with S(q) = Σ f_i e^{2πi q·r_i} S_i.

        q (Q, 3), form factors f (Q, N) or one number. Unpolarised neutrons see the real part.
        """
        omega, t = self._modes(q)
        phase = f * torch.exp(-2j * math.pi * (q.double() @ self.positions.T))
        x = torch.einsum("qi,sia,qsim->qma", phase, self.w.conj(), t)
        return omega, x[..., :, None] * x[..., None, :].conj()

    def _modes(self, q: Tensor) -> tuple[Tensor, Tensor]:
        """ω (Q, N) and the columns of K⁻¹ U √ω that belong to it, (Q, 2, N, N)."""
        n = len(self.positions)
        h = torch.einsum("sia,qiajb,tjb->qsitj", self.w, self.exchange(q), self.w.conj()).reshape(len(q), 2 * n, 2 * n)
        squares, v = torch.linalg.eigh(h - torch.diag(self.along.repeat(2)))
        lowest, at = squares[:, 0].min(0)
        if lowest < -ROUNDING * squares.max():
            where = ", ".join(f"{x:.4g}" for x in q[at].tolist())
            raise UserError(f"no ground state: at q = ({where}) a mode has the negative stiffness {lowest:.3g} meV")
        roots = squares.clamp(min=torch.finfo(squares.dtype).eps * float(squares.max())).sqrt()
        g = torch.ones(2 * n, dtype=v.dtype)
        g[n:] = -1
        k = roots[..., None] * v.mH
        e, u = torch.linalg.eigh(k * g @ k.mH)
        omega = e[:, n:]
        t = (v / roots[:, None]) @ u[..., n:] * omega.clamp(min=0).sqrt()[:, None]
        return omega, t.reshape(len(q), 2, n, n)
