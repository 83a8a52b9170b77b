"""The lecture's two practicals in short: GANs of handwritten digits and of neutron spectra, and a page that shows them.

On digits: the lecture's own game (heuristic cost, the practical's network with small widths) and the relativistic one
with penalties; on panels of simulated spin-wave spectra: the latter. MNIST is used where its files are found, else
scikit-learn's digits; the spectra are computed in seconds. Less than eight minutes on two cores.
"""

import sys
import time
from pathlib import Path

import numpy as np
import torch

import ludus
from ludus.data import locate
from ludus.errors import LudusError, UserError
from ludus.report.page import page
from ludus.runs import folder
from ludus.session import section
from ludus.worlds.ins import Ins

MINUTES = 2.0
DCGAN = {"generator.widths": [64, 32, 16], "discriminator.widths": [16, 32], "trainer.lr": 1e-3}


def digits() -> str:
    """MNIST, if it is here."""
    try:
        locate.check("mnist")
        return "mnist"
    except UserError:
        print("MNIST is not here: scikit-learn's 8×8 digits instead", file=sys.stderr)
        return "digits"


def panels(n: int = 3000) -> np.ndarray:
    """Simulated neutron spectra cut as the practical cuts them: 20×20 panels in which something shines."""
    spectra = Ins().draw(n, torch.Generator().manual_seed(0)).images.numpy()
    cut = spectra.reshape(n, 20, 10, 20).transpose(0, 2, 1, 3).reshape(-1, 20, 20)
    return cut[cut.max((1, 2)) > 0.5]


def main() -> None:
    began, name, base = time.monotonic(), digits(), folder.new(Path("runs"), "demo")
    games = {
        f"gan-{name}": ("gan", name, {"network": "dcgan", "settings": DCGAN}),
        f"r3gan-{name}": ("r3gan", name, {}),
        "r3gan-neutrons": ("r3gan", panels(), {}),
    }
    sections = []
    for title, (method, data, options) in games.items():
        print(f"\n{title}, {MINUTES:g} minutes", file=sys.stderr)
        run = ludus.train(method, data=data, minutes=MINUTES, run=base / title, **options)
        sections.append(section(run))
    report = base / "report.html"
    summary = f"Handwritten digits ({name}) and simulated neutron spectra, {MINUTES:g} minutes a game."
    folder.write(report, page("The lecture's GAN, and a modern one", sections, summary))
    print(f"\n{(time.monotonic() - began) / 60:.1f} minutes in all. Open {report}")


if __name__ == "__main__":
    try:
        main()
    except LudusError as error:
        print(error, file=sys.stderr)
        sys.exit(error.exit_code)
