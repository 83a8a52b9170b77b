"""Neutron pictures that others published beside those that `ludus simulate ins` computes: docs/ins.png, and numbers.

    python benchmarks/ins_published.py [docs/ins.png]

Reads practical_pictures.npz and published_spectra.npz from $LUDUS_DATA/ins or ../shared/data/ins. Seconds.
"""

import io
import json
import os
import sys
from pathlib import Path

import numpy as np
import torch
from matplotlib import colormaps
from matplotlib.colors import PowerNorm
from PIL import Image

from ludus.figures.save import COLOURS, FAINT, INK, blank, png
from ludus.worlds.ins import INCIDENT, Ins
from ludus.worlds.spin_wave import MODELS

# meV, in the model's order: what `ludus fit ins` found with seed 0
FITS = {
    "train0": {
        "dimer": (-9.29668, 1.15676, 0.33246, -19.324, 2.48504, 3e-05),
        "goodenough": (-10.7598, 0.8444, -0.86898, 0.54295, 2.01741, 0.08795),
    },
    "test0": {
        "dimer": (-0.28827, 2.22216, 2.50406, -3.16698, 2.86056, 0.00672),
        "goodenough": (-1.67998, 2.34234, 0.80524, -0.57974, 2.99963, 0.13006),
    },
    "test1": {
        "dimer": (-4.8607, 2.2707, 1.79215, -19.37525, 2.05228, 0.149),
        "goodenough": (-8.44279, 2.13539, -1.66319, 1.78241, 1.92487, 0.05642),
    },
    "test4": {
        "goodenough": (-4.12908, 0.73139, -2.04773, 1.60261, 0.4686, 0.15924),
        "dimer": (-1.25048, 1.03598, 0.82578, -7.53758, 0.66318, 0.1787),
    },
}
WHOLE = {  # the same of train0, from pictures whose second twin has all its components
    "dimer": (-9.13884, 1.37149, 0.25505, -19.44605, 2.29743, 0.05822),
    "goodenough": (-11.24071, 0.89333, -0.61956, 0.77951, 1.7874, 0.19924),
}
FAR = 1e9  # meV: an incident energy at which L is 0, as in the practical
CAPTIONS = {"test0": "goodenough", "test1": "goodenough", "test4": "dimer"}  # in the practical's notebooks
SHOWN = ("train0", "test0", "test4")
CLIP = 30  # of the measurement, in its arbitrary units, as in the published comparison
WIDE, LEFT, HEAD, GAP = 1820, 100, 74, 20  # dots; each pixel is a whole number of them


def read(name: str) -> dict[str, np.ndarray]:
    beside = Path(__file__).parents[2] / "shared" / "data"
    for root in (Path(os.environ.get("LUDUS_DATA", beside)), beside):
        if (root / "ins" / name).is_file():
            return dict(np.load(root / "ins" / name))
    raise SystemExit(f"ins/{name} is neither in $LUDUS_DATA nor in ../shared/data")


def simulated(mode: str, model: str, parameters: tuple[float, ...], **given: float) -> np.ndarray:
    world = Ins(mode=mode, model=model, **given)
    return world.spectra(model, torch.tensor([parameters], dtype=torch.float64))[0][0].numpy()


def correlation(one: np.ndarray, other: np.ndarray) -> float:
    return float(np.corrcoef(one.ravel(), other.ravel())[0, 1])


def cut(image: np.ndarray) -> np.ndarray:
    """(240, 400) -> (60, 1600): its panels, the energies of an Ei after one another."""
    return image.reshape(6, 40, 10, 40).transpose(0, 2, 1, 3).reshape(60, 1600)


def by_panel(image: np.ndarray, target: np.ndarray, seen: np.ndarray, lit: np.ndarray) -> np.ndarray:
    """Correlations over the unmasked pixels of each panel in `lit`."""
    rows = zip(cut(image)[lit], cut(target)[lit], cut(seen)[lit])
    return np.array([correlation(x[mask], y[mask]) for x, y, mask in rows])


def bootstrap(difference: np.ndarray, n: int = 10_000) -> list[float]:
    """The 95 % interval of a mean over panels, resampling panels with both models' values."""
    drawn = difference[np.random.default_rng(0).integers(len(difference), size=(n, len(difference)))].mean(1)
    return [float(x) for x in np.percentile(drawn, [2.5, 97.5])]


class Page:
    """A white page filled from the top, in dots."""

    def __init__(self, height: int):
        self.figure, self.height = blank(WIDE, height), height

    def axes(self, left: float, top: float, width: float, height: float):
        return self.figure.add_axes((left / WIDE, 1 - (top + height) / self.height, width / WIDE, height / self.height))

    def strip(self, top: int, picture: np.ndarray, title: str, last: bool) -> None:
        """A 20×200 picture: ten panels of H by K."""
        axes = self.axes(LEFT, top, 1600, 160)
        draw(axes, picture, 20, title)
        axes.set_yticks([0, 10, 19], ["−2", "−1", "−0.1"])
        axes.set_ylabel("H (r.l.u.)", fontsize=6.5, color=INK)
        for j in range(10):
            axes.text(20 * j + 9.5, -0.9, f"{4.4 + 4.8 * j:.1f} meV", fontsize=6, color=FAINT, ha="center")
        ticks = [(20 * j + k, text) for j in range(10) for k, text in ((0, "−2"), (10, "−1"))] if last else []
        axes.set_xticks([at for at, _ in ticks], [text for _, text in ticks])
        if last:
            axes.set_xlabel("K (r.l.u.) in each panel; energy transfer above", fontsize=6.5, color=INK)

    def large(self, place: tuple[float, ...], picture: np.ndarray, title: str) -> None:
        """A 240×400 picture: six incident energies by ten energy transfers."""
        axes = self.axes(*place)
        draw(axes, picture, 40, title)
        for i in range(1, 6):
            axes.axhline(40 * i - 0.5, color=FAINT, lw=0.4)
        axes.set_yticks([40 * i + 19.5 for i in range(6)], [f"{ei:g}" for ei in INCIDENT])
        axes.set_ylabel("incident energy Ei (meV); h 1 … −1 in each", fontsize=6, color=INK)
        axes.set_xticks([40 * j + 19.5 for j in range(10)], [f"{0.13 + 0.06 * j:.2f}" for j in range(10)])
        axes.set_xlabel("energy transfer E / Ei, middle of the bin; k −1 … 1 r.l.u. in each", fontsize=6, color=INK)


def draw(axes, picture: np.ndarray, panel: int, title: str) -> None:
    """From 0, black, to the 99.5th percentile, white; masked pixels blue; large pictures by their square root."""
    grey = colormaps["gray"].with_extremes(bad="#33608f")
    norm = PowerNorm(1 if panel == 20 else 0.5, 0, np.nanpercentile(picture, 99.5), clip=True)
    axes.imshow(picture, cmap=grey, norm=norm, interpolation="nearest", aspect="auto")
    for j in range(1, picture.shape[1] // panel):
        axes.axvline(panel * j - 0.5, color=FAINT, lw=0.4)
    axes.tick_params(labelsize=5.5, colors=INK, length=2, width=0.4)
    axes.set_title(title, fontsize=7.5, color=INK, loc="left", pad=11 if panel == 20 else 4)


def main(target: Path) -> dict:
    practical, file = read("practical_pictures.npz"), read("published_spectra.npz")
    numbers: dict = {"practical": {}}

    fitted = {name: {model: simulated("practical", model, p) for model, p in of.items()} for name, of in FITS.items()}
    for name, of in fitted.items():
        found = {model: round(correlation(x, practical[name]), 4) for model, x in of.items()}
        numbers["practical"][name] = {**found, "caption of the notebook": CAPTIONS.get(name)}
    numbers["practical"]["train0, both twins whole"] = {
        model: round(correlation(simulated("physical", model, p, ei=FAR), practical["train0"]), 4)
        for model, p in WHOLE.items()
    }

    seen, published = ~file["detector_mask_flipped"], file["simulated_goodenough"]
    measured = np.clip(file["measured"], None, CLIP)
    at_fit = {(mode, model): simulated(mode, model, MODELS[model].fitted)
              for mode in ("published", "instrument") for model in MODELS}  # fmt: skip
    mine = at_fit["published", "goodenough"]
    flipped = published.reshape(6, 40, 10, 40)[:, ::-1, :, ::-1].reshape(240, 400)
    twice = seen & seen.reshape(6, 40, 10, 40)[:, ::-1, :, ::-1].reshape(240, 400)
    numbers["published simulation, goodenough, unmasked pixels"] = {
        "our published mode": correlation(mine[seen], published[seen]),
        "factor between the two (4 expected)": float(mine[seen] @ published[seen] / (mine[seen] @ mine[seen])),
        "our instrument mode": correlation(at_fit["instrument", "goodenough"][seen], published[seen]),
        "itself at -Q": correlation(published[twice], flipped[twice]),
    }
    means = cut(at_fit["instrument", "goodenough"]).mean(1)
    lit = np.flatnonzero(means >= 0.005 * means.max())
    panel = {key: by_panel(x, measured, seen, lit) for key, x in at_fit.items()}
    panel["published simulation"] = by_panel(published, measured, seen, lit)
    whole = {key: correlation(x[seen], measured[seen]) for key, x in at_fit.items()}
    whole["published simulation"] = correlation(published[seen], measured[seen])
    difference = panel["instrument", "goodenough"] - panel["instrument", "dimer"]
    numbers["instrument"] = {
        "panels": len(lit),
        "against the measurement: all unmasked pixels, mean of the panels": {
            " ".join(key) if isinstance(key, tuple) else key: [whole[key], float(panel[key].mean())] for key in panel
        },
        "goodenough - dimer, mean of the panels": float(difference.mean()),
        "95 % interval, panels resampled": bootstrap(difference),
        "panels in which goodenough is better": int((difference > 0).sum()),
    }

    strip, tall, half = 160, 480, 800
    page = Page(2 * len(SHOWN) * (strip + HEAD) + 3 * (tall + 110) + 90)
    top = HEAD
    for name in SHOWN:
        best = max(FITS[name], key=lambda model: numbers["practical"][name][model])
        page.strip(top, practical[name], f"the practical's picture {name}", False)
        title = f"simulated, {best}, r = {numbers['practical'][name][best]:.4f}"
        page.strip(top + strip + HEAD, fitted[name][best], title, name == SHOWN[-1])
        top += 2 * (strip + HEAD)
    top += 50
    left, right = LEFT, 2 * LEFT + half
    step = tall + 110
    hidden = lambda x: np.where(seen, x, np.nan)  # noqa: E731
    score = numbers["published simulation, goodenough, unmasked pixels"]["our published mode"]
    page.large((left, top, half, tall), hidden(published), "published simulation, goodenough")
    page.large((right, top, half, tall), hidden(mine), f"simulated, mode published, goodenough, r = {score:.3f}")
    page.large((left, top + step, half, tall), hidden(measured), f"measured, clipped at {CLIP}")
    for model, place in (("goodenough", (right, top + step)), ("dimer", (left, top + 2 * step))):
        title = f"simulated, mode instrument, {model}, r = {whole['instrument', model]:.3f}"
        page.large((*place, half, tall), hidden(at_fit["instrument", model]), title)
    place = page.axes(right, top + 2 * step, half, tall)
    scatter(place, panel["instrument", "dimer"], panel["instrument", "goodenough"])
    Image.open(io.BytesIO(png(page.figure))).convert("RGB").quantize(200).save(target, optimize=True)  # half the bytes
    return numbers


def scatter(axes, dimer: np.ndarray, goodenough: np.ndarray) -> None:
    """Each panel's correlation with the measurement under both models."""
    axes.plot([0, 1], [0, 1], color=FAINT, lw=0.6)
    axes.plot(dimer, goodenough, "o", ms=2.5, color=COLOURS[0])
    axes.set_xlabel("r with the measurement, dimer", fontsize=6, color=INK)
    axes.set_ylabel("r with the measurement, goodenough", fontsize=6, color=INK)
    axes.tick_params(labelsize=5.5, colors=INK, length=2, width=0.4)
    means = f"mean {goodenough.mean():.3f} against {dimer.mean():.3f}"
    axes.set_title(f"{len(dimer)} panels with a line: {means}", fontsize=7.5, color=INK, loc="left", pad=4)


if __name__ == "__main__":
    where = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parents[1] / "docs" / "ins.png"
    print(json.dumps(main(where), indent=1))
