"""Features of a discriminator, at any of its layers."""

from torch import Tensor, nn

from ludus.errors import UserError, unknown
from ludus.networks.check import check_features
from ludus.networks.lenses import Lensed, packed


def features_at(discriminator: nn.Module, layer: str, x: Tensor, c: Tensor | None) -> Tensor:
    """What a layer makes of x, (B, width), as `layer_of` names it.

    A lens is looked past, but for its packs: noise and augmentation would make features of the same x differ.
    """
    layer, network = layer_of(discriminator, layer), discriminator
    if isinstance(discriminator, Lensed):
        x, c = packed(x, discriminator.pack), None if c is None else packed(c, discriminator.pack)
        network = discriminator.discriminator
    if layer == "features":
        return network.features(x, c=c).flatten(1)
    _, caught = _listened(network, network.get_submodule(layer), x, c)
    if not caught or not isinstance(caught[0], Tensor) or len(caught[0]) != len(x):
        raise UserError(f"the discriminator's layer {layer} gives no row for each row of data: choose another one")
    return caught[0].flatten(1)


def seen(discriminator: nn.Module, x: Tensor, c: Tensor | None) -> tuple[Tensor, Tensor]:
    """Logits a(x) (B,) and features (B, width): of one pass where these are a module and no lens stands before them."""
    if isinstance(discriminator, Lensed) or not isinstance(discriminator.features, nn.Module):
        return discriminator(x, c=c), features_at(discriminator, "features", x, c)
    a, caught = _listened(discriminator, discriminator.features, x, c)
    return a, caught[0].flatten(1)


def _listened(network: nn.Module, layer: nn.Module, x: Tensor, c: Tensor | None) -> tuple[Tensor, list[Tensor]]:
    """What a network gives, and what one of its layers gave on the way."""
    caught = []
    hook = layer.register_forward_hook(lambda m, given, out: caught.append(out))
    try:
        return network(x, c=c), caught
    finally:
        hook.remove()


def layer_of(discriminator: nn.Module, layer: str) -> str:
    """The dotted name of a layer, or "features", the last before the logit; "convolution" is the last one there is.

    Raises UserError where a discriminator has no such layer, naming those that it has.
    """
    network = discriminator.discriminator if isinstance(discriminator, Lensed) else discriminator
    layers = {name: m for name, m in network.named_modules() if name and "parametrizations" not in name}
    if layer == "convolution":
        layer = next((name for name, m in reversed(layers.items()) if isinstance(m, nn.Conv2d)), "features")
    if layer == "features":
        check_features(network, "they are what a reconstruction is judged by")
    elif layer not in layers:
        raise unknown("layer of the discriminator", layer, ["convolution", *layers])
    return layer
