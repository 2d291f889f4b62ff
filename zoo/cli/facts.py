"""What a technique says of itself: what it supports, which slots and hooks it uses, what it does not go with.

Read from the class attributes and calls that every technique writes in the same way, so that ``zoo list`` need not
import torch; tests hold this to what the classes do.
"""

import re
from typing import NamedTuple

from zoo.cli.sources import MODULE, TECHNIQUE, techniques

# The methods of Technique that fill a slot, and the slot.
SHARED_SLOTS = {
    "add_initializer": "initializers",
    "add_batch_transform": "batch_transforms",
    "add_penalty": "penalties",
    "add_optimizer_wrapper": "optimizer_wrappers",
    "add_discriminator_penalty": "discriminator_penalties",
    "add_discriminator_transform": "discriminator_transforms",
    "add_observer": "observers",
}
_HOOKS = {
    "register_forward_hook": "forward hooks of layers",
    "register_forward_pre_hook": "forward hooks of layers",
    "register_full_backward_hook": "backward hooks of layers",
    "register_step_pre_hook": "hooks of the optimizer's step",
    "register_step_post_hook": "hooks of the optimizer's step",
}
_CALL = re.compile(r"\.(add_\w+|register_\w+)\(|\.claim\(\s*\w+,\s*\"(\w+)\"|^    def (on_\w+)\(", re.MULTILINE)


class Facts(NamedTuple):
    """What is known of one technique.

    Attributes:
        name: its class.
        supports: the class or protocol that a model must satisfy.
        inputs: the kinds of inputs of which the model has to take one; empty for all.
        tasks: tasks that it is for; empty for all.
        rivals: classes beside which it cannot stand.
        shared, claimed: slots that it fills beside others, and slots that it wants for itself.
        hooks: hooks of Lightning, of layers and of optimizers.
    """

    name: str
    supports: str
    inputs: tuple[str, ...]
    tasks: tuple[str, ...]
    rivals: tuple[str, ...]
    shared: list[str]
    claimed: list[str]
    hooks: list[str]


def facts(name: str) -> Facts:
    """Everything about one technique."""
    sources = techniques()
    own = [cls for cls in sources.lineage(name) if cls in sources and cls != TECHNIQUE]
    shared, claimed, hooks = dict[str, None](), dict[str, None](), dict[str, None]()  # in order, each once
    for cls in own:
        for call, slot, hook in _CALL.findall(sources.text(cls)):
            if call in SHARED_SLOTS:
                shared[SHARED_SLOTS[call]] = None
            elif call in _HOOKS:
                hooks[_HOOKS[call]] = None
            elif slot:
                claimed[slot] = None
            elif hook and hook != "on_exception":
                hooks[hook] = None
    supports = sources.words(name, "supports") or (MODULE,)
    inputs, of_tasks, rivals = (sources.words(name, attribute) for attribute in ("inputs", "tasks", "rivals"))
    return Facts(name, supports[0], inputs, of_tasks, rivals, [*shared], [*claimed], [*hooks])


def rivals(found: Facts) -> list[str]:
    """The other techniques that cannot stand beside this one: either names the other, or both want one slot."""
    sources, others = techniques(), list[str]()
    for name in sources.leaves(TECHNIQUE):
        if name == found.name:
            continue
        other = facts(name)
        named = set(found.rivals) & set(sources.lineage(name)) or set(other.rivals) & set(sources.lineage(found.name))
        if named or set(found.claimed) & set(other.claimed):
            others.append(name)
    return others


def needs(found: Facts) -> str:
    """One line: what a model, its inputs and its task have to be."""
    words = ["any model" if found.supports == MODULE else f"a {found.supports}"]
    if found.supports in techniques():  # a protocol
        words = [f"a model that has {', '.join(sorted(techniques().members(found.supports)))}"]
    words += [f"of {' or '.join(found.inputs)}"] if found.inputs else []
    words += [f"for {' or '.join(found.tasks)}"] if found.tasks else []
    return " ".join(words)
