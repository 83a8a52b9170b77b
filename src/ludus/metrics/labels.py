"""How good are probabilities of classes? Error rate, log-loss and calibration, each with its error bar."""

from typing import NamedTuple

import numpy as np

BINS, RESAMPLES = 15, 200
LEAST = 1e-30  # a probability of 0 in float32 says less than this, and no more
COLDEST, HOTTEST = 0.05, 20.0  # temperatures
FEWEST = 50  # labels from which a temperature is fitted


class Verdict(NamedTuple):
    """Each (value, standard error)."""

    n: int  # labels that were known
    error: tuple[float, float]  # share of rows whose most probable class is another
    nll: tuple[float, float]  # −E log p(y|x), nats
    ece: tuple[float, float]  # see `ece`
    floor: tuple[float, float]  # what `ece` shows at this n where every probability is true


class Temperature(NamedTuple):
    """What the logits are divided by, the number of labels it was fitted to, or why it was not."""

    value: float = 1.0
    n: int = 0
    why: str = ""

    def __str__(self) -> str:
        if self.why:
            return f"not calibrated: {self.why}"
        return f"calibrated: temperature {self.value:.3g}, fitted to {self.n:,} held-out labels"


def judged(p: np.ndarray, y: np.ndarray, seed: int = 0) -> Verdict:
    """The verdict on probabilities p (n, K) for labels y (n,), numbers of classes.

    Errors are standard errors of means, those of `ece` and of its floor standard deviations over 200 draws: rows drawn
    again with replacement; labels drawn as the probabilities say.
    """
    p, draws = np.asarray(p, float), np.random.default_rng(seed)
    wrong, nll = p.argmax(1) != y, -np.log(np.maximum(p[np.arange(len(y)), y], LEAST))
    sure, right = p.max(1), ~wrong
    again = [ece(sure[rows], right[rows]) for rows in draws.integers(len(y), size=(RESAMPLES, len(y)))]
    ideal = [ece(sure, draws.random(len(y)) < sure) for _ in range(RESAMPLES)]
    return Verdict(len(y), _mean(wrong), _mean(nll), (ece(sure, right), float(np.std(again))),
                   (float(np.mean(ideal)), float(np.std(ideal))))  # fmt: skip


def ece(sure: np.ndarray, right: np.ndarray) -> float:
    """Expected calibration error: Σ_b n_b/n |share right in b − mean confidence in b|, 15 bins of equal width
    (Guo et al. 2017, arXiv:1706.04599). sure (n,): the largest probability of each row;  right (n,): bool.

    It is no unbiased estimate: a finite n shows more than 0 where all probabilities are true.
    """
    place = np.minimum((BINS * sure).astype(int), BINS - 1)
    return float(np.abs(np.bincount(place, right - sure, minlength=BINS)).sum() / len(sure))


def tempered(p: np.ndarray, temperature: float) -> np.ndarray:
    """softmax(log p / T) of probabilities (n, K): the class that is most probable stays, how sure it is changes."""
    if temperature == 1:
        return p
    logs = np.log(np.maximum(np.asarray(p, float), LEAST)) / temperature
    powers = np.exp(logs - logs.max(1, keepdims=True))
    return (powers / powers.sum(1, keepdims=True)).astype(p.dtype)


def calibrated(p: np.ndarray, y: np.ndarray) -> Temperature:
    """The temperature T of lowest −E log softmax(log p / T) at labels y (n,), which were not trained on.

    One number, convex in 1 / T. Where the labels are too few, or all of them right, so that the best
    T would be 0, T stays 1.
    """
    from scipy.optimize import minimize_scalar  # takes a while

    n = len(y)
    if n < FEWEST:
        return Temperature(n=n, why=f"too few held-out labels, {n} of {FEWEST} at least")
    if (p.argmax(1) == y).all():
        return Temperature(n=n, why=f"all {n} held-out labels are right, which tells no temperature")
    logs = np.log(np.maximum(np.asarray(p, float), LEAST))

    def cost(cold: float) -> float:
        a = cold * (logs - logs.max(1, keepdims=True))
        return float((np.log(np.exp(a).sum(1)) - a[np.arange(n), y]).mean())

    found = minimize_scalar(cost, bounds=(1 / HOTTEST, 1 / COLDEST), method="bounded", options={"xatol": 1e-9})
    return Temperature(float(1 / found.x), n)


def _mean(values: np.ndarray) -> tuple[float, float]:
    """A mean and its standard error."""
    return float(np.mean(values)), float(np.std(values) / np.sqrt(len(values)))
