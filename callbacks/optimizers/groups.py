"""Parameter groups: what decays, rules by name, and a learning rate that falls with depth."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from torch import nn

from zoo.errors import ZooError
from zoo.layers.blocks import is_stack
from zoo.optim import decays


@dataclass(frozen=True)
class ParameterRule:
    """Settings for the parameters whose name matches; of several rules the first that matches counts.

    Args:
        match: regular expression, searched anywhere in names such as ``backbone.0.linear.weight``.
        lr_scale: their learning rate as a multiple of the optimizer's; 0.1 is usual for a pretrained backbone.
        weight_decay: their weight decay, biases and norms included; null keeps the usual split.
    """

    match: str
    lr_scale: float = 1.0
    weight_decay: float | None = None

    def __post_init__(self) -> None:
        try:
            re.compile(self.match)
        except re.error as error:
            raise ZooError(f"parameter rule match={self.match!r} is no regular expression: {error}") from None
        if self.lr_scale <= 0:
            raise ZooError(
                f"parameter rule match={self.match!r}: lr_scale must be positive, got {self.lr_scale}; to keep"
                " parameters fixed, freeze them in the model"
            )
        if self.weight_decay is not None and self.weight_decay < 0:
            raise ZooError(f"parameter rule match={self.match!r}: weight_decay must be >= 0, got {self.weight_decay}")


def parameter_groups(
    network: nn.Module,
    lr: float,
    weight_decay: float | None,
    rules: Sequence[ParameterRule] = (),
    layer_decay: float = 1.0,
) -> list[dict[str, Any]]:
    """The trainable parameters of a network, grouped by learning rate and weight decay.

    A parameter in layer k of K (the head is layer K) that rule r matches has the learning rate

        lr * r.lr_scale * layer_decay^(K - k)

    Tied parameters are kept once, under their first name; a rule may match any of their names. Frozen ones are left
    out.

    Args:
        lr: learning rate of the head, where no rule says otherwise.
        weight_decay: for matrices and filters; biases and norms get 0. None where the optimizer knows no decay: the
            groups then have no such key.
        rules: in order of precedence.
        layer_decay: in (0, 1]; 1 gives all layers the same learning rate.

    Returns:
        Groups with "params", "lr", "weight_decay" and a unique "name", from the first layer to the head.

    Raises:
        ZooError: a rule matches nothing, or only what earlier rules took.
    """
    aliases = _names(network)
    parameters = {name: p for name, p in network.named_parameters() if p.requires_grad}
    if not parameters:
        raise ZooError(f"{type(network).__name__} has no trainable parameter for the optimizer; unfreeze a layer")
    taken = {name: _first_match(aliases[id(p)], rules) for name, p in parameters.items()}
    idle = [rule for index, rule in enumerate(rules) if index not in taken.values()]
    if idle:
        raise ZooError(_unmatched(idle[0], {name: aliases[id(p)] for name, p in parameters.items()}))

    stack = layers(network) if layer_decay != 1 else []
    if layer_decay != 1 and len(stack) < 2:
        raise ZooError(
            f"layer_decay={layer_decay} has no effect on {type(network).__name__}, a single layer; leave it out"
        )
    groups: dict[tuple[int, int, bool], dict[str, Any]] = {}
    for name, parameter in parameters.items():
        depth, chosen = _depth(name, stack), taken[name]
        rule = None if chosen is None else rules[chosen]
        split = weight_decay is not None and (rule is None or rule.weight_decay is None)
        spared = split and not decays(parameter)
        place = (depth, len(rules) if chosen is None else chosen, spared)
        if place not in groups:
            group: dict[str, Any] = {"params": [], "lr": lr * layer_decay ** max(len(stack) - 1 - depth, 0)}
            group["lr"] *= 1.0 if rule is None else rule.lr_scale
            if weight_decay is not None:
                own = weight_decay if rule is None or rule.weight_decay is None else rule.weight_decay
                group["weight_decay"] = 0.0 if spared else own
            parts = [f"layer_{depth}"] * bool(stack) + ([rule.match] if rule else [])
            parts += [("no_decay" if spared else "decay")] * split
            group["name"] = "/".join(parts) or "all"
            groups[place] = group
        groups[place]["params"].append(parameter)
    return [groups[place] for place in sorted(groups)]


def layers(network: nn.Module) -> list[list[str]]:
    """The layers from the input to the head, each as the prefixes of its parameters' names.

    They are the children of ``network`` that have parameters, with a child called ``backbone``, a stack of ``blocks``,
    or a child that holds all parameters, replaced by its own children. A norm belongs to the layer before it, and so do
    the positions of a stack.
    """
    found: list[list[str]] = []
    for prefix, begins in _units(network, ""):
        if found and not begins:
            found[-1].append(prefix)
        else:
            found.append([prefix])
    return found


def _units(module: nn.Module, prefix: str) -> Iterator[tuple[str, bool]]:
    """Prefixes of what makes layers, and whether each begins one."""
    children = [(name, c) for name, c in module.named_children() if next(c.parameters(), None) is not None]
    of_stack = is_stack(module)
    for name, child in children:
        opened = name == "backbone" or len(children) == 1 or is_stack(child) or (of_stack and name == "blocks")
        if opened and any(next(c.parameters(), None) is not None for c in child.children()):
            yield from _units(child, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}.", not of_stack and any(decays(p) for p in child.parameters())


def _depth(name: str, stack: list[list[str]]) -> int:
    for depth, prefixes in enumerate(stack):
        if name.startswith(tuple(prefixes)):
            return depth
    return 0  # a parameter that stands alone, such as a position embedding, lies below the first layer


def _names(network: nn.Module) -> dict[int, list[str]]:
    """All names of each parameter: tied ones have several."""
    names: dict[int, list[str]] = {}
    for name, parameter in network.named_parameters(remove_duplicate=False):
        names.setdefault(id(parameter), []).append(name)
    return names


def _first_match(names: list[str], rules: Sequence[ParameterRule]) -> int | None:
    return next((i for i, rule in enumerate(rules) if any(re.search(rule.match, name) for name in names)), None)


def _unmatched(rule: ParameterRule, aliases: dict[str, list[str]]) -> str:
    names = list(aliases)
    taken = [name for name in names if any(re.search(rule.match, alias) for alias in aliases[name])]
    if taken:
        some = ", ".join(taken[:3]) + (", ..." if len(taken) > 3 else "")
        return (
            f"parameter rule match={rule.match!r} is left with nothing: earlier rules took {some}; put it before them"
            " or drop it"
        )
    shown = names if len(names) <= 6 else [*names[:4], "...", *names[-2:]]
    return (
        f"parameter rule match={rule.match!r} matches no trainable parameter; change it or drop it. The names are:"
        f" {', '.join(shown)}"
    )
