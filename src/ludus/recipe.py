"""A run as data: TOML <-> dict, the one table of names, and `build`, which turns names into a game.

A section of a recipe holds the keyword-only arguments of one callable; the signature, read from its source, is the only
schema there is. Nothing here imports torch before `build` does, so a misspelt name is answered at once.
"""

import ast
import functools
import importlib
import tomllib
from collections.abc import Iterable
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple

from ludus.errors import UserError, unknown

if TYPE_CHECKING:
    import numpy as np
    from torch import nn

    from ludus.data.layout import Form
    from ludus.game import Game

FORMAT = 1
TOP = {"format": int, "ludus": str, "seed": int, "device": str, "rollbacks": int}


class Method(NamedTuple):
    """A row of the table: where the class is, and the settings that it starts from on vectors and on images."""

    path: str
    points: dict[str, Any]
    images: dict[str, Any]
    sees: Literal["x", "pairs", "z"] = "x"  # its discriminator; the pairs (x, z) as `networks.pairs` says
    blind: tuple[str, ...] = ()  # roles that are not told the condition
    needs: Literal["", "condition", "classes"] = ""  # what the data must come with


# fmt: off
POINTS = {"trainer.lr": 1e-3, "sampler.batch": 128, "annealing.decay": 0.03, "prior.dimension": 2}
IMAGES = {"trainer.lr": 1e-3, "sampler.batch": 128, "annealing.decay": 0.03, "prior.dimension": 16}
UNDONE_POINTS = {"trainer.lr": 1e-3, "sampler.batch": 128, "trainer.steps": 5000, "annealing.hold": 0.5,
                 "annealing.decay": 0.03, "encoder.posterior": "point"}  # an encoder undoes a generator
UNDONE_IMAGES = {"trainer.lr": 2e-4, "trainer.betas": [0.5, 0.999], "encoder.posterior": "point"}
STAGES = {"generator": [0.0, 0.6], "discriminator": [0.0, 0.6], "encoder": [0.6, 1.0]}
METHODS = {
    "gan": Method(
        "methods.gan:GAN",
        points={"trainer.lr": 1e-3, "sampler.batch": 256, "trainer.steps": 5000},
        images={"trainer.lr": 2e-4, "trainer.betas": [0.5, 0.999]},
    ),
    "wgan": Method(
        "methods.wgan:WGAN",
        points={"trainer.lr": 5e-5, "trainer.optimiser": "rmsprop", "sampler.batch": 64, "trainer.steps": 20000},
        images={"trainer.lr": 5e-5, "trainer.optimiser": "rmsprop"},
    ),
    "wgan_gp": Method(
        "methods.wgan_gp:WGANGP",
        points={"method.weight": 0.1, "trainer.lr": 1e-3, "trainer.betas": [0.5, 0.9], "sampler.batch": 256,
                "trainer.steps": 7000, "annealing.hold": 0.5, "annealing.decay": 0.03},
        images={"trainer.lr": 1e-4, "trainer.betas": [0.5, 0.9]},
    ),
    "r3gan": Method(
        "methods.r3gan:R3GAN",
        points={"trainer.lr": 3e-3, "trainer.betas": [0.0, 0.99], "sampler.batch": 256, "trainer.steps": 5000,
                "generator.activation": "tanh", "discriminator.activation": "tanh", "discriminator.fine": 5.0,
                "annealing.hold": 0.3, "annealing.decay": 0.03, "annealing.values": {"gamma": [0.02, 0.002]}},
        images={"trainer.lr": 1.5e-3, "trainer.betas": [0.0, 0.99],
                "annealing.decay": 0.05, "annealing.values": {"gamma": [1.0, 0.02]}},
    ),
    "unrolled_gan": Method(
        "methods.unrolled_gan:UnrolledGAN",
        points={"trainer.lr": 1e-3, "sampler.batch": 128, "trainer.steps": 5000,
                "annealing.hold": 0.5, "annealing.decay": 0.03},
        images={"trainer.lr": 2e-4, "trainer.betas": [0.5, 0.999]},
    ),
    "veegan": Method(
        "methods.veegan:VEEGAN",
        points=UNDONE_POINTS,
        images=UNDONE_IMAGES,
        sees="pairs",
    ),
    "ae": Method(
        "methods.ae:AE",
        points={**POINTS, "encoder.posterior": "point", "prior.name": "fitted"},
        images={**IMAGES, "encoder.posterior": "point", "prior.name": "fitted"},
    ),
    "vae": Method("methods.vae:VAE", points=POINTS, images=IMAGES),
    "iwae": Method("methods.iwae:IWAE", points=POINTS, images=IMAGES),
    "wae": Method(
        "methods.wae:WAE",
        points={**POINTS, "encoder.posterior": "point"},
        images={**IMAGES, "encoder.posterior": "point", "prior.dimension": 8},
    ),
    "vae_gan": Method(
        "methods.vae_gan:VAEGAN",
        points={**POINTS, "trainer.betas": [0.5, 0.99], "trainer.steps": 5000},
        images={**IMAGES, "trainer.betas": [0.5, 0.99], "trainer.lr": 5e-4},
    ),
    "aae": Method(
        "methods.aae:AAE",
        points={**POINTS, "encoder.posterior": "point", "trainer.betas": [0.5, 0.99]},
        images={**IMAGES, "encoder.posterior": "point", "trainer.betas": [0.5, 0.99], "prior.dimension": 8,
                "discriminator.name": "mlp"},
        sees="z", blind=("encoder",),
    ),
    "bigan": Method(
        "methods.bigan:BiGAN",
        points={**UNDONE_POINTS, "prior.dimension": 2, "method.gamma": 0.1},
        images={**UNDONE_IMAGES, "prior.dimension": 32, "sampler.batch": 128, "method.gamma": 1.0},
        sees="pairs",
    ),
    "latent_regressor": Method(
        "methods.latent_regressor:LatentRegressor",
        points={**UNDONE_POINTS, "prior.dimension": 2},
        images={**UNDONE_IMAGES, "prior.dimension": 32, "sampler.batch": 128},
    ),
    "ssgan": Method(
        "methods.ssgan:SSGAN",
        points={"trainer.lr": 1e-3, "trainer.betas": [0.5, 0.99], "trainer.steps": 5000, "sampler.batch": 128,
                "sampler.labelled": 0.25, "annealing.hold": 0.5, "annealing.decay": 0.03},
        images={"trainer.lr": 3e-3, "trainer.rates": {"generator": 2e-3}, "trainer.betas": [0.5, 0.99],
                "sampler.batch": 80, "sampler.labelled": 0.25, "annealing.hold": 0.5, "annealing.decay": 0.03,
                "prior.dimension": 32, "labeller.noise": 0.3},
        blind=("generator", "labeller"), needs="classes",
    ),
    "avb": Method(
        "methods.avb:AVB",
        points={**POINTS, "encoder.posterior": "noise", "trainer.betas": [0.5, 0.99]},
        images={**IMAGES, "encoder.posterior": "noise", "trainer.betas": [0.5, 0.99], "prior.dimension": 8},
        sees="pairs",
    ),
    "infogan": Method(
        "methods.infogan:InfoGAN",
        points={"trainer.lr": 1e-3, "trainer.betas": [0.5, 0.99], "sampler.batch": 128, "trainer.steps": 5000,
                "annealing.hold": 0.5, "annealing.decay": 0.03, "method.gamma": 0.1,
                "prior.name": "codes", "prior.noise": 4},
        images={"trainer.lr": 1e-3, "trainer.betas": [0.5, 0.999], "trainer.rates": {"discriminator": 2e-4},
                "sampler.batch": 128, "generator.norm": "batch", "discriminator.norm": "batch", "prior.name": "codes"},
    ),
    "icgan": Method(
        "methods.icgan:ICGAN",
        points={**UNDONE_POINTS, "prior.dimension": 2, "method.gamma": 0.1, "trainer.stages": STAGES},
        images={"trainer.lr": 1e-3, "trainer.betas": [0.5, 0.99], "trainer.rates": {"encoder": 2e-3},
                "sampler.batch": 128, "annealing.decay": 0.05, "annealing.values": {"gamma": [1.0, 0.02]},
                "encoder.posterior": "point", "prior.dimension": 16, "trainer.stages": STAGES},
        blind=("encoder", "labeller"), needs="condition",
    ),
}
NETWORKS = {
    "mlp": ("networks.mlp:MlpGenerator", "networks.mlp:MlpDiscriminator"),
    "small": ("networks.small:SmallGenerator", "networks.small:SmallDiscriminator"),
    "dcgan": ("networks.dcgan:DcganGenerator", "networks.dcgan:DcganDiscriminator"),
    "resnet": ("networks.resnet:ResnetGenerator", "networks.resnet:ResnetDiscriminator"),
}
PRIORS = {
    "gaussian": "networks.priors:Gaussian",
    "uniform": "networks.priors:Uniform",
    "fitted": "networks.priors:Fitted",
    "mixture": "networks.priors:Mixture",
    "swiss_roll": "networks.priors:SwissRoll",
    "codes": "networks.codes:Codes",
}
# fmt: on
ROLES = {
    "generator": {name: paths[0] for name, paths in NETWORKS.items()},
    "discriminator": {name: paths[1] for name, paths in NETWORKS.items()},
    "encoder": {name: paths[1] for name, paths in NETWORKS.items()},
    "decoder": {name: paths[0] for name, paths in NETWORKS.items()},
    "labeller": {name: paths[1] for name, paths in NETWORKS.items()},
    "recogniser": {"mlp": "networks.codes:Recogniser"},
    "prior": PRIORS,
}
HEADS = {  # what a role makes of the network that it names; its options stand beside the network's
    "encoder": "networks.encoders:Encoder",
    "decoder": "networks.decoders:Decoder",
    "labeller": "networks.labeller:Labeller",
}
SECTIONS = {
    "data": "data.load:load",
    "sampler": "data.sampler:Sampler",
    "trainer": "trainer:Trainer",
    "lens": "networks.lenses:Lensed",
    "ada": "callbacks.ada:ADA",
    "annealing": "callbacks.annealing:Annealing",
    "averaging": "callbacks.averaging:Averaging",
    "checkpoint": "callbacks.checkpoint:Checkpoint",
    "snapshot": "callbacks.snapshot:Snapshot",
    "plan": "callbacks.plan:Plan",
    "doctor": "doctor.watch:Doctor",
    "evaluation": "evaluate:at_end",
}
USUAL = {
    "points": {f"{role}.name": "mlp" for role in ROLES} | {"prior.name": "gaussian", "prior.dimension": 32},
    "images": {f"{role}.name": "small" for role in ROLES} | {"prior.name": "gaussian", "recogniser.name": "mlp"},
}
NAMES = ("name", "source", "condition", "held_out_hash")  # what a section holds beside arguments
CUSTOM = "custom"  # a network that was handed over in Python, and is handed over again at load


# Signatures, read from the source


class Parameter(NamedTuple):
    annotation: str
    default: Any


def _source(path: str) -> tuple[ast.Module, ast.AST]:
    """The parsed module, and the class or function in it, that "room.file:Name" names."""
    module, name = path.split(":")
    tree = ast.parse((Path(__file__).parent / (module.replace(".", "/") + ".py")).read_text(encoding="utf-8"))
    return tree, next(node for node in tree.body if getattr(node, "name", None) == name)


@functools.cache
def signature(path: str) -> tuple[tuple[str, ...], dict[str, Parameter]]:
    """The positional names, and the keyword-only arguments with annotations and defaults, of a class or a function."""
    _, node = _source(path)
    if isinstance(node, ast.ClassDef):
        node = next((n for n in node.body if getattr(n, "name", None) == "__init__"), None)
        if node is None:
            return (), {}
    args = node.args
    options = {
        arg.arg: Parameter(ast.unparse(arg.annotation), ast.literal_eval(default))
        for arg, default in zip(args.kwonlyargs, args.kw_defaults)
    }
    return tuple(arg.arg for arg in args.args if arg.arg != "self"), options


def docstring(path: str) -> str:
    """The docstring of what a path names."""
    return ast.get_docstring(_source(path)[1]) or ""


def bibtex(method: str) -> str:
    """The reference of a method."""
    tree, _ = _source(_method(method).path)
    values = {n.targets[0].id: n.value for n in tree.body if isinstance(n, ast.Assign)}
    return ast.literal_eval(values["BIBTEX"])


def _method(name: str) -> Method:
    if name not in METHODS:
        raise unknown("method", name, METHODS)
    return METHODS[name]


def roles(method: str) -> tuple[str, ...]:
    """The networks and priors that a method is made of."""
    return signature(_method(method).path)[0]


def of_data(method: str) -> list[str]:
    """Those of them that see or give data, so that one architecture may serve them all: --network names it."""
    beside = ("prior", "recogniser", *(("discriminator",) if _method(method).sees == "z" else ()))
    return [role for role in roles(method) if role not in beside]


# Drafts: what a user said, checked


def parse(setting: str) -> tuple[str, Any]:
    """"generator.width=64" -> ("generator.width", 64); the value is TOML, or else a plain string."""
    key, equals, value = setting.partition("=")
    if not equals or "." not in key:
        raise UserError(f"--set takes section.key=value, such as generator.width=64; got {setting!r}")
    try:
        return key.strip(), tomllib.loads(f"v = {value}")["v"]
    except tomllib.TOMLDecodeError:
        return key.strip(), value


def read(path: Path) -> dict:
    """A recipe from a TOML file."""
    try:
        recipe = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"there is no recipe {path}") from None
    except OSError as error:
        raise UserError(f"the recipe {path} cannot be read: {error.strerror.lower()}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UserError(f"{path} is not TOML: {error}") from None
    if recipe.get("format", FORMAT) != FORMAT:
        raise UserError(f"{path} has recipe format {recipe['format']}; this ludus reads {FORMAT}")
    return recipe


def nest(flat: dict[str, Any], recipe: dict | None = None) -> dict:
    """Dotted keys laid over a nested recipe; the recipe given is left as it is."""
    recipe = {key: dict(value) if isinstance(value, dict) else value for key, value in (recipe or {}).items()}
    for dotted, value in flat.items():
        *path, last = dotted.split(".")
        place = recipe
        for key in path:
            inner = place.get(key, {})
            if not isinstance(inner, dict):
                raise UserError(f"recipe: {key} is a section, with keys of its own; got {inner!r}")
            place[key] = dict(inner)
            place = place[key]
        place[last] = value
    return recipe


def draft(
    method: str | None = None,
    source: str | None = None,
    condition: str | None = None,
    network: str | None = None,
    steps: int | None = None,
    minutes: float | None = None,
    batch: int | None = None,
    lr: float | None = None,
    seed: int | None = None,
    device: str | None = None,
    settings: dict[str, Any] | None = None,
    recipe: dict | None = None,
) -> dict:
    """What a user said, as a checked recipe: `settings` ("generator.width": 64) over the options over a `recipe`."""
    said = {
        "method.name": method, "data.source": source, "data.condition": condition, "trainer.steps": steps,
        "plan.minutes": minutes, "sampler.batch": batch, "trainer.lr": lr,
    }  # fmt: skip
    said = {key: value for key, value in (said | (settings or {})).items() if value is not None}
    whole = nest(said, recipe)
    _check_texts(whole)
    if network is not None:
        named = of_data(whole["method"]["name"]) if "name" in whole.get("method", {}) else ()  # `check` asks for it
        whole = nest({f"{role}.name": network for role in named} | said, whole)
    whole |= {} if seed is None else {"seed": int(seed)}
    whole |= {} if device is None else {"device": device}
    return check(whole)


def _check_texts(recipe: dict) -> None:
    """Raises UserError where a section is none, or where something is named by what is no text."""
    for section, values in recipe.items():
        if section not in TOP and not isinstance(values, dict):
            raise UserError(f"recipe: {section} is a section, [{section}], with keys of its own; got {values!r}")
        for key in NAMES if section not in TOP else ():
            if not isinstance(values.get(key, ""), str):
                raise UserError(f"{section}.{key} is a text, got {values[key]!r}")


def check(recipe: dict) -> dict:
    """The recipe with its values coerced to what the signatures ask for; a UserError names what does not fit."""
    _check_texts(recipe)
    if "name" not in recipe.get("method", {}):
        raise UserError(f"no method: `ludus train r3gan` is a good start; there are {', '.join(METHODS)}")
    known = {*TOP, "method", *roles(recipe["method"]["name"]), *SECTIONS}
    for section, value in recipe.items():
        if section not in known:
            raise unknown("recipe section", section, known)
        if section in TOP and type(value) is not TOP[section]:
            raise UserError(f"recipe: {section} is {TOP[section].__name__}, got {value!r}")
        if section == "seed" and not 0 <= value < 2**63:
            raise UserError(f"seed = {value}: it is from 0 to 2^63 - 1")
    method = recipe["method"]["name"]
    whole = {key: value if key in TOP else _check_section(key, value, method) for key, value in recipe.items()}
    annealed = whole.get("annealing", {}).get("values", {})
    numbers = {key: ("method", key) for key in _floats(METHODS[method].path)}
    numbers |= {f"discriminator.{key}": ("lens", key) for key in _floats(SECTIONS["lens"])}
    for name, ends in annealed.items():
        if name not in numbers:
            raise unknown(f"number of {method} to anneal", name, numbers)
        section, key = numbers[name]
        for end in ends:
            _check_section(section, {key: end}, method)
    if "discriminator.augment" in annealed and "target" in whole.get("ada", {}):
        raise UserError("discriminator.augment is steered by ada or annealed, not both: leave out one of them")
    return whole


def _floats(path: str) -> list[str]:
    return [key for key, option in signature(path)[1].items() if isinstance(option.default, float)]


def _dotted(tree: dict) -> dict:
    """{"discriminator": {"noise": v}} -> {"discriminator.noise": v}: a name with a dot, as TOML and --set read it."""
    flat = {}
    for key, value in tree.items():
        flat |= {f"{key}.{k}": v for k, v in _dotted(value).items()} if isinstance(value, dict) else {key: value}
    return flat


def _check_section(section: str, values: dict, method: str) -> dict:
    fixed = {"data": ("source", "condition", "held_out_hash")}.get(section, ()) if section in SECTIONS else ("name",)
    options: dict[str, Parameter] = {}
    for path in _candidates(section, values.get("name"), method):
        options |= signature(path)[1]
    if section in HEADS:
        options |= signature(HEADS[section])[1]
    for key in values:
        if key not in options and key not in fixed:
            raise unknown(f"key in [{section}]", key, [*options, *fixed])
    given = {key: value for key, value in values.items() if key not in fixed}
    if section == "annealing" and isinstance(given.get("values"), dict):
        given["values"] = _dotted(given["values"])
    return {key: values[key] for key in fixed if key in values} | _coerce(section, given, options)


def arguments(path: str, values: dict, section: str) -> dict:
    """The values as the arguments of what "room.file:Name" names: unknown keys refused, types coerced."""
    known = signature(path)[1]
    for key in values:
        if key not in known:
            raise unknown(f"setting of {section}", key, known)
    return _coerce(section, values, known)


def _candidates(section: str, name: str | None, method: str) -> Iterable[str]:
    """Paths whose options a section may hold: one, or all that a role may be while its network is not named."""
    if section == "method":
        return [_method(method).path]
    if section in SECTIONS:
        return [SECTIONS[section]]
    if name is None:
        return ROLES[section].values()
    if name == CUSTOM:
        return []
    if name not in ROLES[section]:
        raise unknown(section, name, ROLES[section])
    return [ROLES[section][name]]


def _coerce(section: str, values: dict, options: dict[str, Parameter]) -> dict:
    import pydantic

    share = Annotated[float, pydantic.Field(ge=0, le=1)]
    names = {"Literal": Literal, "Positive": pydantic.PositiveFloat, "NotNegative": pydantic.NonNegativeFloat,
             "Share": share, "Count": pydantic.PositiveInt, "Many": pydantic.NonNegativeInt}  # fmt: skip
    fields = {key: (eval(options[key].annotation, names), ...) for key in values}
    model = pydantic.create_model("Section", __config__={"allow_inf_nan": False}, **fields)
    try:
        return model(**values).model_dump(exclude_none=True)
    except pydantic.ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, (section, *first["loc"])))
        raise UserError(f"{where}: {first['msg'].lower()}, got {first['input']!r}") from None


# Complete recipes


def complete(recipe: dict, kind: Literal["points", "images"], n: int) -> dict:
    """The checked recipe over the recommended settings for its method and its data of n training examples."""
    row = _method(recipe["method"]["name"])
    wanted = USUAL[kind] | {"sampler.batch": 64} | (row.points if kind == "points" else row.images)
    wanted = {key: value for key, value in wanted.items() if _applies(key, recipe, wanted)}
    batch = recipe.get("sampler", {}).get("batch") or max(1, min(wanted["sampler.batch"], n // 4))
    wanted = {"trainer.steps": min(20_000, max(2_000, 20 * n // batch))} | wanted | {"sampler.batch": batch}
    whole = {"format": FORMAT, "ludus": version("ludus"), "seed": 0, "device": "auto"} | nest(wanted)
    for section, values in recipe.items():
        whole[section] = {**whole.get(section, {}), **values} if isinstance(values, dict) else values
    annealed = {k: v for k, v in wanted.get("annealing.values", {}).items() if k not in recipe["method"]}
    annealed |= recipe.get("annealing", {}).get("values", {})  # a number that the user gave stays as given
    return check(nest({"annealing.values": annealed}, whole))


def _applies(key: str, recipe: dict, wanted: dict) -> bool:
    """Whether a recommended setting is one of the method's roles, and of the network that is wanted there."""
    section, option = key.split(".", 1)
    if section in ROLES and section not in roles(recipe["method"]["name"]):
        return False
    name = recipe.get(section, {}).get("name", wanted.get(f"{section}.name"))
    if section not in ROLES or name is None or option == "name":
        return True
    if section in HEADS and option in signature(HEADS[section])[1]:
        return True
    return name != CUSTOM and option in signature(ROLES[section][name])[1]


def text(recipe: dict) -> str:
    """The recipe as TOML."""
    import tomli_w

    return tomli_w.dumps(recipe)


def options(recipe: dict, section: str) -> dict:
    """A section's arguments: everything in it but the names of what is called."""
    return {k: v for k, v in recipe.get(section, {}).items() if k not in NAMES}


def load_object(path: str) -> Any:
    """The class or function that "room.file:Name" names."""
    module, name = path.split(":")
    return getattr(importlib.import_module(f"ludus.{module}"), name)


def build(
    recipe: dict,
    form: "Form",
    modules: "dict[str, nn.Module] | None" = None,
    pixels: "dict[str, np.ndarray] | None" = None,
) -> "Game":
    """The game of a complete recipe for data of a given form; `modules` are networks of the user's own, by role, and
    `pixels` what is known of each pixel, as `Data` has it."""
    from ludus.networks.check import batch_norm, check_roles

    method, parts = _method(recipe["method"]["name"]), dict(modules or {})
    given = {"shape": form.shape, "condition": form.conditions, "classes": form.classes, "labels": form.conditions,
             "bounded": form.bounded, "pixels": pixels or {}, "offset": form.scaling.offset,
             "scale": form.scaling.scale}  # fmt: skip
    _check_told(recipe, form)
    lens, batch = _lens(recipe, form), recipe["sampler"]["batch"]
    pack = (lens or {}).get("pack", 1)
    _check_bits(recipe, form)
    _check_linear(recipe, form)
    if recipe["prior"]["name"] == "fitted" != method.points.get("prior.name"):
        raise UserError(f"{recipe['method']['name']} draws z from a prior that stays as it is: prior.name=gaussian")
    if "sigma" in (pixels or {}) and recipe.get("decoder", {}).get("sigma") != "given":
        raise UserError("data.sigma is what decoder.sigma=given takes: say that too, or leave data.sigma out")
    for role in sorted(roles(recipe["method"]["name"]), key=_turn):
        wider = {"condition": 0} if role in method.blind else {}
        if role == "discriminator":
            seen = (given["latent"],) if method.sees == "z" else form.shape
            width = form.conditions + (given["latent"] if method.sees == "pairs" else 0)
            wider = {"shape": (pack * seen[0], *seen[1:]), "condition": pack * width}
        elif role == "decoder":  # it gives the numbers of a law, which has a range of its own
            numbers = 2 if recipe["decoder"].get("sigma") == "predicted" else 1
            wider = {"shape": (numbers * form.shape[0], *form.shape[1:]), "bounded": False}
        if role not in parts:
            parts[role] = _part(recipe, role, given | wider)
        if role in HEADS:
            parts[role] = _headed(recipe, role, parts[role], given | ({} if role == "decoder" else wider))
        if role == "prior":
            given |= {"latent": parts[role].dimension, "squashed": getattr(parts[role], "bounded", False)}
            given |= {"prior": parts[role]}
        if role == "discriminator":
            given |= {"discriminator": parts[role]}
    check_roles(parts, form.shape, form.conditions, method.sees, method.blind, pack)
    for role, part in parts.items():
        if batch_norm(part) and batch == (pack if role == "discriminator" else 1):
            raise UserError(f"batch {batch}: the {role} has batch norm, which needs two rows; give a larger --batch")
    if form.mask is not None and "generator" in parts:
        parts["generator"] = load_object("networks.layers:Masked")(parts["generator"], form.mask)
    if lens is not None:
        parts["discriminator"] = load_object(SECTIONS["lens"])(parts["discriminator"], **lens)
    return load_object(method.path)(**parts, **options(recipe, "method"))


def _turn(role: str) -> int:
    """The prior is made first, since others need its size, and last what reads the discriminator's features."""
    return {"prior": 0, "recogniser": 2}.get(role, 1)


def _check_told(recipe: dict, form: "Form") -> None:
    """Raises UserError where a method learns labels, and the data come with none, or with others."""
    name = recipe["method"]["name"]
    needs = _method(name).needs
    if needs and not form.conditions:
        raise UserError(f"{name} learns labels: give those that are known with --condition, NaN where they are not")
    if needs == "classes" and not form.classes:
        several = len(form.condition.columns) > 1
        how = "choose one of its columns" if several else "say --set data.condition_kind=classes, if that is what it is"
        what = "several columns" if several else "values"
        raise UserError(f"{name} learns one column of classes, and the condition of {form.name} is {what}: {how}")
    if needs == "classes" and form.classes == 1:
        raise UserError(f"{name} tells classes apart, and all labels of {form.name} are one: give two at least")


def _check_bits(recipe: dict, form: "Form") -> None:
    """Raises UserError where 0 and 1 are asked for, and lie elsewhere in each column."""
    grey = form.bounded and not form.scaling.bend and form.mask is None
    if recipe["sampler"].get("binarise") and not grey:
        raise UserError("sampler.binarise takes grey values for probabilities: with data.scaling=minmax, no data.mask")
    bits = recipe["sampler"].get("binarise") or recipe.get("decoder", {}).get("likelihood") == "bernoulli"
    if bits and form.bounded and len(set(form.scaling.offset)) > 1:
        raise UserError(f"the columns of {form.name} have ranges of their own, not one from 0 to 1: as bits they need "
                        "data.scaling=none")  # fmt: skip


def _check_linear(recipe: dict, form: "Form") -> None:
    """Raises UserError where a law is one of the user's own numbers, and these were bent or cut off."""
    scaling, decoder = form.scaling, recipe.get("decoder", {})
    likelihood, sigma = decoder.get("likelihood", "gaussian"), decoder.get("sigma", "shared")
    what = f"data.scaling={scaling.bend}" if scaling.bend else "data.clip" if scaling.clips else ""
    if what and likelihood in ("poisson", "negative_binomial"):
        raise UserError(f"{likelihood} is a law of counts as they are, and {what} makes others of them: leave it out, "
                        "or take decoder.likelihood=gaussian")  # fmt: skip
    if scaling.bend and (sigma == "given" or not isinstance(sigma, str)):
        raise UserError(f"decoder.sigma = {sigma} is in the data's units, which {what} bends: take shared, pixels or "
                        "predicted")  # fmt: skip


def _lens(recipe: dict, form: "Form") -> dict | None:
    """The options of the lens; None if there is nothing for it to do."""
    given, defaults, batch = options(recipe, "lens"), signature(SECTIONS["lens"])[1], recipe["sampler"]["batch"]
    method = _method(recipe["method"]["name"])
    on = {key for key, value in given.items() if value != defaults[key].default}
    on |= {name.partition(".")[2] for name in recipe.get("annealing", {}).get("values", {}) if "." in name}
    on |= {"augment"} if "target" in recipe.get("ada", {}) else set()
    if on and "discriminator" not in roles(recipe["method"]["name"]):
        raise UserError(f"lens: {recipe['method']['name']} has no discriminator that could look through it")
    if "augment" in on and (form.kind == "points" or method.sees == "z"):
        what = f"{form.name} are points" if form.kind == "points" else "this discriminator sees latents"
        raise UserError(f"lens.augment and ada are for images, to shift and to cut; {what}")
    if given.get("pack", 1) > 1 and "recogniser" in roles(recipe["method"]["name"]):
        raise UserError(f"{recipe['method']['name']} reads the codes of each x by itself: lens.pack=1")
    if batch % given.get("pack", 1):
        raise UserError(f"lens.pack: packs of {given['pack']} do not divide a batch of {batch}")
    return given if on else None


def _part(recipe: dict, role: str, given: dict) -> "nn.Module":
    """A network or a prior by name; of what is known about the data it gets what its signature asks for."""
    name = recipe[role]["name"]
    if name == CUSTOM:
        raise UserError(f"this run's {role} is one of your own: hand it over again, {role}=MyNetwork()")
    path = ROLES[role][name]
    asked = {key: given[key] for key in signature(path)[0] if key in given}
    return load_object(path)(**asked, **_of(path, options(recipe, role)))


def _headed(recipe: dict, role: str, network: "nn.Module", given: dict) -> "nn.Module":
    """What a role makes of its network."""
    path = HEADS[role]
    asked = {key: value for key, value in {**given, "network": network}.items() if key in signature(path)[0]}
    return load_object(path)(**asked, **_of(path, options(recipe, role)))


def _of(path: str, values: dict) -> dict:
    """Those of a section's values that are arguments of what a path names."""
    return {key: value for key, value in values.items() if key in signature(path)[1]}
