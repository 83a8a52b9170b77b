# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
# ---

# %% [markdown]
# # Practical 2: a GAN for inelastic neutron scattering
#
# Digits are for practice. These pictures are of a magnet, Pr(Ca,Sr)₂Mn₂O₇: at which wave vectors $(H, K)$ and energies
# $E$ a neutron can leave a spin wave behind. Two models of the exchange between its spins compete, **Goodenough** and
# **dimer**, with six parameters each. We train a GAN on simulated pictures, and ask more of it than that they look
# right.
#
# It takes less than ten minutes on two cores. `LUDUS_BUDGET=0.1` makes all of it ten times shorter, and worse.

# %%
import os
import tempfile
from pathlib import Path

import numpy as np
import torch
from IPython.display import display
from matplotlib.figure import Figure
from PIL import Image

import ludus
from ludus import figures
from ludus.runs import journal
from ludus.worlds.ins import Ins
from ludus.worlds.spin_wave import MODELS

# %matplotlib inline
# %config InlineBackend.print_figure_kwargs = {"dpi": 100, "bbox_inches": None}
BUDGET = float(os.environ.get("LUDUS_BUDGET", "1"))  # a factor on all minutes and numbers of samples
N = max(int(2_000 * BUDGET), 100)  # held out, and generated to compare
RUNS = Path(tempfile.mkdtemp())  # a folder of your own keeps the runs

# %% [markdown]
# ## The data
#
# The lecture's practical reads its pictures from a file. We compute ours: same lattice, grid, energies and layout, new
# random parameters. Each is 20 × 200 pixels: ten panels of 20 × 20, one for each energy, divided by its brightest
# pixel. The lines are one pixel wide because this simulation, like the original, leaves out the instrument's
# resolution.

# %%
drawn = Ins().draw(6 * N, torch.Generator().manual_seed(0))
pictures, model = drawn.images.numpy(), np.array(Ins.labels)[drawn.labels.argmax(1)]
held_out, held_out_model = pictures[:N], model[:N]
pictures, model = pictures[N:], model[N:]
print(pictures.shape, "to train on,", len(held_out), "held out;", {name: int((model == name).sum()) for name in MODELS})
figures.panels({f"{i}: {model[i]}": pictures[i] for i in range(4)})

# %% [markdown]
# ## Panels
#
# As the practical does: cut the pictures into panels, and keep those in which something shines, with a maximum above
# 0.5. (In the original 64.6 % of the panels remain.)


# %%
def cut(pictures):
    """(n, 20, 200) -> (10 n, 20, 20)."""
    return pictures.reshape(-1, 20, 10, 20).transpose(0, 2, 1, 3).reshape(-1, 20, 20)


def bright(panels):
    return panels[panels.max((1, 2)) > 0.5]


panels, held_out_panels = bright(cut(pictures)), bright(cut(held_out))
print(f"{len(panels):,} of {10 * len(pictures):,} panels remain, {len(panels) / (10 * len(pictures)):.1%}")
figures.grid(panels[:60], columns=12)

# %% [markdown]
# ## The game
#
# Thin bright lines on black are hard for the lecture's GAN. We play a descendant, R3GAN, in which each fake is compared
# with the real picture beside it, and the discriminator's slope is penalised on both:
#
# $$J^{(D)} = \mathbb{E}\, \mathrm{softplus}\big(a(G(z)) - a(x)\big) + \tfrac{\gamma}{2} \mathbb{E} |\nabla a(x)|^2
# + \tfrac{\gamma}{2} \mathbb{E} |\nabla a(G(z))|^2, \qquad
# J^{(G)} = \mathbb{E}\, \mathrm{softplus}\big(a(x) - a(G(z))\big)$$
#
# Pairing leaves no reward for dropping modes, and the penalties keep the two players in balance. Networks and rates are
# the library's defaults for pictures, as for the digits.


# %%
def train(title, data, minutes, settings, **options):
    settings = {"snapshot.count": 4, **settings}
    return ludus.train("r3gan", data=data, minutes=minutes * BUDGET, run=RUNS / title, settings=settings, **options)


def film(run):
    """The pictures that a run took on its way, from the same latents, beside one another."""
    shots = [Image.open(shot).convert("L").reduce(3) for shot in sorted((run.folder / "samples").glob("*.png"))]
    strip = Image.new("L", (sum(shot.width for shot in shots), shots[0].height))
    for i, shot in enumerate(shots):
        strip.paste(shot, (i * shot.width, 0))
    return strip.quantize(32)


run = train("panels", panels, 1.5, {})
print(f"{run.turn:,} turns")
film(run)

# %% [markdown]
# From left to right: untrained, then after each quarter of the time, always the same 64 latents. The losses:

# %%
figures.curves([row for row in journal.read(run.folder / "metrics.jsonl") if "losses" in row])

# %%
figures.side_by_side({"real, held out": held_out_panels[:64], "generated": run.sample(64, seed=1)})

# %% [markdown]
# ## Whole pictures
#
# A panel knows nothing of its neighbours. In a whole picture the ten panels belong to one magnet: a band that
# leaves one panel must go on in the next. So it is the harder task; the game is the same.
#
# Which axis is what? Side by side, the same $(H, K)$ at two energies lies 20 pixels apart, and a convolution has to
# carry the news all that way. So we hand the picture over as 20 × 20 pixels with ten channels, the energies, and put
# it back afterwards. That also costs a tenth of the time. Both networks are twice as wide as for the panels.


# %%
def stacked(pictures):
    """(n, 20, 200) -> (n, 10, 20, 20)."""
    return pictures.reshape(-1, 20, 10, 20).transpose(0, 2, 1, 3)


def side_by_side(channels):
    """(n, 10, 20, 20) -> (n, 20, 200)."""
    return channels.transpose(0, 2, 1, 3).reshape(-1, 20, 200)


WHOLE = {"generator.width": 96, "discriminator.width": 32, "data.channels": "first"}
run = train("whole", stacked(pictures), 3.5, WHOLE)
generated = side_by_side(run.sample(N))
print(f"{run.turn:,} turns")
both = {"real, held out": held_out, "generated": generated}
figures.panels({f"{title}, {i}": of[i] for title, of in both.items() for i in range(4)})

# %% [markdown]
# The bands lie where bands lie, open and close from panel to panel as those of one magnet do, and fade out together.
# What three and a half minutes do not give is the last of the sharpness: some lines are still broken, and some pictures
# speckled.
#
# ## Is it right, and not only pretty?
#
# A physicist integrates. Over all wave vectors: how much intensity is there at each energy? Over energy and $K$: how
# much at each $H$? Bands are one standard error of the mean. The held-out pictures are the truth; as many training
# pictures show the **floor**, how far apart two sets are that differ by chance alone. In numbers: the root mean square,
# over bins, of the difference in standard errors; 1 is perfect.


# %%
def against_energy(pictures):
    return pictures.reshape(-1, 20, 10, 20).mean((1, 3))


def against_h(pictures):
    return pictures.mean(2)


def mean_and_error(values):
    return values.mean(0), values.std(0) / np.sqrt(len(values))


def distance(one, other):
    (m1, s1), (m2, s2) = mean_and_error(one), mean_and_error(other)
    return np.sqrt(np.mean((m1 - m2) ** 2 / (s1**2 + s2**2)))


sets = {"held out": held_out, "training (the floor)": pictures[:N], "generated": generated}
places = {"energy transfer (meV)": (4.4 + 4.8 * np.arange(10), against_energy),
          "H (r.l.u.)": (-2 + 0.1 * np.arange(20), against_h)}  # fmt: skip
figure = Figure(figsize=(9, 3.2), dpi=100)
for axes, (label, (at, integrate)) in zip(figure.subplots(1, 2), places.items()):
    for title, of in sets.items():
        mean, error = mean_and_error(integrate(of))
        axes.fill_between(at, mean - error, mean + error, alpha=0.4)
        axes.plot(at, mean, label=title, lw=1)
        if of is not held_out:
            apart = distance(integrate(of), integrate(held_out))
            print(f"against {label:24s}{title:24s}{apart:6.1f} standard errors from held out")
    axes.set(xlabel=label, ylabel="mean intensity", ylim=(0, None))
axes.legend(frameon=False)
figure.tight_layout()
display(figure)

# %% [markdown]
# # Exercises, with answers
#
# Asynchronous updates and the Wasserstein loss are answered in practical 1; here too each is one more argument. The
# third, a **conditional GAN**, is where the physics is.
#
# ## Conditional GAN: Goodenough or dimer?
#
# Both players are told which model made the picture, $G(z, c)$ and $D(x, c)$; $D$ then also punishes a picture that is
# good but of the other model. Afterwards we ask for either.

# %%
run = train("conditional", stacked(pictures), 3, WHOLE, condition=model)
asked = {name: side_by_side(run.sample(N // 2, c=name)) for name in MODELS}
figures.panels({f"generated, {name} {i}": of[i] for name, of in asked.items() for i in range(2)})

# %% [markdown]
# A single picture does not show it, since parameters vary more than models do. So compare the mean picture of each
# model with the real one. What the condition has to carry is the *difference* of the two means; the same
# difference between real sets, training against held out, says how well it could be known from so many pictures.

# %%
real = {name: held_out[held_out_model == name] for name in MODELS}
floor = {name: pictures[model == name][: len(real[name])] for name in MODELS}


def correlation(one, other):
    return np.corrcoef(one.ravel(), other.ravel())[0, 1]


def contrast(of):
    return of["goodenough"].mean(0) - of["dimer"].mean(0)


for title, of in {"training (the floor)": floor, "generated": asked}.items():
    means = {name: correlation(of[name].mean(0), real[name].mean(0)) for name in MODELS}
    said = ", ".join(f"mean of {name} {r:.3f}" for name, r in means.items())
    print(f"{title:22s}correlation with held out: {said}, difference {correlation(contrast(of), contrast(real)):.3f}")
figures.panels({f"mean of {name}, {title}": of[name].mean(0) for name in MODELS
                for title, of in {"held out": real, "generated": asked}.items()})  # fmt: skip

# %% [markdown]
# What the models share is learnt, with a correlation of 0.95 or more of the mean pictures; of their difference, which
# is what a classifier would live on, most (0.91, where 0.96 could be known).
#
# ## The measurement
#
# What did nature say? The spectrometer MAPS measured this magnet at six incident energies (rows) and ten energy
# transfers (columns), with its resolution. Beside it is the simulation, in the instrument's own layout, at the
# Goodenough parameters that Johnstone et al. fitted (2012). The spectra: Butler et al. (2021), with thanks to
# A. T. Boothroyd and D. Prabhakaran.

# %%
file = Path(os.environ.get("LUDUS_DATA", "../../shared/data")) / "ins" / "published_spectra.npz"
if file.is_file():
    found = np.load(file)
    seen, measured = ~found["detector_mask_flipped"], found["measured"].clip(max=30)
    world = Ins(mode="instrument", model="goodenough", parameters=list(MODELS["goodenough"].fitted))
    simulated = world.draw(1).images[0].numpy()
    print(f"correlation over {seen.sum():,} pixels with a detector: {correlation(simulated[seen], measured[seen]):.3f}")
    root = {title: np.where(seen, np.sqrt(of / np.percentile(of[seen], 99.5)), np.nan)[None]
            for title, of in {"measured, square root": measured, "simulated": simulated}.items()}  # fmt: skip
    display(figures.side_by_side(root, limits=(0, 1)))
else:
    print("skipped: ins/published_spectra.npz is neither in $LUDUS_DATA nor in ../../shared/data")
