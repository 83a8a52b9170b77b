"""The toys on which adversarial play can be followed by hand: their published numbers beside ours, in a minute.

    python benchmarks/toys.py

The Dirac-GAN's radii (Mescheder et al. 2018), the saddle of two time scales (Heusel et al. 2017), the toy of historical
averaging (Salimans et al. 2016), and the bilinear game. The games are those of the tests, which hold each against a
recursion in plain numbers; here they are printed, and kept in benchmarks/results/toys.json.
"""

import datetime
import json
import math
import platform
import sys
from decimal import Decimal
from functools import partial
from pathlib import Path

import torch

from ludus.methods.r3gan import R3GAN

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent / "tests"))

import test_losses  # noqa: E402
import test_play  # noqa: E402
from claims import test_dirac  # noqa: E402

GAMES = test_dirac.METHODS | {
    "GAN, consensus 1": test_dirac.METHODS["GAN"],
    "R3GAN, γ = 0.15": partial(R3GAN, gamma=0.15),
}
SADDLE = [(0.001, 0.001), (1e-4, 0.01), (0.01, 0.01), (0.01, 1e-4)]


def row(table: str, name: str, printed: str, ours: float, met: bool | None) -> dict:
    """A line of a table; met: within 1 %, or half a unit of the last printed digit; None where nothing was printed."""
    said = {None: "", True: "met", False: "not met"}[met]
    print(f"{table:16} {name:34} expected {printed or '–':16} here {ours:<12.4g} {said}")
    return {"table": table, "row": name, "expected": printed, "here": ours, "met": met}


def dirac() -> list[dict]:
    found = []
    for name, method in GAMES.items():
        for i, play in enumerate(test_dirac.PLAYS):
            radius = math.hypot(*test_dirac.played(method, play, consensus=float("consensus" in name)))
            printed = test_dirac.RADII.get(name, [""] * 3)[i]
            unit = 10 ** Decimal(printed).as_tuple().exponent if printed else 0
            met = abs(radius - float(printed)) <= max(0.01 * float(printed), unit / 2) if printed else None
            found.append(row("Dirac-GAN", f"{name}, {play}", printed, radius, met))
    return found


def saddle() -> list[dict]:
    """f = (1 + x²)(100 − y²), unit noise on both gradients: the root mean square distance of 1,000 runs to the saddle.

    Where x is slow enough to settle, h² / (1 − (1 − k h)²) for the curvatures k of 200 and 2; at h = 0.01 it cannot.
    """
    found = []
    for rates in SADDLE:
        torch.manual_seed(0)
        x, y = test_play.saddle(*rates, 5000)
        here = (x.square() + y.square()).mean().sqrt().item()
        settles = 200 * rates[0] < 1.9
        exact = math.sqrt(sum(h**2 / (1 - (1 - k * h) ** 2) for h, k in zip(rates, (200, 2)))) if settles else 0.1
        met = abs(here / exact - 1) < 4 / math.sqrt(2 * len(x)) + 0.01 if settles else here > exact
        said = f"{exact:.4f}" if settles else "wanders, > 0.1"
        found.append(row("saddle (TTUR)", f"rates {rates[0]:g} and {rates[1]:g}", said, here, met))
    return found


def averaging() -> list[dict]:
    found = []
    for weight, printed in {0.0: "turns round", 0.1: "converges"}.items():
        start = (1.5, 1.8)
        end = test_losses.played(weight, 3000, start)
        radius, began = (math.hypot(x - 1, y - 1) for x, y in (end, start))
        met = radius > began if weight == 0 else radius < 0.05 * began
        found.append(row("averaging", f"weight {weight:g}, from radius {began:.3g}", printed, radius, met))
    return found


def bilinear() -> list[dict]:
    h, turns = test_play.H, 200
    exact = {"simultaneous": math.sqrt(1 + h**2), "extragradient": math.sqrt(1 - h**2 + h**4),
             "optimistic": math.sqrt((1 + math.sqrt(1 - 4 * h**2)) / 2), "alternate": 1.0}  # fmt: skip
    found = []
    for play, factor in exact.items():
        trainer = test_play.bilinear(play=play)
        first, last = (abs(test_play.after(trainer, turns)) for _ in range(2))
        ours = (last / first) ** (1 / turns)
        close = abs(ours - factor) < (1e-3 if play == "alternate" else 1e-6)  # alternating play keeps an ellipse
        found.append(row("min max xy", f"{play}, factor a turn", f"{factor:.6f}", ours, close))
    return found


if __name__ == "__main__":
    rows = [*dirac(), *saddle(), *averaging(), *bilinear()]
    kept = {"date": f"{datetime.date.today()}", "machine": platform.machine(), "torch": torch.__version__, "rows": rows}
    out = HERE / "results" / "toys.json"
    out.write_text(json.dumps(kept, indent=1, ensure_ascii=False) + "\n")
    print(f"{sum(r['met'] is True for r in rows)} met, {sum(r['met'] is False for r in rows)} not met: {out}")
