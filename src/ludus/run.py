"""A run that is done, or on its way: drawing from it, and asking it."""

import copy
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from ludus import recipe as recipes
from ludus import seeds, session
from ludus.data import layout
from ludus.data.form import Form
from ludus.data.raw import check_budget
from ludus.data.rows import fill_of
from ludus.data.sampler import binarised
from ludus.data.sources import array, check_numbers
from ludus.errors import UserError, at_least, unknown
from ludus.game import Decodes, Encodes, Game, HasLikelihood, Labels, Recognises
from ludus.inference import directions, inversion, labels, latents
from ludus.inference.directions import Directions
from ludus.inference.evidence import Evidence, evidence
from ludus.inference.inversion import Inversion
from ludus.inference.labels import Labelled
from ludus.inference.path_length import mean, squares
from ludus.inference.posterior import Posterior
from ludus.metrics.labels import Temperature
from ludus.metrics.rows import Estimate
from ludus.networks.decoders import Decoder
from ludus.networks.priors import Gaussian
from ludus.runs import best, store
from ludus.terminal import counting, say
from ludus.trainer import load_weights, under

if TYPE_CHECKING:
    from ludus.evaluation.evaluation import Evaluation
    from ludus.inference.calibration import Calibration

AT_ONCE = 1024  # rows that go through a network together, to bound memory


class Run:
    """A run on disk, ready to draw from: the averaged game of its newest checkpoint that verifies, or of another turn.

    Attributes: `folder`; `recipe` (a dict); `game` (on the CPU, in eval mode); `form`, the way between the network's
    range and the user's units; `turn`, and whether it was `chosen` as the best; `skipped`, checkpoints that were passed
    over, and why; `unknown`, whether it was trained with unknown conditions too.

    Everywhere x are rows in the user's units, shape and axis order, z are latents (n, d), and c is a class label or
    value as the user's data have them, one for all or one each; None is unknown. What comes back as x is NaN where
    there is no detector, and with data.scaling=maximum fractions of a maximum that is not modelled. Distances between
    pictures are in the user's units too; with log1p, asinh or maximum in units of what these make of x.
    """

    def __init__(self, path: Path, turn: int | Literal["best"] | None = None, **modules: nn.Module):
        self.folder, self.recipe = Path(path), read_recipe(Path(path))
        kept = session.kept_data(self.folder)
        self.form: Form = kept["form"]
        self.notes, self.examples, self.unknown = kept["notes"], kept["examples"], kept.get("unknown", True)
        self.pixels = {name: self.examples[name] for name in ("mask", "sigma") if name in self.examples}
        checkpoint = store.load(self.folder, best.turn(self.folder) if turn == "best" else turn)
        self.chosen = turn == "best"
        self.turn, self.skipped, self.numbers = checkpoint.turn, checkpoint.skipped, checkpoint.state
        own = {role: copy.deepcopy(module).cpu() for role, module in modules.items()}  # the caller's stay as they are
        with seeds.forked(torch.device("cpu")):
            game = recipes.build(self.recipe, self.form, own, self.pixels)
        self.game: Game = game.eval().requires_grad_(False).cpu()
        average = under("average/", {name: torch.from_numpy(value) for name, value in checkpoint.tensors.items()})
        load_weights(self.game, average)

    @property
    def real(self) -> np.ndarray | None:
        """The real examples that pictures show, in the user's units; None where the run was shared without them."""
        return self.form.to_user(self.examples["x"]) if "x" in self.examples else None

    def sample(self, n: int, c: Any = None, seed: int = 0, *, noise: bool = True) -> np.ndarray:
        """n draws x ~ p(x | c), float32. c = None draws conditions as often as the training data had them.

        noise: a decoder gives a law of each pixel, from which x is drawn; without, x is its mean E[x | z], as pictures
        show it. A generator has no such noise. The same seed gives the same samples.
        """
        at_least("n", n, 1)
        check_budget(f"{n:,} samples", (n, *self.form.shape), 8, "draw fewer at a time")
        given = None if c is None else self._given(c, n)
        x = self.form.to_user(self.draws(n, given, seed, noise=noise))
        counted = any(isinstance(part, Decoder) and part.counts for part in self.game.children())
        return np.round(x) if counted and noise else x  # float32, to the network's range and back, leaves 6.9999995

    def draws(self, n: int, c: Tensor | np.ndarray | None = None, seed: int = 0, *, noise: bool = True) -> np.ndarray:
        """The same in the network's range, for encoded conditions c (n, K)."""
        draw = self.game.sample if noise else lambda n, c: self.game.decode(self.game.prior.sample(n, c), c)
        with seeds.measuring(self.game, seed):
            given = self._drawn(n) if c is None else torch.as_tensor(c)
            return torch.cat(_blocks(n, given, lambda rows, c: draw(rows.stop - rows.start, c))).numpy()

    def told(self, c: np.ndarray | None) -> bool:
        """Whether the generator can be asked for encoded conditions c (n, K)."""
        return c is not None and bool(self.form.conditions) and not self._blind("generator") and (
            self.unknown or not np.isnan(c).any()
        )

    # From x to z and back

    def encode(self, x: Any, c: Any = None) -> Posterior:
        """q(z | x, c) of each row. Raises UserError where the method has no encoder."""
        game = self._able(Encodes, "encoder")
        x = self.rows(x)
        c = None if c is None and self._blind("encoder") else self._given(c, len(x))
        with seeds.measuring(game, seed=0):
            return Posterior(_blocks(len(x), c, lambda rows, c: game.posterior(x[rows], c)))

    def decode(self, z: Any, c: Any = None) -> np.ndarray:
        """E[x | z, c] of latents (n, d)."""
        game = self._able(Decodes, "decoder")
        try:
            z = torch.from_numpy(np.array(z, np.float32))
        except (TypeError, ValueError):
            raise UserError(f"z is no array of numbers: {z!r:.40}") from None
        if z.dim() != 2 or z.shape[1] != game.prior.dimension or not len(z):
            raise UserError(f"z is {tuple(z.shape)}: latents are (n, {game.prior.dimension})")
        c = self._given(c, len(z))
        with seeds.measuring(game, seed=0):
            parts = _blocks(len(z), c, lambda rows, c: game.decode(z[rows], c))
        return self.form.to_user(torch.cat(parts).numpy())

    def reconstruct(self, x: Any, c: Any = None, *, sample: bool = False, seed: int = 0) -> np.ndarray:
        """What decoding makes of the codes of x: E[x | z] at the mean z of q(z|x), or at a draw of it.

        Without c, where the method labels rows itself (icgan), their labels are what it takes them for.
        """
        q = self.encode(x, c)
        if c is None and isinstance(self.game, Labels):
            c = self.label(x).labels
        return self.decode(q.sample(1, seed)[0] if sample else q.mean, c)

    def invert(self, x: Any, c: Any = None, restarts: int = 4, *, weight: float = 0.0, seed: int = 0) -> Inversion:
        """The z whose picture is nearest to each row, argmin_z |x − E[x | z, c]|², whether the method encodes or not.

        The best of `restarts` descents, as `inversion.invert` has them. They start at draws of the prior; where the
        method encodes, at its guess and at equal steps from there to such draws. The Inversion holds arrays:
        `z` (n, d), `residual` (n,), a root mean square in the user's units, and that of each of the `restarts` (n, R).
        weight: of |z|² / d beside the mean square, in the network's units, for a Gaussian prior.
        """
        game = self._able(Decodes, "decoder")
        at_least("restarts", restarts, 1)
        if not weight >= 0 or (weight and not isinstance(game.prior, Gaussian)):
            raise UserError(f"weight = {weight}: at least 0, and 0 unless the prior is gaussian")
        x = self.rows(x)
        c, live = self._given(c, len(x)), self._live()
        bounded = getattr(game.prior, "bounded", False)
        share = torch.linspace(0, 1, restarts)[:, None, None] if isinstance(game, Encodes) else torch.ones(1, 1, 1)
        with seeds.measuring(game, seed), counting(len(x), "rows") as count:

            def part(rows: slice, c: Tensor | None) -> Inversion:
                v, c = x[rows], None if c is None else c.repeat(restarts, 1)
                start = game.prior.sample(restarts * len(v), c).view(restarts, len(v), -1)
                if isinstance(game, Encodes):
                    start = torch.lerp(game.posterior(v, None if c is None else c[: len(v)]).mean, start, share)
                return inversion.invert(
                    lambda z: game.decode(z, c), v, start, live=live, bounded=bounded, weight=weight,
                    count=lambda done: count(rows.start + int(done * len(v))),
                )  # fmt: skip

            parts = _blocks(len(x), c, part, max(1, AT_ONCE // restarts))
        z, *residuals = (torch.cat(part).numpy() for part in zip(*parts))
        return Inversion(z, *(self.form.scaling.scale * each.astype(float) for each in residuals))

    def edit(self, x: Any, to: Any, c: Any = None) -> np.ndarray:
        """x with another condition: E[x | z, `to`] at the mean z of q(z | x, c), which keeps what z holds."""
        return self.decode(self.encode(x, c).mean, to)

    def codes(self, x: Any, c: Any = None) -> dict[str, np.ndarray]:
        """What the network Q reads in each row: "category 0" (n, K), probabilities, for each category, and "values"."""
        game = self._able(Recognises, "codes")
        x = self.rows(x)
        c = self._given(c, len(x))
        with seeds.measuring(game, seed=0):
            numbers = torch.cat(_blocks(len(x), c, lambda rows, c: game.recognise(x[rows], c)))
        categories, values = game.prior.parts(numbers)
        found = {f"category {i}": each.softmax(1).numpy() for i, each in enumerate(categories)}
        return found | ({"values": values.numpy()} if game.prior.values else {})

    def interpolate(self, a: Any, b: Any, steps: int = 8, path: str = "linear", c: Any = None) -> np.ndarray:
        """`steps` pictures between two latents (d,), both included, as `latents.interpolate` says."""
        return self.decode(latents.interpolate(a, b, steps, path), c)

    def traverse(
        self, z: Any = None, which: Any = None, steps: int = 9, width: Any = 2.0, c: Any = None
    ) -> np.ndarray:
        """Pictures along one latent after another, (latents, steps, ...), from −width to +width, the others as in z.

        z (d,): 0 by default.    which: the numbers of the latents, all by default; or directions (k, d).
        width: in units of z, one for all or one each. A prior's bounds are kept to.
        """
        prior = self._able(Decodes, "decoder").prior
        d = prior.dimension
        if z is not None and np.shape(z) != (d,):
            raise UserError(f"z is {np.shape(z)}: one latent, ({d},)")
        walks = latents.traverse(np.zeros(d) if z is None else z, range(d) if which is None else which, steps, width)
        walks = walks.clip(-1, 1) if getattr(prior, "bounded", False) else walks
        found = self.decode(walks.reshape(-1, walks.shape[-1]), c)
        return found.reshape(*walks.shape[:2], *found.shape[1:])

    def directions(
        self,
        kind: Literal["pca", "ganspace", "sefa", "supervised"] = "ganspace",
        x: Any = None,
        c: Any = None,
        *,
        factors: Any = None,
        k: int = 8,
        seed: int = 0,
    ) -> Directions:
        """At most k directions in latent space, and how much each changes the picture: see `inference.directions`.

        pca: of the codes of x, by default the 64 examples that the run keeps.    ganspace: principal components of an
        early layer over draws of z.    sefa: of the weight of the first layer.    supervised: one for each of `factors`
        (n, k) of rows x; without x, factors(x) -> (n, k) measures generated rows, in the user's units.
        The Directions hold arrays; `effect` and `control` are in the user's units. c: as for `sample`, or of rows x.
        """
        encodes = x is not None or kind == "pca"
        game = self._able(Encodes, "encoder") if encodes else self._able(Decodes, "decoder")
        if kind not in directions.KINDS:
            raise unknown("kind", kind, directions.KINDS)
        at_least("k", k, 1)
        if (factors is not None) != (kind == "supervised"):
            raise UserError("kind='supervised' needs factors, and no other kind takes them")
        if x is not None and kind not in ("pca", "supervised"):
            raise UserError(f"{kind} looks at no data: leave out x")
        with seeds.measuring(game, seed):
            z, c = self._codes(x, c, kind)
            if kind == "pca":
                found = directions.pca(z, k)
            elif kind == "supervised":
                found = directions.supervised(self._factors(factors, x, z, c), z)
            else:
                layer, h = directions.early(game, game.decode, z, c)
                found = directions.sefa(layer, z.shape[1], k) if kind == "sefa" else directions.ganspace(h, z, k)
            limit = 1.0 if getattr(game.prior, "bounded", False) else None
            *about, effect, control = directions.measured(game.decode, z, c, *found, self._live(), limit)
        scale = self.form.scaling.scale
        vectors, spread, share = (each.numpy() for each in about)
        return Directions(vectors, spread, share, scale * effect.numpy(), tuple(scale * each for each in control))

    def attribute_vector(self, x: Any, has: Any, c: Any = None) -> np.ndarray:
        """The direction in latent space in which rows with an attribute lie, (d,): add it to z, and decode."""
        return latents.attribute_vector(self.encode(x, c).mean, has)

    def path_length(self, n: int = 1000, c: Any = None, seed: int = 0) -> Estimate:
        """How fast pictures change between n pairs of latents, in the user's units squared: `inference.path_length`."""
        game, live = self._able(Decodes, "decoder"), self._live()
        at_least("n", n, 2)
        live, slerp = 1 if live is None else live, isinstance(game.prior, Gaussian)
        with seeds.measuring(game, seed):
            c = self._drawn(n) if c is None else self._given(c, n)
            a, b = game.prior.sample(n, c), game.prior.sample(n, c)
            parts = _blocks(n, c, lambda rows, c: squares(lambda z: game.decode(z, c) * live, a[rows], b[rows], slerp))
        return mean(self.form.scaling.scale**2 * torch.cat(parts))

    def sheet(self, side: int = 20, c: Any = None) -> np.ndarray:
        """Pictures over a plane of two latents, row by row, (side², ...), at equal steps of each one's probability."""
        if (d := self._able(Decodes, "decoder").prior.dimension) != 2:
            raise UserError(f"a sheet is of 2 latents, this run has {d}: traverse, or train with prior.dimension=2")
        with seeds.measuring(self.game, seed=0):
            draws = None if isinstance(self.game.prior, Gaussian) else self.game.prior.sample(10_000).numpy()
        return self.decode(latents.sheet(side, draws), c)

    # Which label x has

    def label(self, x: Any) -> Labelled:
        """What the run takes each row for: an `inference.labels.Labelled` of arrays, `labels`, `probabilities`,
        `confidence`. Raises UserError where the method learns no labels.

        Probabilities are calibrated by a temperature, if there were enough held-out labels when the run ended.
        """
        return labels.labelled(self.form.condition, self.labels_of(self.rows(x)), self._temperatures())

    def labels_of(self, x: Tensor | np.ndarray) -> np.ndarray:
        """E[c | x] of rows in the network's range, as the network has it."""
        game, x = self._able(Labels, "labels"), torch.as_tensor(x)
        with seeds.measuring(game, seed=0):
            return torch.cat(_blocks(len(x), None, lambda rows, _: game.label(x[rows]))).numpy()

    def _temperatures(self) -> list[Temperature]:
        """Those that were fitted when the run ended, if it has."""
        kept = session.kept_labels(self.folder)
        if kept.get("turn") == self.turn:
            return [Temperature(**each) for each in kept["temperatures"]]
        why = "the run is not complete, `ludus resume` ends it"
        if kept:
            why = f"the temperature is that of turn {kept['turn']:,}, this is turn {self.turn:,}"
        return [Temperature(why=why) for column in self.form.condition.columns if column.labels]

    # How probable x is

    def log_likelihood(
        self, x: Any, c: Any = None, method: Literal["iwae", "ais"] = "iwae", draws: int = 1000, seed: int = 0
    ) -> Evidence:
        """log p(x | c) of each row in nats, a density in the user's units or, for counts and bits, a probability.

        iwae: log 1/k Σ p(x, z) / q(z|x) over k = `draws`, low in expectation (Burda et al. 2016).  ais: `draws`
        temperatures from q(z|x) to p(z|x), 8 chains, about 100 times the work (Neal 2001); both as
        `inference.evidence` has them. The Evidence holds arrays: `value`, the effective sample size `ess`, and `k_hat`,
        above 0.7 where not to be trusted. Raises UserError where a method has no p(x|z).
        """
        game = self._able(HasLikelihood, "likelihood")
        if method not in ("iwae", "ais"):
            raise unknown("method", method, ["iwae", "ais"])
        at_least("draws", draws, 1)
        given, x = x, self.rows(x)
        slopes, c = self._log_slopes(given, x), self._given(c, len(x))
        if self.recipe["sampler"].get("binarise"):
            with seeds.forked(torch.device("cpu"), seed):
                x = binarised(x)
        elif game.decoder.likelihood == "bernoulli":
            u = x * game.decoder.scale + game.decoder.offset
            if ((u if game.decoder.mask is None else u[:, game.decoder.mask]) % 1).any():
                raise UserError("bernoulli is a law of 0 and 1: round x first, or train with sampler.binarise=true")
        at_once = max(1, AT_ONCE * 16 // draws) if method == "iwae" else AT_ONCE // 8
        with seeds.measuring(game, seed), counting(len(x), "rows") as count:

            def part(rows: slice, c: Tensor | None) -> Evidence:
                count(rows.start)
                return evidence(game, x[rows], c, method, draws)

            parts = _blocks(len(x), c, part, at_once)
        found = Evidence(*(torch.cat(part).double().numpy() for part in zip(*parts)))
        if method == "iwae" and np.median(found.ess) < 5:
            say(f"half of the rows rest on fewer than 5 of {draws} draws: take more, or method='ais'")
        return found._replace(value=found.value + slopes)

    # Whether its posterior may be believed

    def calibrate(
        self, n: int = 500, draws: int = 199, seed: int = 0, *, observed: Any = None, data: Any = None
    ) -> "Calibration":
        """Tests of the posterior on n cases with so many draws each, and one verdict (`inference.calibration`).

        Without data, of q(z|x): z from the prior, x from the run's own generator. Passing shows that the encoder
        inverts this generator, not that the generator is right. observed: rows of the user's; are they like the
        model's own, all together and one by one?
        data: (x, c), pairs of points and their condition, not trained on; then the draws are x ~ p(x | c), whatever the
        method, as a posterior of x given c, and each column of x is tested in the user's units.
        Raises UserError where the game has no encoder, for fewer than 20 cases or draws, and for rows that do not fit.
        `ludus.calibrate.write` makes a page of what is returned.
        """
        from ludus import calibrate  # with scipy and scikit-learn, which take a second

        at_least("n", n, calibrate.FEWEST)
        at_least("draws", draws, calibrate.FEWEST)
        if data is None:
            game = self._able(Encodes, "encoder")
            blind = self._blind("encoder")
            rows = None if observed is None else self.rows(observed)
            if rows is not None and self.recipe["sampler"].get("binarise"):
                with seeds.forked(torch.device("cpu"), seed):
                    rows = binarised(rows)
            with seeds.measuring(game, seed):
                scale = self.form.scaling.scale
                return calibrate.of_generator(game, self._drawn, blind, scale, n, draws, seed, rows)
        if observed is not None:
            raise UserError("observed rows are compared with an encoder's: leave them out, or leave out data")
        if self.form.kind != "points" or not self.form.conditions:
            raise UserError("pairs (x, c) are for runs on points with a condition: leave out data, to test an encoder")
        if not isinstance(data, (tuple, list)) or len(data) != 2 or data[1] is None:
            raise UserError("data are pairs (x, c): true values, and the condition of each")
        x, c = data
        given = self._given(c, len(self.rows(x)))  # of the shape, and finite
        x = np.asarray(array(x, "x").rows(0, len(given)), float).reshape(len(given), -1)
        with seeds.measuring(self.game, seed):
            return calibrate.of_pairs(self.game, self.form, x, given, n, draws, seed)

    def _log_slopes(self, x: Any, rows: Tensor) -> np.ndarray | float:
        """log |d network / d user| of each row, which makes a density one in the user's units; 0 where p is none.

        x, rows: the same rows, as the user and as the network has them. Raises UserError where x has no density.
        """
        if not self.game.decoder.continuous:
            return 0.0
        scaling, live = self.form.scaling, self.pixels.get("mask", True)
        if scaling.bend == "maximum":
            raise UserError("pictures were divided by their maximum, which is not modelled: x has no density here")
        if n := self.form.beyond(self._raw(x)):
            raise UserError(f"x holds {n:,} values beyond those that data.clip left, {scaling.limits}: where they were "
                            "cut off there is no density")  # fmt: skip
        return np.where(live, scaling.log_slope(rows.numpy()), 0.0).reshape(len(rows), -1).sum(1)

    # What the user gives

    def _able(self, ability: type, what: str) -> Any:
        if not isinstance(self.game, ability):
            able = [name for name, row in recipes.METHODS.items() if issubclass(recipes.load_object(row.path), ability)]
            raise UserError(f"{self.recipe['method']['name']} has no {what}; these have: {', '.join(able)}")
        begin = self.recipe["trainer"].get("stages", {}).get("encoder", (0, 1))[0]
        if ability is Encodes and begin and self.turn <= begin * self.numbers["steps"]:
            at = f"turn {self.turn:,} of {self.numbers['steps']:,}, and its stage begins at {begin:.0%}"
            raise UserError(f"the encoder has learned nothing yet ({at}): `ludus resume {self.folder}` goes on")
        return self.game

    def rows(self, x: Any, name: str = "x") -> Tensor:
        """The user's rows in the network's range; name: of what they are read from.

        Raises UserError for another shape, gaps, and what the law excludes.
        """
        rows = torch.from_numpy(self.form.to_network(self._raw(x, name)))
        if not rows.isfinite().all():
            gaps = layout.to_user(~rows.isfinite().numpy(), self.form.axes)
            row, *where = (int(i) for i in np.argwhere(gaps)[0])
            n = int(gaps.reshape(len(gaps), -1).any(1).sum())
            raise UserError(f"{name} holds values that are not finite in {n:,} of {len(rows):,} rows, the first in row "
                            f"{row}, at {tuple(where)}: leave such rows out, or put numbers there")  # fmt: skip
        session.check_support(self.game, rows, name, range(len(rows)))
        return rows

    def seen(self, x: Any) -> np.ndarray:
        """The user's rows as a network is shown them, in their units: cut off by data.clip, NaN where masked."""
        return self.form.to_user(self.rows(x).numpy())

    def _raw(self, x: Any, name: str = "x") -> np.ndarray:
        """The user's rows, of the shape of the data, with gaps filled as theirs were."""
        source = array(x, name)
        check_numbers(source)
        raw = np.asarray(source.rows(0, source.shape[0]))
        fill = fill_of(self.recipe.get("data", {}).get("nan", "refuse"))
        if fill is not None and raw.dtype.kind == "f":  # as the training data were
            raw = np.where(np.isfinite(raw), raw, fill)
        expected = self.form.to_user(np.zeros((1, *self.form.shape), np.float32)).shape[1:]
        if raw.shape[1:] != expected or not len(raw):
            raise UserError(f"{name} is {raw.shape}: rows of {self.form.name} are (n, {', '.join(map(str, expected))})")
        return raw

    def _live(self) -> Tensor | None:
        """The pixels that are not masked, as the network has them."""
        return torch.from_numpy(self.pixels["mask"]) if "mask" in self.pixels else None

    def _codes(self, x: Any, c: Any, kind: str) -> tuple[Tensor, Tensor | None]:
        """z in which directions are sought, and c of each: codes of x or of the examples, or draws of the prior."""
        game = self.game
        if x is None and kind != "pca":
            n = max(1000, 10 * game.prior.dimension)
            c = self._drawn(n) if c is None else self._given(c, n)
            return game.prior.sample(n, c), c
        if x is None and c is not None:
            raise UserError("c is of the rows x: give these too")
        if x is None and "x" not in self.examples:
            raise UserError("pca is of codes of real rows, and this run was shared without any: give x")
        if x is None:
            x, c = (torch.from_numpy(self.examples[name]) if name in self.examples else None for name in ("x", "c"))
            c = None if c is None else c[: len(x)]
        else:
            x = self.rows(x)
            c = self._given(c, len(x))
        return torch.cat(_blocks(len(x), c, lambda rows, c: game.posterior(x[rows], c).mean)), c

    def _factors(self, factors: Any, x: Any, z: Tensor, c: Tensor | None) -> Tensor:
        """Factors (n, k) of rows x, or of those that are generated from z. Raises UserError where they are none."""
        if callable(factors):
            if x is None:
                parts = _blocks(len(z), c, lambda rows, c: self.game.decode(z[rows], c))
                x = self.form.to_user(torch.cat(parts).numpy())
            factors = factors(x)
        elif x is None:
            raise UserError("factors of which rows? give x too, or a function that measures generated rows")
        values = np.asarray(factors)
        if values.dtype.kind not in "biuf" or values.ndim not in (1, 2) or len(values) != len(z):
            raise UserError(f"factors are {values.shape}, {values.dtype}: numbers (n, k), a row for each of {len(z)}")
        if not np.isfinite(values).all():
            raise UserError("factors hold a value that is not finite")
        return torch.from_numpy(values.astype(float).reshape(len(z), -1))

    def _given(self, c: Any, n: int) -> Tensor | None:
        """c encoded. Raises UserError where it is missing, unless the training data had unknown ones too, and where it
        is given to a generator that is not told."""
        if self._blind("generator"):
            if c is not None:
                raise UserError(f"{self.recipe['method']['name']}'s generator is not told the condition: leave it out")
            return None
        if c is not None:
            codes = self.form.encode_condition(c, n)
            if np.isnan(codes).any() and not self.unknown:
                raise UserError("an unknown condition is asked for, and this run was never trained with one: give it")
            for note in self.form.condition.beyond(codes, self.examples["c"]):
                say(note)
            return torch.from_numpy(codes)
        if self.form.conditions and not self.unknown:
            raise UserError(f"this run on {self.form.name} has a condition, and was never trained without: give c "
                            "too, on the command line --condition")  # fmt: skip
        return None

    def _blind(self, role: str) -> bool:
        """Whether a network is not told the condition."""
        return role in recipes.METHODS[self.recipe["method"]["name"]].blind

    def _drawn(self, n: int) -> Tensor | None:
        """Conditions as the training data had them."""
        if not self.form.conditions or self._blind("generator"):
            return None
        rows = torch.from_numpy(self.examples["c"])
        return rows[torch.randint(len(rows), (n,))]

    # Whether it is any good

    def evaluate(
        self, n: int = 10_000, seed: int = 0, *, against: Any = None, condition: Any = None, data: Any = None,
        features: Sequence[Any] = (), observables: Sequence[Any] = (), noise: bool = True,
        out: str | Path | None = None,
    ) -> "Evaluation":  # fmt: skip
        """Compares n draws with rows that were held out, writes the page, and gives what it says.

        evaluation.html, .md and .json, and figures as PNG, SVG and CSV, in `out`, by default the run's folder. As many
        rows of each as there are held-out ones, n at most.

        Args:
            against: other real rows, never trained on, an array or a text.    condition: theirs, if there is one.
            data: those that the run was trained on, where these are no file: an array, or (array, conditions).
            features: "my_file.py:function", from images (n, H, W, C) in the user's units to (n, d); or an `Extractor`.
            observables: "my_file.py:function", to (n,); or an `Observable`; beside the default ones and `@observable`.
            noise: as for `sample`; without, a decoder's means are judged.
        """
        from ludus import evaluate
        from ludus.features import by_user
        from ludus.features.extractor import Extractor
        from ludus.features.observables import Observable

        at_least("n", n, evaluate.FEWEST)
        at_least("seed", seed, 0)
        out = self.folder if out is None else Path(out)
        evaluate.check_out(out)
        own = [by_user.features(each) if isinstance(each, str) else each for each in features]
        looked_at = [by_user.observable(each) if isinstance(each, str) else each for each in observables]
        for kind, given in ((Extractor, own), (Observable, looked_at)):
            if wrong := [each for each in given if not isinstance(each, kind)]:
                raise UserError(f"{wrong[0]!r} is no {kind.__name__}: say 'my_file.py:function', or make one of it")
        known, held = evaluate.real_rows(self, data, against, condition)
        found, about = evaluate.of_run(self, known, held, n, seed, own=own, looked_at=looked_at, noise=noise)
        evaluate.write(self, found, about, out)
        return found

    def report(self) -> Path:
        """Writes report.html, self-contained, and gives its path."""
        return session.report(self)


def _blocks(n: int, c: Tensor | None, of: Callable[[slice, Tensor | None], Any], size: int = AT_ONCE) -> list:
    """of(rows, c of these rows) for n rows, `size` at a time."""
    slices = [slice(start, min(start + size, n)) for start in range(0, n, size)]
    return [of(rows, None if c is None else c[rows]) for rows in slices]


def read_recipe(path: Path) -> dict:
    """The recipe of a run folder, checked."""
    if not (path / "recipe.toml").exists():
        raise UserError(f"{path} is not a run: it has no recipe.toml; `ludus runs` lists those that there are")
    whole = recipes.check(recipes.read(path / "recipe.toml"))
    needed = ["seed", "device", "sampler", "trainer", *recipes.roles(whole["method"]["name"])]
    if missing := [key for key in needed if key not in whole]:
        raise UserError(f"{path / 'recipe.toml'} lacks {', '.join(missing)}: was it edited?")
    return whole
