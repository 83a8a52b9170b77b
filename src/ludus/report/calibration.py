"""The page that says whether a posterior may be believed."""

from collections.abc import Sequence
from html import escape

import numpy as np

from ludus.figures.calibration import CLOUDS, PANELS, overview, ranks, worst
from ludus.inference.calibration import LEVEL, REGIONS, Calibration, Observed, recovery, shown
from ludus.inference.calibration import said as stated
from ludus.report.page import bullets, document, facts_table, part, picture, rows_table

WORST = 12  # observed rows that are named

OWN = (
    "Each case is a z drawn from the prior, and an x that this run’s own generator made of it. Passing means: for "
    "such x the encoder’s q(z|x) holds the z that made it as often as it says, so the encoder inverts this generator. "
    "It does not mean that the generator is right about your data: compare observed rows for that, with --observed.",
    "The tests are averages over all x. A coverage can be right on average and wrong for one image.",
)
PAIRS = (
    "Each case is a true pair that was not trained on, and draws of the run at the condition of the pair. Passing "
    "means: the draws hold the true values as often as they should, over pairs like these. Under another prior of the "
    "true values, or for an observation that no simulation gives, this says nothing.",
    "The tests are averages over all pairs. A coverage can be right on average and wrong for one observation.",
)
READ_RANKS = (
    "Draws of an exact posterior have the truth at any rank alike: the line stays in the grey band, from end to end, "
    "in 95 of 100 such panels. Up first and down then: too narrow, over-confident. Down first and up then: too wide. "
    "All above: the truth is low among the draws, so they are too high; all below: too low. Vermilion is rejected, at "
    "5 % over all tests together."
)
READ_OVERVIEW = (
    "Left: regions that hold a share of the posterior should hold the same share of truths. Below the line in the "
    "right half: too narrow; above: too wide. Middle: each dot is a case; to the right, the data told much of this z, "
    "and most dots should lie between the dotted lines. Right: on the diagonal the mean is the truth; a flat cloud "
    "means that the data say little of this z, which is no fault of calibration."
)
READ_POINT = "On the diagonal the encoder finds the z that made x. An encoder of points says nothing of how sure it is."


def page(title: str, found: Calibration, facts: Sequence[tuple[str, str]]) -> str:
    """A self-contained HTML page: the verdict, tables, pictures, and what passing means and does not."""
    meaning = PAIRS if found.pairs else OWN
    parts = [part("What was asked", "".join(f'<p class="said">{escape(line)}</p>' for line in meaning))]
    if found.checks is None:
        parts += [part("Recovery", picture(overview(found), "means against the truth", READ_POINT, wide=True))]
    else:
        p = "; ".join(f"{found.names[j]}: {stated(found.checks.p[j])}" for j in worst(found, PANELS))
        few = f" The {PANELS} of {len(found.names)} with the smallest p." if len(found.names) > PANELS else ""
        dots = f" The {CLOUDS} dimensions with the smallest p." if len(found.names) > CLOUDS else ""
        alt = f"ranks of the truth against uniform ones. {p}"
        head, *rows = table(found)
        above = picture(ranks(found), alt, READ_RANKS + few, wide=True)
        below = picture(overview(found), "coverage, contraction and recovery", READ_OVERVIEW + dots, wide=True)
        parts += [part("Dimension by dimension", above + rows_table(head, rows)), part("Together", below)]
    parts += [part("Further numbers", facts_table(sentences(found))), part("What was run", facts_table(facts))]
    parts += [part("Worth knowing", bullets(found.notes))]
    body = f"<section><h2>{escape(found.verdict.word)}</h2>\n" + "\n".join(filter(None, parts)) + "\n</section>"
    summary = [f"{found.verdict.word}: {found.verdict.why}", *found.notes]
    return document(title, body, ". ".join(each[0].upper() + each[1:] for each in summary) + ".")


def table(found: Calibration) -> list[list[str]]:
    """A row for each dimension, of more than 12 those with the smallest p, under a row of headings."""
    r = recovery(found.truth, found.means)
    if (checks := found.checks) is None:
        return [["", "recovery"], *([found.names[j], f"{r[j]:.2f}"] for j in worst(found, PANELS))]
    head = ["", "p of ranks", "adjusted", "bias (0)", "spread (1)", "contraction", "recovery"]
    rows = [
        [found.names[j], shown(checks.p[j]), shown(found.verdict.tests[f"ranks of {found.names[j]}"][1]),
         f"{checks.bias[j]:+.2f}", f"{checks.spread[j]:.2f}", f"{checks.contraction[j]:.2f}", f"{r[j]:.2f}"]
        for j in worst(found, PANELS)
    ]  # fmt: skip
    return [head, *rows]


def sentences(found: Calibration) -> list[tuple[str, str]]:
    """What was found besides, and what was not measured."""
    said, checks, seen = [], found.checks, found.observed
    if checks:
        for name, key in REGIONS.items():
            cover = getattr(checks, key)
            wide = "too wide" if cover.area > 0 else "too narrow"
            q = found.verdict.tests[name][1]
            how = f"{wide}, " if q <= LEVEL else ""
            said.append((name, f"{how}{stated(cover.p)}, adjusted {shown(q)}; area to curve {cover.area:+.4f}"))
    if found.pairs:
        return said
    if found.aggregate:
        a = found.aggregate
        said.append(("draws of q against the prior", f"a random forest tells {a.value:.1%} of them right (C2ST), and "
                     f"{a.null_mean:.1%} ± {a.null_sd:.1%} where there is no difference; p = {a.p:.2f}"))  # fmt: skip
    said.append(("the generator’s own x, again", _again(found.reconstruction)))
    if found.k_hat is not None:
        known = found.k_hat[np.isfinite(found.k_hat)]
        worse = f"above 0.7 in {(known > 0.7).sum()} of {len(found.k_hat)} rows; median {np.median(known):.2f}"
        said.append(("k̂ of p(x, z) / q(z|x)", worse if len(known) else "all weights are equal: q is exact"))
    else:
        said.append(("k̂ of p(x, z) / q(z|x)", "not applicable: it needs the densities p(x|z) and q(z|x)"))
    if seen is None:
        said.append(("observed rows", "not measured: give --observed"))
        return said
    said.append(("observed against the model’s x", _compared(seen)))
    low = np.argsort(seen.p, kind="stable")[:WORST]
    strange = ", ".join(f"{j} ({seen.p[j]:.3f})" for j in low if seen.p[j] <= LEVEL) or "none"
    said.append(("observed rows one by one", f"{(seen.p <= LEVEL).mean():.1%} have p ≤ 0.05 (5 % would by chance); "
                 f"the strangest, by how far they are from the model’s x: rows {strange}"))  # fmt: skip
    if seen.reconstruction:
        said.append(("observed rows, again", _again(seen.reconstruction)))
    return said


def _compared(seen: Observed) -> str:
    if seen.mmd is None:
        return "not measured: one row shows no law"
    some = f" ({seen.compared:,} of {seen.n:,} rows)" if seen.compared < seen.n else ""
    differ = "they differ: the tests above were made on other x" if seen.mmd.p <= LEVEL else "no difference is seen"
    return (
        f"{differ}; MMD² {seen.mmd.value:.4f}, and {seen.mmd.null_mean:.4f} ± {seen.mmd.null_sd:.4f} where there is no "
        f"difference; {stated(seen.mmd.p)}{some}"
    )


def _again(apart: tuple[float, float]) -> str:
    near, far = apart
    ratio = f", ratio {near / far:.2f} (1: the reconstruction is no nearer than another row)" if far else ""
    return f"EGr {near:.4g} from x, EGr_b {far:.4g} from another row{ratio}"
