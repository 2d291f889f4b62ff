"""What a technique touches and what it needs, read from its source: nothing is registered, nothing imported.

The facts follow from how techniques are written. ``supports`` is read as it stands. What is refused later is read
from the checks that raise UnsupportedModule: ``x.ndim != 4`` means images, ``not isinstance(task, T)`` the task T, and
``isinstance(layer, P)`` with a protocol P layers that have what P asks for. Slots are those that ``attach`` fills.
"""

import ast
from dataclasses import dataclass, field
from functools import cache
from typing import TypeGuard

from zoo.cli.sources import MODULE, TECHNIQUE, Method, tasks, techniques

# The methods of Technique that fill a slot, and the slot.
SHARED_SLOTS = {
    "add_initializer": "initializers",
    "add_batch_transform": "batch_transforms",
    "add_penalty": "penalties",
    "add_optimizer_wrapper": "optimizer_wrappers",
}
_LAYER_HOOKS = {
    "register_forward_hook": "forward hooks of layers",
    "register_forward_pre_hook": "forward hooks of layers",
    "register_full_backward_hook": "backward hooks of layers",
    "register_step_pre_hook": "hooks of the optimizer's step",
    "register_step_post_hook": "hooks of the optimizer's step",
    "register_parametrization": "parametrisations of weights",
}
_INPUTS = {2: "rows of a table (B, D)", 3: "sequences (B, T, D)", 4: "images (B, C, H, W)"}
_NO_NEWS = {"ABC", "Protocol", "Callback", "LightningModule"}


@dataclass
class Facts:
    """What is known of one technique.

    Attributes:
        name: its class.
        supports: the class or protocol that a model must satisfy.
        shared, claimed: slots that it fills beside others, and slots that it wants for itself.
        hooks: hooks of Lightning, of layers and of optimizers, and Lightning's callbacks that it builds on.
        rank: dimensions that inputs must have; None for any.
        built_for: dimensions that the model's own example input must have; None for any.
        tasks: tasks that it is for; empty for all.
        protocols: what at least one layer of the network has to be like.
        rivals: classes beside which it does not want to stand.
        refusals, conflicts: the errors that it may raise, with ``<...>`` for what is only known then.
    """

    name: str
    supports: str
    shared: list[str] = field(default_factory=list)
    claimed: list[str] = field(default_factory=list)
    hooks: list[str] = field(default_factory=list)
    rank: int | None = None
    built_for: int | None = None
    tasks: set[str] = field(default_factory=set)
    protocols: set[str] = field(default_factory=set)
    rivals: set[str] = field(default_factory=set)
    refusals: list[str] = field(default_factory=list)
    conflicts: list[str] = field(default_factory=list)


def facts(name: str) -> Facts:
    """Everything about one technique; for the columns of ``zoo show``."""
    sources = techniques()
    found = checks(name)
    for method in _methods(name):
        nodes = list(ast.walk(method.node))
        if "Conflict(" in method.text:
            kinds = [kind for node in nodes if _is_call(node, "isinstance") for kind in _names(node.args[1], name)]
            found.rivals |= {kind for kind in kinds if kind != TECHNIQUE}
        for node in nodes:
            _read_statement(node, found)
    hooks = {method.node.name for method in _methods(name) if method.node.name.startswith("on_")}
    found.hooks[:0] = sorted(hooks - {"on_exception"})
    for base in sources.lineage(name):
        if base not in sources and base not in _NO_NEWS:
            _add(found.hooks, f"Lightning's {base}")
    return found


def _read_statement(node: ast.AST, found: Facts) -> None:
    """Note the slot that a call fills, the hooks that it registers, or the error that is raised."""
    match node:
        case ast.Call(func=ast.Attribute(attr=attribute)) if attribute in SHARED_SLOTS:
            _add(found.shared, SHARED_SLOTS[attribute])
        case ast.Call(func=ast.Attribute(attr="claim"), args=[_, ast.Constant(value=str(slot)), *_]):
            _add(found.claimed, slot)
        case ast.Call(func=ast.Attribute(attr=attribute)) if attribute in _LAYER_HOOKS:
            _add(found.hooks, _LAYER_HOOKS[attribute])
        case ast.Raise(exc=ast.Call(func=ast.Name(id="UnsupportedModule"), args=[text])):
            _add(found.refusals, _words(text, found.name))
        case ast.Raise(exc=ast.Call(func=ast.Name(id="Conflict"), args=[text])):
            _add(found.conflicts, _words(text, found.name))


def checks(name: str) -> Facts:
    """What decides whether a technique supports a model: a part of ``facts`` that is read much faster."""
    sources = techniques()
    supports = sources.attribute(name, "supports", below=TECHNIQUE)
    found = Facts(name, supports.id if isinstance(supports, ast.Name) else MODULE)
    if not any("UnsupportedModule(" in sources.text(cls) for cls in _own(name)):
        return found
    for method in _methods(name, "UnsupportedModule("):
        for node in ast.walk(method.node):
            if isinstance(node, ast.If) and any(_raises(part, "UnsupportedModule") for part in _within(node.body)):
                _read_check(node.test, found, "example_input_array" in method.text)
            if _is_call(node, "isinstance"):
                kinds = [kind for kind in _names(node.args[1], name) if kind in sources]
                found.protocols |= {kind for kind in kinds if "Protocol" in sources.bases(kind)}
    return found


def _read_check(test: ast.expr, found: Facts, of_example: bool) -> None:
    """Note what an ``if`` asks for before it refuses; dimensions may be those of the model's example input."""
    known = set(tasks())
    for node in ast.walk(test):
        match node:
            case ast.Compare(left=ast.Attribute(attr="ndim"), ops=[ast.NotEq()], comparators=[ast.Constant(int(rank))]):
                found.rank = rank
                found.built_for = rank if of_example else None
            case ast.UnaryOp(op=ast.Not(), operand=ast.Call(func=ast.Name(id="isinstance"), args=[_, kinds])):
                found.tasks |= set(_names(kinds, found.name)) & known


def rivals(found: Facts) -> dict[str, str]:
    """The other techniques that cannot stand beside this one, each with the reason in a few words."""
    sources, others = techniques(), dict[str, str]()
    parents = {base for name in sources for base in sources.bases(name)}
    for name in sorted(sources):
        lineage = sources.lineage(name)
        if name == found.name or TECHNIQUE not in lineage or name in parents:
            continue
        if found.rivals & set(lineage):
            others[name] = "by name"
        if any("claim(" in sources.text(cls) or "Conflict(" in sources.text(cls) for cls in _own(name)):
            other = facts(name)
            if other.rivals & set(sources.lineage(found.name)):
                others[name] = "by name"
            for slot in set(other.claimed) & set(found.claimed):
                others[name] = f"slot {slot}"
    return others


def needs(found: Facts) -> str:
    """One line: what a model, its inputs and its task have to be."""
    words = ["any model" if found.supports == MODULE else f"a {found.supports}"]
    words += [f"with {_INPUTS.get(found.rank, f'inputs of {found.rank} dimensions')}"] if found.rank else []
    words += [f"with layers that have {', '.join(sorted(attributes_of(p)))}" for p in sorted(found.protocols)]
    words += [f"for {' or '.join(sorted(found.tasks))}"] if found.tasks else []
    return " ".join(words)


@cache
def attributes_of(protocol: str) -> set[str]:
    """What a protocol asks for."""
    return techniques().members(protocol)


def _own(name: str) -> list[str]:
    """A technique's class and its bases below Technique, as far as they are the project's."""
    return [cls for cls in techniques().lineage(name) if cls in techniques() and cls != TECHNIQUE]


def _methods(name: str, mention: str = "") -> list[Method]:
    """The definitions of a technique's methods that mention something."""
    found = techniques().methods(name, below=TECHNIQUE).values()
    return [method for definitions in found for method in definitions if mention in method.text]


def _within(body: list[ast.stmt]) -> list[ast.AST]:
    return [node for statement in body for node in ast.walk(statement)]


def _raises(node: ast.AST, error: str) -> bool:
    return isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call) and _is_name(node.exc.func, error)


def _is_call(node: ast.AST, name: str) -> TypeGuard[ast.Call]:
    return isinstance(node, ast.Call) and _is_name(node.func, name)


def _is_name(node: ast.AST, name: str) -> bool:
    return isinstance(node, ast.Name) and node.id == name


def _names(kinds: ast.expr, technique: str) -> list[str]:
    """Class names in the second argument of isinstance; a choice by an attribute of the class is made."""
    match kinds:
        case ast.Name(id=name):
            return [name]
        case ast.Attribute(attr=name):
            return [name]
        case ast.Tuple(elts=parts):
            return [name for part in parts for name in _names(part, technique)]
        case ast.BinOp(left=left, right=right):
            return [*_names(left, technique), *_names(right, technique)]
        case ast.IfExp(test=ast.Attribute(value=ast.Name(id="self"), attr=attribute), body=yes, orelse=no):
            value = techniques().attribute(technique, attribute)
            return _names(yes if isinstance(value, ast.Constant) and value.value else no, technique)
    return []


def _words(text: ast.expr, technique: str) -> str:
    """An error's text, with the technique's name put in and ``<...>`` for what is only known when it is raised."""
    if isinstance(text, ast.Constant):
        return str(text.value)
    if not isinstance(text, ast.JoinedStr):
        return f"<{ast.unparse(text)}>"
    said = ""
    for part in text.values:
        if isinstance(part, ast.Constant):
            said += str(part.value)
        elif isinstance(part, ast.FormattedValue):
            code = ast.unparse(part.value)
            said += technique if code in ("self.name", "self.title", "type(self).__name__") else "<...>"
    return said


def _add(words: list[str], word: str) -> None:
    if word not in words:
        words.append(word)
