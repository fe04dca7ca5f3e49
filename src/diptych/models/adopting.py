"""Give a recipe's model the towers of a model that is already trained, whatever they are."""

from __future__ import annotations

from torch import nn

from diptych.core.configuration import describe
from diptych.core.model import Model, is_frozen


def take_weights(model: Model, init: Model) -> None:
    """The weights and processors of a model of the same parts.

    Raises:
        ValueError: if it has other parts, or processors that read differently.
    """
    for name, own in model.processors.items():
        there, here = describe(init.processors[name])["arguments"], describe(own)["arguments"]
        other = [key for key in here if key != "definition" and there[key] != here[key]]
        if other:
            raise ValueError(f"--init has another {name} processor: {', '.join(other)}; give it the same")
    model.processors = dict(init.processors)
    try:
        model.load_state_dict(init.state_dict())
    except RuntimeError as error:
        raise ValueError(f"--init is a model of other parts than the recipe's: {error}") from error


def take_towers(model: Model, init: Model) -> None:
    """The towers, heads and processors of another library's model, in the place of the recipe's.

    Towers that the recipe freezes are frozen; parts of the same class and shape, such as the scale with
    its limit, are taken too.

    Raises:
        ValueError: if one lacks a tower that the other has.
    """
    if set(model.towers) != set(init.towers):
        raise ValueError(f"--init has the towers {sorted(init.towers)}; the recipe wants {sorted(model.towers)}")
    spaces, theirs = (_spaces(one) for one in (model, init))
    lost = sorted(spaces - theirs)
    if lost:
        raise ValueError(f"the recipe has the heads {lost}, which --init has not: give it towers by --image and --text")
    frozen = {name for name, tower in model.towers.items() if is_frozen(tower)}
    model.towers, model.heads, model.processors = init.towers, init.heads, dict(init.processors)
    for name, tower in model.towers.items():
        tower.requires_grad_(name not in frozen)
    model.heads.requires_grad_(True)
    for name, other in init.parts.items():
        own = model.parts[name] if name in model.parts else nn.Identity()
        if type(other) is type(own) and other.state_dict().keys() == own.state_dict().keys():
            model.parts[name] = other


def _spaces(model: Model) -> set[str]:
    """`"tower/space"` of every head."""
    return {name.replace(".", "/") for name, _ in model.heads.named_modules() if name.count(".") == 1}
