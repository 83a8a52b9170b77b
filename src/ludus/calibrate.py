"""Whether a run's posterior may be believed: truth and draws gathered from its game, and the answer written down."""

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ludus import seeds
from ludus.data.form import Form
from ludus.data.raw import check_budget
from ludus.errors import UserError
from ludus.game import Decodes, Encodes, Game, HasDecoder, HasLikelihood
from ludus.inference import calibration
from ludus.inference.calibration import FEW, FEWEST, Calibration, Observed
from ludus.inference.evidence import evidence
from ludus.inference.posterior import Posterior
from ludus.metrics.permutation import mmd_test
from ludus.networks.decoders import Decoder
from ludus.report.calibration import page, sentences, table
from ludus.runs import folder
from ludus.terminal import counting, say

AT_ONCE = 1024  # rows that go through a network together
PRIOR = 10_000  # draws, for its variance
MIDDLE = 50  # further draws, whose mean is the middle of the posterior
WEIGHED, WEIGHTS = 100, 1000  # rows, and draws for each, that importance weights are computed of
EMPTY = 0.1  # contraction, below which the data have told next to nothing
COMPARED = 1000  # rows that forests and kernels compare, at most: a kernel has the square of their number

Conditions = Callable[[int], Tensor | None]  # c as the training data had them, so many


def of_generator(
    game: Encodes, conditions: Conditions, blind: bool, unit: float, n: int, draws: int, seed: int,
    observed: Tensor | None,
) -> Calibration:  # fmt: skip
    """q(z|x) on pairs of the game's own: z ~ p(z), x ~ p(x|z). To be called while the game is measured.

    blind: the encoder is not told c.    unit: the user's units in one of the network's.    observed: (m, *shape).
    """
    _check_size(n, draws, game.prior.dimension)
    c = conditions(n)
    z = game.prior.sample(n, c)
    x = _in_parts(lambda rows: _drawn(game, z[rows], _at(c, rows)), n)
    told = None if blind else c
    laws = [game.posterior(x[rows], _at(told, rows)) for rows in _slices(n)]
    q, truth = Posterior(laws), z.numpy().astype(float)
    if q.mean.shape != truth.shape:
        raise UserError(f"the encoder gives {q.mean.shape[1]} of {truth.shape[1]} latents: there is nothing to compare")
    again = _in_parts(lambda rows: game.decode(torch.from_numpy(q.mean[rows]), _at(c, rows)), n)
    apart = tuple(unit * each for each in calibration.reconstruction(x.numpy(), again.numpy()))
    seen = None
    if observed is not None:
        with seeds.forked(torch.device("cpu"), seed):  # what is drawn for it changes no other number
            seen = _observed(game, conditions, x, observed, unit, seed)
    names = [f"z{j}" for j in range(truth.shape[1])]
    notes = _few(n)
    if q.deterministic:
        return Calibration(
            calibration.POINT, names, n, False, truth, q.mean, reconstruction=apart, observed=seen, notes=notes
        )
    drawn = q.sample(draws + MIDDLE, seed)
    features, _ = calibration.features(x.numpy(), x.numpy()[:1])
    known = features if told is None else np.concatenate([features, told.nan_to_num().numpy()], 1)
    fresh = game.prior.sample(PRIOR, conditions(PRIOR)).numpy()
    found = calibration.checks(truth, drawn[:draws], drawn[draws:].mean(0), known, seed, fresh)
    notes += _empty(found, PRIOR)
    sets = fresh[: min(n, COMPARED)], drawn[0][:COMPARED]
    with counting(calibration.FORESTS, "forests") as count:
        aggregate = calibration.c2st_test(*sets, seed % 2**32, calibration.FORESTS, count)
    k_hat = None
    if isinstance(game, HasLikelihood) and not q.implicit:
        k_hat = _k_hat(game, x[:WEIGHED], None if told is None else told[:WEIGHED])
    verdict = calibration.verdict(found, names)
    return Calibration(verdict, names, n, False, truth, q.mean, found, aggregate, apart, k_hat, seen, notes)


def of_pairs(
    game: Game, form: Form, truth: np.ndarray, c: Tensor, n: int, draws: int, seed: int
) -> Calibration:
    """p(x | c) of a game as the posterior of x given c, on pairs (x, c) that it has not seen; x (m, D) in the user's
    units, c (m, K). Of more than n pairs n are picked. To be called while the game is measured."""
    if len(truth) < FEWEST:
        raise UserError(f"{len(truth)} pairs: at least {FEWEST}, and {FEW} to tell much")
    notes = []
    if len(truth) > n:
        notes = [f"{n:,} of {len(truth):,} pairs, picked by the seed"]
        kept = np.sort(np.random.default_rng([seed, 2]).permutation(len(truth))[:n])
        truth, c = truth[kept], c[kept]
    n = len(truth)
    _check_size(n, draws, truth.shape[1])
    total, per = draws + MIDDLE, max(1, AT_ONCE // (draws + MIDDLE))
    drawn = np.empty((total, n, truth.shape[1]), np.float32)
    with counting(n, "pairs") as count:
        for rows in _slices(n, per):
            count(rows.start)
            x = form.to_user(game.sample(total * len(c[rows]), c[rows].repeat(total, 1)).numpy())
            drawn[:, rows] = x.reshape(total, len(c[rows]), -1)
    if any(isinstance(part, Decoder) and part.counts for part in game.children()):
        drawn = np.round(drawn)  # float32, to the network's range and back, leaves 6.9999995
    kept = (truth.std(0) > 1e-9 * np.abs(truth).max(0)) & (True if form.mask is None else form.mask)
    if not kept.any():
        raise UserError("every column of the truth is constant: there is nothing to test")
    names = [f"column {j}" for j in np.flatnonzero(kept)]
    notes += [f"column {j} is constant or masked, and left out" for j in np.flatnonzero(~kept)]
    truth, drawn = truth[:, kept], drawn[:, :, kept]
    found = calibration.checks(truth, drawn[:draws], drawn[draws:].mean(0), c.nan_to_num().numpy(), seed)
    notes = (*notes, *_few(n), *_empty(found, n))
    verdict = calibration.verdict(found, names)
    return Calibration(verdict, names, n, True, truth, drawn.mean(0), found, notes=notes)


def _drawn(game: Decodes, z: Tensor, c: Tensor | None) -> Tensor:
    """x ~ p(x | z, c), pixel noise and all."""
    return game.decoder(z, c).sample() if isinstance(game, HasDecoder) else game.decode(z, c)


def _observed(
    game: Encodes, conditions: Conditions, x: Tensor, observed: Tensor, unit: float, seed: int
) -> Observed:
    """How observed rows stand to the model's x; where the game has a condition, theirs is not known, nor their z."""
    c = conditions(len(x))
    other = _in_parts(lambda rows: game.sample(len(x[rows]), _at(c, rows)), len(x))
    reference, model, mine = calibration.features(other.numpy(), x.numpy(), observed.numpy())
    picked = np.random.default_rng([seed, 3]).permutation(len(mine))[:COMPARED]
    apart = None
    if c is None:
        mean = _in_parts(lambda rows: game.posterior(observed[rows]).mean, len(observed))
        again = _in_parts(lambda rows: game.decode(mean[rows]), len(observed))
        apart = tuple(unit * each for each in calibration.reconstruction(observed.numpy(), again.numpy()))
    p = calibration.conformal(mine, reference, model)
    mmd = mmd_test(model, mine[picked], seed=seed) if len(mine) > 1 else None  # of one row no law is seen
    return Observed(len(mine), len(picked), mmd, p, apart)


def _k_hat(game: HasLikelihood, x: Tensor, c: Tensor | None) -> np.ndarray:
    """k̂ of the weights p(x, z) / q(z|x), z ~ q, of each row."""
    found = []
    with counting(len(x), "rows weighed") as count:
        for rows in _slices(len(x), AT_ONCE * 16 // WEIGHTS):
            count(rows.start)
            found.append(evidence(game, x[rows], _at(c, rows), "iwae", WEIGHTS).k_hat)
    return torch.cat(found).numpy()


def _slices(n: int, size: int = AT_ONCE) -> list[slice]:
    return [slice(start, min(start + size, n)) for start in range(0, n, size)]


def _in_parts(of: Callable[[slice], Tensor], n: int) -> Tensor:
    return torch.cat([of(rows) for rows in _slices(n)])


def _at(c: Tensor | None, rows: slice) -> Tensor | None:
    return None if c is None else c[rows]


def _check_size(n: int, draws: int, d: int) -> None:
    check_budget(f"{draws:,} draws for each of {n:,} cases", (draws + MIDDLE, n, d), 40, "take fewer of either")


def _few(n: int) -> tuple[str, ...]:
    if n >= FEW:
        return ()
    said = f"{n} cases tell little: below {FEW}, only what is far off is found"
    say(said)
    return (said,)


def _empty(found: calibration.Checks, known: int) -> tuple[str, ...]:
    """Says of a posterior no narrower than the prior, of which so many draws are known, that it is none."""
    error = math.sqrt(2 / known)  # of the prior's variance
    if (most := found.contraction.max()) >= max(EMPTY, 2 * error):
        return ()
    said = f"contraction is {most:.2f} at most: this posterior says no more than the prior does"
    say(said)
    return (said,)


# What is written


def write(found: Calibration, out: Path, title: str, about: dict[str, Any]) -> list[Path]:
    """calibration.json, .html and .png in the folder `out`, of pairs calibration-pairs.*; gives their paths."""
    from ludus import figures
    from ludus.figures.calibration import calibration as drawing

    name = "calibration-pairs" if found.pairs else "calibration"
    kept = {f"{name}.json": json.dumps(as_json(found, title, about), indent=1, ensure_ascii=False) + "\n",
            f"{name}.html": page(title, found, list(about.items())),
            f"{name}.png": figures.png(drawing(found))}  # fmt: skip
    for file, content in kept.items():
        folder.write(out / file, content)
    return [out / file for file in kept]


def lines(found: Calibration) -> list[str]:
    """The verdict and the main table as text."""
    rows = table(found)
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))] if rows else []
    text = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip() for row in rows]
    more = [f"{name}: {said}" for name, said in sentences(found)]
    return [f"{found.verdict.word}: {found.verdict.why}", *found.notes, *text, *more]


def as_json(found: Calibration, title: str, about: dict[str, Any]) -> dict:
    """All numbers, by name."""
    checks, seen = found.checks, found.observed
    whole = {"title": title, "about": about, "verdict": found.verdict.word, "why": found.verdict.why,
             "cases": found.cases, "pairs": found.pairs, "notes": list(found.notes),
             "tests": {key: {"p": p, "adjusted": q} for key, (p, q) in found.verdict.tests.items()}}  # fmt: skip
    each = {"recovery": calibration.recovery(found.truth, found.means)}
    if checks:
        u, low, high = calibration.band(found.cases, checks.draws)
        each |= {key: getattr(checks, key) for key in ("p", "bias", "spread", "contraction")}
        whole |= {"draws": checks.draws, "u": u, "band": {"low": low, "high": high},
                  **{name: getattr(checks, key)._asdict() for name, key in calibration.REGIONS.items()},
                  "ranks": dict(zip(found.names, checks.ranks.T))}  # fmt: skip
    whole["dimensions"] = {name: {key: each[key][j] for key in each} for j, name in enumerate(found.names)}
    whole |= {"aggregate": found.aggregate._asdict() if found.aggregate else None,
              "reconstruction": _reconstruction(found.reconstruction), "k_hat": found.k_hat}  # fmt: skip
    whole["observed"] = seen and {
        "n": seen.n, "compared": seen.compared, "mmd": seen.mmd and seen.mmd._asdict(), "p of each row": seen.p,
        "reconstruction": _reconstruction(seen.reconstruction),
    }  # fmt: skip
    return folder.plain(whole)


def _reconstruction(apart: tuple[float, float] | None) -> dict | None:
    return apart and {"EGr": apart[0], "EGr_b": apart[1]}

