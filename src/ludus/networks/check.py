"""One forward of each role before anything is trained: a network that does not fit is named in one line."""

import inspect
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from ludus import seeds
from ludus.errors import UserError
from ludus.networks.heads import MINIBATCH
from ludus.networks.laws import Law, Pixels
from ludus.networks.lenses import packed
from ludus.networks.pairs import joined
from ludus.networks.priors import Gaussian

LAWS = Law | Pixels  # an encoder and a decoder give one; its mean is what has a shape


def batch_norm(module: nn.Module) -> bool:
    """Whether a layer mixes the samples of a batch: it then needs two, and per-sample penalties do not exist."""
    return any(isinstance(m, nn.modules.batchnorm._BatchNorm) for m in module.modules())


def check_rows_alone(discriminator: nn.Module, what: str = "slope penalties") -> None:
    """Raises UserError where a layer mixes rows: what the discriminator says of one then depends on the others."""
    mixing = {"batch norm": nn.modules.batchnorm._BatchNorm, "minibatch layer": tuple(MINIBATCH.values())}
    for name, kinds in mixing.items():
        if any(isinstance(m, kinds) for m in discriminator.modules()):
            raise UserError(
                f"{what} need a discriminator that treats each row on its own, else what it says of one row depends "
                f"on the others: take its {name} out"
            )


def check_features(discriminator: nn.Module, why: str) -> None:
    """Raises UserError where a discriminator does not show its features."""
    if not callable(getattr(discriminator, "features", None)):
        raise UserError(f"discriminator ({_name(discriminator)}) has no features(x, c) -> (batch, width): {why}")


def check_law(encoder: nn.Module, prior: nn.Module, method: str) -> None:
    """Raises UserError where log q(z|x) − log p(z) would be infinite, or has no meaning."""
    if getattr(encoder, "posterior", "gaussian") not in ("gaussian", "flow"):
        raise UserError(
            f"{method} needs a density of z: encoder.posterior=gaussian or flow; ae and wae take a point, avb noise"
        )
    check_standard(prior, method)


def check_standard(prior: nn.Module, method: str) -> None:
    """Raises UserError where the prior is not N(0, 1), which the formulas of a KL stand for."""
    if not isinstance(prior, Gaussian):
        raise UserError(f"{method} measures its codes against N(0, 1): prior.name=gaussian")


def check_point(encoder: nn.Module, method: str) -> None:
    """Raises UserError where an encoder gives a law of z, and the method takes a point."""
    if getattr(encoder, "posterior", "point") != "point":
        raise UserError(f"{method} encodes x to a point: encoder.posterior=point; vae and avb have a law of z")


CALLS = {  # role: takes, gives
    "generator": ("z", "x"),
    "discriminator": ("x", "logits"),
    "encoder": ("x", "z"),
    "decoder": ("z", "x"),
    "labeller": ("x", "labels"),
    "recogniser": ("features", "numbers"),
}


def check_roles(
    parts: Mapping[str, nn.Module],
    shape: tuple[int, ...],
    condition: int = 0,
    sees: str = "x",
    blind: tuple[str, ...] = (),
    pack: int = 1,
) -> None:
    """Calls each network with two rows, as `CALLS` and its c say, and compares what comes out with what is asked for.

    parts: networks by role, and the prior;  shape, condition: of the data;  sees: what the discriminator does, "x",
    "z", or "pairs", the z in front of its c;  blind: roles that are not given c;  pack: the discriminator sees so many
    rows as one, and is called with two packs. Runs in eval mode without
    gradient and restores the mode; the random state is left as it was.
    Raises UserError in one line: which network, what it got, what came out and what was expected.
    """
    networks = {role: part for role, part in parts.items() if role != "prior"}
    with seeds.measuring(nn.ModuleList(networks.values())):
        z = _latents(parts["prior"], 2 * pack, condition)
        c = z.new_zeros(len(z), condition) if condition else None
        rows = {"z": z, "x": z.new_zeros(len(z), *shape), "logits": z.new_zeros(2)}
        rows["labels"] = z.new_zeros(len(z), condition)
        if "recogniser" in networks:
            rows["features"] = parts["discriminator"].features(rows["x"], c=c)
            rows["numbers"] = z[:, : parts["prior"].numbers]
        for role, network in networks.items():
            takes, gives = CALLS[role]
            taken, seen = rows[takes], None if role in blind else c
            if role == "discriminator":
                takes = "z" if sees == "z" else takes
                taken, seen = rows[takes], joined(z, c) if sees == "pairs" else c
                taken, seen = packed(taken, pack), seen if seen is None else packed(seen, pack)
            found = tuple(called(role, takes, network, taken, seen).shape)
            expected, who = tuple(rows[gives].shape), f"{role} ({_name(network)}) gave {found}"
            if found == expected:
                continue
            if gives == "x":
                raise UserError(
                    f"{who}, the data are {expected}: its output must be (batch, {', '.join(map(str, shape))})"
                )
            if gives == "z":
                raise UserError(f"{who}, z from the prior are {expected}: it must give one z for each x")
            if gives in ("labels", "numbers"):
                raise UserError(f"{who}, it must give {expected}: a row of {expected[1]} {gives} for each of two")
            if found == (2, 1):
                raise UserError(f"{who}, logits are (2,): squeeze them, `.squeeze(1)`")
            raise UserError(f"{who} for x {tuple(taken.shape)}: logits are (2,), one number a sample")


def trunk_of(role: str, network: nn.Module, shape: tuple[int, ...], condition: int) -> tuple[nn.Module, int]:
    """The trunk of a network and its width: a discriminator's of the library without its head, or one's own network.

    Raises UserError where it mixes rows by a minibatch layer, or does not give features (B, width).
    """
    if getattr(network, "minibatch", "none") != "none":
        raise UserError(f"the {role} maps each row on its own: it has no minibatch layer")
    features = network.features if hasattr(network, "minibatch") else network
    with seeds.measuring(network):
        c = torch.zeros(2, condition) if condition else None
        found = called(role, "x", features, torch.zeros(2, *shape), c)
    if found.dim() != 2:
        raise UserError(f"the {role}'s network gave {tuple(found.shape)} for 2 rows: features are (batch, width)")
    return features, found.shape[1]


def called(role: str, argument: str, network: nn.Module, value: Tensor, c: Tensor | None) -> Tensor:
    """network(value, c=c); whatever goes wrong is the user's to read in one line."""
    _check_signature(role, argument, network)
    got = f"{argument} {tuple(value.shape)}, c {None if c is None else tuple(c.shape)}"
    try:
        out = network(value, c=c)
    except UserError as error:
        raise UserError(f"{role} ({_name(network)}) refused {got}: {error}") from error
    except Exception as error:
        reason = str(error).strip().splitlines() or [type(error).__name__]
        raise UserError(f"{role} ({_name(network)}) failed on {got}: {reason[0]}") from error
    out = out.mean if isinstance(out, LAWS) else out
    if not isinstance(out, Tensor):
        raise UserError(f"{role} ({_name(network)}) gave a {type(out).__name__} for {got}: it must give one tensor")
    return out


def _latents(prior: nn.Module, n: int, condition: int) -> Tensor:
    try:
        return prior.sample(n, torch.zeros(n, condition) if condition else None)
    except TypeError as error:
        raise UserError(f"prior ({_name(prior)}) is called as sample(n, c), c None or (n, K): {error}") from None


def _check_signature(role: str, argument: str, network: nn.Module) -> None:
    signature = inspect.signature(network.forward)
    try:
        signature.bind(None, c=None)
    except TypeError:
        raise UserError(
            f"{role} ({_name(network)}) has forward{signature}: it is called as {role}({argument}, c=None), also "
            "where there is no condition"
        ) from None


def _name(network: nn.Module) -> str:
    return type(network).__name__
