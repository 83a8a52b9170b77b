"""The main job on real input: two GANs on real handwritten digits, and a page that shows them side by side.

The lecture's own game (heuristic cost, the practical's network with small widths) beside the relativistic one with
penalties. MNIST is used where its files are found, else scikit-learn's digits. Less than five minutes on two cores.
"""

import sys
import time
from pathlib import Path

import ludus
from ludus.data import locate
from ludus.errors import LudusError, UserError
from ludus.report.page import page
from ludus.runs import folder
from ludus.session import section

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


def main() -> None:
    began, data, base = time.monotonic(), digits(), folder.new(Path("runs"), "demo")
    games = {
        "gan": {"network": "dcgan", "settings": DCGAN},
        "r3gan": {},
    }
    sections = []
    for method, options in games.items():
        print(f"\n{method} on {data}, {MINUTES:g} minutes", file=sys.stderr)
        run = ludus.train(method, data=data, minutes=MINUTES, run=base / method, **options)
        sections.append(section(run))
    report = base / "report.html"
    summary = f"Two games on real handwritten digits ({data}), {MINUTES:g} minutes each."
    folder.write(report, page("The lecture's GAN, and a modern one", sections, summary))
    print(f"\n{(time.monotonic() - began) / 60:.1f} minutes in all. Open {report}")


if __name__ == "__main__":
    try:
        main()
    except LudusError as error:
        print(error, file=sys.stderr)
        sys.exit(error.exit_code)
