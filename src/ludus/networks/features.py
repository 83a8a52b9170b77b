"""Features of a discriminator, at any of its layers."""

from torch import Tensor, nn

from ludus.errors import unknown
from ludus.networks.check import check_features


def features_at(discriminator: nn.Module, layer: str, x: Tensor, c: Tensor | None) -> Tensor:
    """What a layer makes of x, (B, width), as `layer_of` names it."""
    layer = layer_of(discriminator, layer)
    if layer == "features":
        return discriminator.features(x, c=c).flatten(1)
    caught = []
    hook = _inner(discriminator).get_submodule(layer).register_forward_hook(lambda m, given, out: caught.append(out))
    try:
        discriminator(x, c=c)
    finally:
        hook.remove()
    return caught[0].flatten(1)


def layer_of(discriminator: nn.Module, layer: str) -> str:
    """The dotted name of a layer, or "features", the last before the logit; "convolution" is the last one there is.

    Raises UserError where a discriminator has no such layer, naming those that it has.
    """
    layers = {name: m for name, m in _inner(discriminator).named_modules() if not any(m.children())}
    if layer == "convolution":
        layer = next((name for name, m in reversed(layers.items()) if isinstance(m, nn.Conv2d)), "features")
    if layer == "features":
        check_features(discriminator, "they are what a reconstruction is judged by")
    elif layer not in layers:
        raise unknown("layer of the discriminator", layer, ["convolution", "features", *layers])
    return layer


def _inner(discriminator: nn.Module) -> nn.Module:
    """The network behind a lens."""
    return getattr(discriminator, "discriminator", discriminator)
