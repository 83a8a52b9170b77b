"""Features of a discriminator, at any of its layers."""

from torch import Tensor, nn

from ludus.errors import unknown
from ludus.networks.check import check_features


def features_at(discriminator: nn.Module, layer: str, x: Tensor, c: Tensor | None) -> Tensor:
    """What a layer makes of x, (B, width): "features", the last before the logit, or a module by its dotted name."""
    if layer == "features":
        return discriminator.features(x, c=c).flatten(1)
    caught = []
    hook = _inner(discriminator).get_submodule(layer).register_forward_hook(lambda m, given, out: caught.append(out))
    try:
        discriminator(x, c=c)
    finally:
        hook.remove()
    return caught[0].flatten(1)


def check_layer(discriminator: nn.Module, layer: str) -> None:
    """Raises UserError where a discriminator has no such layer, naming those that it has."""
    if layer == "features":
        return check_features(discriminator, "they are what a reconstruction is judged by")
    layers = [name for name, module in _inner(discriminator).named_modules() if not any(module.children())]
    if layer not in layers:
        raise unknown("layer of the discriminator", layer, ["features", *layers])


def _inner(discriminator: nn.Module) -> nn.Module:
    """The network behind a lens."""
    return getattr(discriminator, "discriminator", discriminator)
