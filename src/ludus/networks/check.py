"""One forward of each role before anything is trained: a network that does not fit is named in one line."""

import inspect

import torch
from torch import Tensor, nn

from ludus import seeds
from ludus.errors import UserError


def batch_norm(module: nn.Module) -> bool:
    """Whether a layer mixes the samples of a batch: it then needs two, and per-sample penalties do not exist."""
    return any(isinstance(m, nn.modules.batchnorm._BatchNorm) for m in module.modules())


def check_rows_alone(discriminator: nn.Module) -> None:
    """Raises UserError where a layer mixes rows: the slope at one row then depends on the others."""
    if batch_norm(discriminator):
        raise UserError("slope penalties need a discriminator that treats each row on its own: take its batch norm out")


def check_roles(
    generator: nn.Module, discriminator: nn.Module, prior: nn.Module, shape: tuple[int, ...], condition: int = 0
) -> None:
    """Calls generator(z, c=c) and discriminator(x, c=c) with two rows and compares what comes out with the data.

    Runs in eval mode without gradient and restores the mode; the random state is left as it was.
    Raises UserError in one line: which network, what it got, what came out and what was expected.
    """
    expected = (2, *shape)
    with seeds.measuring(nn.ModuleList([generator, discriminator])):
        z = prior.sample(2)
        c = torch.zeros(2, condition, dtype=z.dtype, device=z.device) if condition else None
        x = _call("generator", "z", generator, z, c)
        if tuple(x.shape) != expected:
            raise UserError(
                f"generator ({_name(generator)}) gave {tuple(x.shape)}, the data are {expected}: its output must be "
                f"(batch, {', '.join(map(str, shape))})"
            )
        logits = _call("discriminator", "x", discriminator, x, c)
        if tuple(logits.shape) == (2, 1):
            raise UserError(
                f"discriminator ({_name(discriminator)}) gave (2, 1), logits are (2,): squeeze them, `.squeeze(1)`"
            )
        if tuple(logits.shape) != (2,):
            raise UserError(
                f"discriminator ({_name(discriminator)}) gave {tuple(logits.shape)} for x {expected}: logits are (2,), "
                "one number a sample"
            )


def _call(role: str, argument: str, network: nn.Module, value: Tensor, c: Tensor | None) -> Tensor:
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
    if not isinstance(out, Tensor):
        raise UserError(f"{role} ({_name(network)}) gave a {type(out).__name__} for {got}: it must give one tensor")
    return out


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
