"""What ails a game, from what was measured of it: names, evidence, advice. Knows rows of metrics.jsonl and no torch."""

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from statistics import fmean, median
from typing import Any, NamedTuple

Look = Mapping[str, Any]  # a row's "doctor" entry, as measure.Gauge says

SETTLED = 150  # moves of each player before anything is named: every game begins with samples that are easily told
LOOKS = 4  # over which something holds before it is named, by their median or at each
HEALTHY, DIVERGENCE = "healthy", "divergence"


class Finding(NamedTuple):
    """An illness by name, the turns at which it was first and last seen, what says so, and what helps."""

    name: str
    turn: int
    until: int
    evidence: str
    advice: str

    @property
    def turns(self) -> str:
        return f"turn {self.turn:,}" if self.until == self.turn else f"turns {self.turn:,} to {self.until:,}"

    def __str__(self) -> str:
        return f"{self.turns}: {self.name}: {self.evidence}. {self.advice}"


class Illness(NamedTuple):
    """evidence: of a window of looks, "" where it is not so. strong: the player that should move less.

    explains: what follows from it, and is not named beside it.
    """

    evidence: Callable[[Sequence[Look]], str]
    advice: str
    strong: str = ""
    explains: tuple[str, ...] = ()


# One number of a window. What a game does not have is NaN, and no comparison with NaN holds.


def middle(looks: Sequence[Look], name: str) -> float:
    return median(look.get(name, math.nan) for look in looks)


def nearer(looks: Sequence[Look]) -> float:
    """How far the samples are from the data in the later half of the window, over how far in the earlier."""
    half = len(looks) // 2
    earlier, later = (fmean(look["energy"] for look in part) for part in (looks[:half], looks[half:]))
    return later / earlier


def learning(looks: Sequence[Look]) -> bool:
    """Whether the samples came nearer to the data within the window, by 15 %, or spread out at every look."""
    spread = [look["spread"] for look in looks]
    return nearer(looks) < 0.85 or (spread == sorted(spread) and 1.2 * spread[0] < spread[-1] < 1)


def missed(looks: Sequence[Look]) -> float:
    """The share of the data in cells where, over the window, a sample is less than a quarter as often as it should."""
    visits = [fmean(each) for each in zip(*(look["visits"] for look in looks))]
    return sum(share for share, visit in zip(looks[-1]["cells"], visits) if visit < share / 4)


def hops(looks: Sequence[Look]) -> float:
    """The share of the samples that went to other cells from one look to the next, the median."""
    pairs = itertools.pairwise(look["visits"] for look in looks)
    return median(sum(abs(a - b) for a, b in zip(old, new)) / 2 for old, new in pairs)


# The illnesses


def divergence(looks: Sequence[Look]) -> str:
    look = looks[-1]
    wide, logit = look["spread"], look.get("logit", 0.0)
    if not math.isfinite(look["energy"] + logit) or wide > 100 or logit > 1e3:
        return f"the samples are {wide:.3g} times as wide as the data, the largest logit is {logit:.3g}"
    return ""


def vanishing(looks: Sequence[Look]) -> str:
    told, slope, force = (middle(looks, name) for name in ("told", "slope", "force"))
    if told > 0.97 and slope < 0.02:
        return (
            f"the discriminator tells {told:.1%} right, and there the slope of the generator's cost in the logit is "
            f"{slope:.1g}, that at the samples {force:.1g} per width of the data"
        )
    return ""


def overpowering(looks: Sequence[Look]) -> str:
    told = min(look.get("told", math.nan) for look in looks)
    if told > 0.985 and hops(looks) < 0.5 and not learning(looks):
        return f"it tells at least {told:.1%} right, held-out data too, and the samples come no nearer to the data"
    return ""


def overpowered(looks: Sequence[Look]) -> str:
    told, energy = max(look.get("told", math.nan) for look in looks), middle(looks, "energy")
    if told < 0.7 and energy > 0.5 and not learning(looks):
        return f"it tells at most {told:.0%} right, where a coin gets 50 %, though the samples are far from the data"
    return ""


def overfitting(looks: Sequence[Look]) -> str:
    memory = middle(looks, "memory")
    if memory > 0.7:
        return f"it tells its training data from held-out data, {memory:.0%} right: it knows them by heart"
    return ""


def collapse(looks: Sequence[Look]) -> str:
    spread = middle(looks, "spread")
    if spread < 0.25 and not learning(looks):
        return f"the samples are {spread:.2g} times as far apart as the data"
    return ""


def partial(looks: Sequence[Look]) -> str:
    half = len(looks) // 2
    share = min(missed(looks[:half]), missed(looks[half:]))
    if share > 0.3 and middle(looks, "spread") >= 0.25 and nearer(looks) > 0.6:
        return f"no samples, or few, where {share:.0%} of the data are"
    return ""


def hopping(looks: Sequence[Look]) -> str:
    moved, energy = hops(looks), middle(looks, "energy")
    if moved > 0.5 and energy > 0.4 and not learning(looks):
        return f"far from the data, {moved:.0%} of the samples go to another part of them from one look to the next"
    return ""


def condition_ignored(looks: Sequence[Look]) -> str:
    response, spread, tells = (middle(looks, name) for name in ("response", "spread", "tells"))
    if tells > 0.1 and response < 0.05 * spread:
        return (
            f"another condition moves a sample by {response:.1g} of the data's spread; in the data, rows of equal or "
            f"neighbouring condition are {tells:.0%} closer than others"
        )
    return ""


def latent_ignored(looks: Sequence[Look]) -> str:
    within = middle(looks, "within")
    if within < 0.1 and middle(looks, "spread") >= 0.25:
        return f"samples of one condition are {within:.1g} times as far apart as the data"
    return ""


def posterior_collapse(looks: Sequence[Look]) -> str:
    nats, latents = middle(looks, "nats"), len(looks[-1].get("kl", ()))
    if nats < 0.1 and not learning(looks):
        return f"the codes carry {nats:.1g} nats of the data, all {latents} latents together: q(z|x) is the prior"
    return ""


POSTERIOR = "posterior collapse"
VANISHING, OVERPOWERING, OVERPOWERED = "vanishing gradient", "overpowering discriminator", "overpowered discriminator"
OVERFITTING, CONDITION, LATENT = "overfitted discriminator", "condition ignored", "latent ignored"
COLLAPSE, PARTIAL, HOPPING = "mode collapse", "partial collapse", "mode hopping"
OF_SAMPLES = (COLLAPSE, PARTIAL, HOPPING, CONDITION, LATENT)
ILLNESSES = {
    DIVERGENCE: Illness(
        divergence,
        "Lower trainer.lr; add slope penalties (r3gan, or gan with method.penalties.r1); scale the data.",
        explains=(VANISHING, OVERPOWERING, OVERPOWERED, OVERFITTING, *OF_SAMPLES),
    ),
    VANISHING: Illness(
        vanishing,
        "A cost whose slope does not vanish where the discriminator is sure: method.cost=heuristic; r3gan; wgan_gp. "
        "Instance noise (lens.noise) makes the two overlap.",
        "discriminator",
        (OVERPOWERING, *OF_SAMPLES),
    ),
    CONDITION: Illness(
        condition_ignored,
        "See that both networks use c (networks of your own: is it concatenated?) and that its labels are right.",
        explains=(OVERPOWERING, PARTIAL, HOPPING),
    ),
    LATENT: Illness(
        latent_ignored,
        "See that the generator uses z; packing (lens.pack=2), so that the discriminator sees that samples are alike.",
        explains=(OVERPOWERING, PARTIAL, HOPPING),
    ),
    OVERPOWERING: Illness(
        overpowering,
        "Let the discriminator move less often (trainer.every.discriminator=2, trainer.hold_above.discriminator=0.8) "
        "or more slowly (trainer.rates); penalise its slope (method.penalties.r1, r3gan); widen the generator.",
        "discriminator",
        OF_SAMPLES,
    ),
    OVERFITTING: Illness(
        overfitting,
        "More data; augmentation (lens.augment, ada.target=0.6); a smaller discriminator, or one with dropout; r1.",
        "discriminator",
        (OVERPOWERED,),
    ),
    OVERPOWERED: Illness(
        overpowered,
        "Let the generator move less often (trainer.every.generator=2) or the discriminator faster (trainer.rates); "
        "give the discriminator more width.",
        "generator",
        OF_SAMPLES,
    ),
    POSTERIOR: Illness(
        posterior_collapse,
        "Lower method.beta, or let it rise from 0 (annealing.values.beta=[0,1]); method.free_bits=0.5; a smaller or a "
        "learned decoder.sigma; a narrower decoder.",
        explains=(COLLAPSE, PARTIAL, HOPPING, CONDITION),
    ),
    COLLAPSE: Illness(
        collapse,
        "r3gan, whose pairing leaves no reward for it; packing (lens.pack=2); unrolled_gan; a lower rate for the "
        "generator (trainer.rates.generator).",
        "generator",
        (PARTIAL,),
    ),
    PARTIAL: Illness(
        partial,
        "r3gan; packing (lens.pack=2); minibatch layers (discriminator.minibatch); unrolled_gan; a wider generator.",
        "generator",
    ),
    HOPPING: Illness(
        hopping,
        "Lower trainer.lr, or the generator's (trainer.rates.generator); slope penalties (method.penalties.r1, r3gan); "
        "unrolled_gan; trainer.play=extragradient.",
        "generator",
    ),
}


def now(rows: Sequence[Mapping[str, Any]]) -> list[Finding]:
    """What ails the game at the last of the rows that were looked at."""
    looks = [row for row in rows if "doctor" in row]
    turn = looks[-1]["turn"] if looks else 0
    window = [row["doctor"] for row in looks[-LOOKS:] if row["doctor"]["moves"] > SETTLED]
    found: list[Finding] = []
    for name, illness in ILLNESSES.items():
        enough = len(window) == LOOKS or (looks and name == DIVERGENCE)
        explained = any(name in ILLNESSES[each.name].explains for each in found)
        seen = [looks[-1]["doctor"]] if name == DIVERGENCE and looks else window
        if enough and not explained and (evidence := illness.evidence(seen)):
            found.append(Finding(name, turn, turn, evidence, illness.advice))
    return found


def findings(rows: Sequence[Mapping[str, Any]]) -> list[Finding]:
    """What ailed a run, in the order in which it was named, from its rows of metrics.jsonl; or that it is healthy.

    What was found at two looks in succession is one finding; if it comes back later, another. Without looks: nothing.
    """
    looks = [row for row in rows if "doctor" in row]
    found: list[Finding] = []
    for i, row in enumerate(looks):
        for each in now(looks[max(0, i + 1 - LOOKS) : i + 1]):
            going_on = [k for k, old in enumerate(found) if (old.name, old.until) == (each.name, looks[i - 1]["turn"])]
            if going_on:
                found[going_on[0]] = found[going_on[0]]._replace(until=row["turn"])
            else:
                found.append(each)
    for row in rows:
        if row.get("diverged"):
            found.append(Finding(DIVERGENCE, row["turn"], row["turn"], row["event"], ILLNESSES[DIVERGENCE].advice))
    return found or ([healthy(looks)] if looks else [])


def healthy(looks: Sequence[Mapping[str, Any]]) -> Finding:
    last, turn = looks[-1]["doctor"], looks[-1]["turn"]
    evidence = (
        f"the samples are {last['spread']:.2g} times as far apart as the data, miss {missed([last]):.0%} of its "
        f"clusters, and are {last['energy']:.2g} from it"
    )
    told = f", the discriminator tells {last['told']:.0%} right" if "told" in last else ""
    used = f", {last['active']} of {len(last['kl'])} latents carry {last['nats']:.3g} nats" if "kl" in last else ""
    return Finding(HEALTHY, looks[0]["turn"], turn, evidence + told + used, "Nothing was found.")
