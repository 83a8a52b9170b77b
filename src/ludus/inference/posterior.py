"""q(z|x), to hold in the hand."""

from collections.abc import Sequence

import numpy as np
import torch

from ludus import seeds
from ludus.errors import UserError, at_least
from ludus.networks.laws import Law

AT_ONCE = 2**15  # draws, over all rows: a law of noise makes each with a network


class Posterior:
    """What a game's encoder says of the z of n rows of data: q(z|x), as NumPy arrays.

    Attributes: `mean` and `std` (n, d), `std` 0 where the encoder gives one z for an x; those of a flow are from 256
    draws, those of noise from 512. `deterministic`: all of q is in its mean. `implicit`: q can be drawn from and has no
    density. With either, `log_prob` raises UserError.
    """

    def __init__(self, laws: Sequence[Law]):
        self._laws = list(laws)
        self.deterministic, self.implicit = laws[0].deterministic, laws[0].implicit
        with seeds.forked(torch.device("cpu"), seed=0), torch.no_grad():
            means = [law.mean.numpy() for law in laws]
            self.mean, self._cuts = np.concatenate(means), np.cumsum([len(mean) for mean in means])[:-1]
            self.std = np.concatenate([law.std.numpy() for law in laws])

    def __len__(self) -> int:
        return len(self.mean)

    def sample(self, n: int, seed: int = 0) -> np.ndarray:
        """n draws z ~ q(z|x) for each row, (n, rows, d); the same seed gives the same draws."""
        at_least("n", n, 1)
        with seeds.forked(torch.device("cpu"), seed), torch.no_grad():
            rows = np.diff([0, *self._cuts, len(self)])
            return np.concatenate([_drawn(law, n, AT_ONCE // count + 1) for law, count in zip(self._laws, rows)], 1)

    def log_prob(self, z: np.ndarray) -> np.ndarray:
        """log q(z|x) in nats of z (..., rows, d), one z for each row: (..., rows)."""
        z = np.asarray(z, np.float32)
        if z.shape[-2:] != self.mean.shape:
            raise UserError(f"z is {z.shape}: it is (..., {', '.join(map(str, self.mean.shape))}), a z for each row")
        parts = np.split(z, self._cuts, axis=-2)
        with torch.no_grad():
            found = [law.log_prob(torch.from_numpy(part)).numpy() for law, part in zip(self._laws, parts)]
        return np.concatenate(found, -1)


def _drawn(law: Law, n: int, at_once: int) -> np.ndarray:
    """n draws of a law, (n, rows, d), some at a time."""
    return np.concatenate([law.rsample((min(at_once, n - i),)).numpy() for i in range(0, n, at_once)])
