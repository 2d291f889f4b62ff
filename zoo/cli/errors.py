"""One line for the user out of the parser's report: which option, what is wrong with it, what would be right."""

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple, TypeAlias

from zoo.cli.spelling import argument_types, choices_in, classes_in, concrete, loaded_class, meant, near, spell
from zoo.errors import ZooError

# Options of the parser, such as "--trainer.max_epochs", with their types; None where a type is not known.
Options: TypeAlias = Mapping[str, Any]
# The way to a complaint, outermost first: ("key", "model"), ("class", "zoo.mlp.MLP"), ("key", "hidden").
Place: TypeAlias = tuple[tuple[str, str], ...]

LONGEST = 300
# What `zoo list` shows for an option that takes a class.
_LISTED = {
    "model": "models", "data": "data", "optimizer": "techniques", "schedule": "techniques", "init": "techniques",
    "trainer.callbacks": "techniques",
}  # fmt: skip


def explain(message: str, options: Options) -> str:
    """Turn jsonargparse's report into one line; what is not recognised is passed on, flattened and cut.

    A report is an indented tree: the options and classes on the way to the fault, and below a type with alternatives
    one branch for each that was tried. The deepest complaint is in the branch that the user meant.

    Args:
        message: as jsonargparse 4.53 hands it to ``error()``.
        options: all options that this command knows.
    """
    found = [
        (-len(complaint.place), rank, number, rule, match, complaint)
        for number, complaint in enumerate(_complaints(message, options))
        for rank, (pattern, rule) in enumerate(_RULES)
        if (match := re.match(pattern, complaint.text))
    ]
    if found:
        *_, rule, match, complaint = min(found, key=lambda entry: entry[:3])
        return _flat(rule(match, complaint))
    flat = _flat(message)
    return flat if len(flat) <= LONGEST else f"...{flat[3 - LONGEST :]}"


def zoo_error(error: BaseException | None) -> ZooError | None:
    """The first ZooError in the chain of causes; libraries wrap what a constructor or a hook raises."""
    while error is not None and not isinstance(error, ZooError):
        error = error.__cause__ or error.__context__
    return error


class Complaint(NamedTuple):
    """One leaf of a report.

    Attributes:
        text: what jsonargparse says.
        place: the way to it.
        value: what the user gave there, as far as the report tells.
        options: all options of the command.
    """

    text: str
    place: Place
    value: str
    options: Options

    @property
    def key(self) -> str:
        """The option without its dashes, such as "model.hidden"."""
        return _dotted(self.place)

    @property
    def option(self) -> str:
        return f"--{self.key}"

    @property
    def holder(self) -> type | None:
        """The class whose arguments were read."""
        return loaded_class(self.place[-1][1]) if self.place and self.place[-1][0] == "class" else None

    @property
    def type(self) -> Any:
        """What the innermost option takes; None when that is not known."""
        *way, (_, name) = [step for i, step in enumerate(self.place) if step[0] == "key" or i + 1 < len(self.place)]
        if not way:
            return self.options.get(self.option)
        holder = loaded_class(way[-1][1]) if way[-1][0] == "class" else None
        return None if holder is None else argument_types(holder).get(name)


def _complaints(message: str, options: Options) -> Iterator[Complaint]:
    stack: list[tuple[int, str, str]] = []
    texts: list[tuple[str, Place]] = []
    given: dict[str, str] = {}  # what the user gave, by option
    for line in filter(str.strip, message.splitlines()):
        # Bullets count as indentation; dashes of an option do not.
        text = line.lstrip() if line.lstrip().startswith("--") else line.lstrip(" -")
        depth = len(line) - len(text)
        while stack and stack[-1][0] >= depth:
            stack.pop()
        if key := re.match(r'Parser key "([^"]+)"[^:]*:(.*)|--([\w.]+)\.help: (.+)', text):
            stack.append((depth, "key", key[1] or key[3]))
            text = (key[2] or key[4] or "").strip()
        elif klass := re.match(r"Problem with given class_path '([^']+)':", text):
            stack.append((depth, "class", klass[1]))
            continue
        place = tuple((kind, name) for _, kind, name in stack)
        if nested := re.match(r"Given value: NestedArg\(key='([^']+)', val=(.*)\)", text):
            given[f"{_dotted(place)}.{nested[1].rstrip('+')}"] = nested[2]
        elif text.startswith("Given value: "):
            given.setdefault(_dotted(place), text.removeprefix("Given value: "))
        elif text:
            texts.append((text, place))
    for text, place in texts:
        yield Complaint(text, place, given.get(_dotted(place), ""), options)


def _dotted(place: Place) -> str:
    return ".".join(name for kind, name in place if kind == "key")


# What a complaint becomes -------------------------------------------------------------------------------------------


def _unrecognized(match: re.Match[str], complaint: Complaint) -> str:
    words = match[1].split()
    word = next((word.partition("=")[0] for word in words if word.startswith("-")), None)
    if word is None:
        return f"unexpected argument {words[0]!r}; options look like --trainer.max_epochs 10"
    # --lr and --max_epochs are the ends of options; more than a few of them would be no help.
    end = f".{word.lstrip('-')}"
    ends = [option for option in complaint.options if option.endswith(end)]
    names = ends if 0 < len(ends) <= 3 else near(word, complaint.options)
    return f"unknown option {word}{meant(names) or ' (`zoo fit --help` shows all)'}"


def _unknown_key(match: re.Match[str], complaint: Complaint) -> str:
    keys = [option.removeprefix("--") for option in complaint.options]
    sections = {key.partition(".")[0] for key in keys}
    section = match[1].partition(".")[0]
    if section in sections:
        return f"the configuration has an unknown key {match[1]}{meant(near(match[1], keys))}"
    return f"the configuration has an unknown key {section}{meant(near(section, sections))}"


def _no_value(match: re.Match[str], complaint: Complaint) -> str:
    return f"{match[1]} needs a value"


def _unknown_argument(match: re.Match[str], complaint: Complaint) -> str:
    name = match[1].partition(".")[0]
    if complaint.holder is None:
        return f"unknown option {complaint.option}.{name}"
    known = argument_types(complaint.holder)
    hint = meant(f"{complaint.option}.{entry}" for entry in near(name, known))
    hint = hint or f"; it takes {', '.join(known) or 'nothing'}"
    return f"unknown option {complaint.option}.{name}: {complaint.holder.__name__} takes no {name!r}{hint}"


def _required(match: re.Match[str], complaint: Complaint) -> str:
    names = match[1].split(", ")
    if complaint.holder is not None:
        options = ", ".join(f"{complaint.option}.{name}" for name in names)
        return f"{complaint.holder.__name__} needs {', '.join(names)}; give {options}"
    missing = sorted((name.rpartition(".")[2] for name in names), reverse=True)
    return (
        f"no {' and no '.join(missing)}; name a recipe, as in `zoo fit -c cnn/digits` (`zoo list recipes` shows all),"
        f" or give {' and '.join(f'--{name}' for name in missing)}"
    )


def _denied(match: re.Match[str], complaint: Complaint) -> str:
    path, package = match[1], match[1].partition(".")[0]
    if path.rpartition(".")[2] in [base.__name__ for base in classes_in(complaint.type)]:
        # jsonargparse falls back on the base class where arguments are given and no class.
        return f"{complaint.option}: arguments but no class; name the class first, with {complaint.option} CLASS"
    if match[2] != "*":
        return f"class path {path!r} for {complaint.option} is refused; name a class of the zoo, torch or Lightning"
    return (
        f"class path {path!r} for {complaint.option} is outside the packages that a run may import from; if you trust"
        f" {package}, add --trust {package}"
    )


def _unknown_class(match: re.Match[str], complaint: Complaint) -> str:
    last_kind, last_name = complaint.place[-1]
    path = last_name if last_kind == "class" else match[1]
    if not re.fullmatch(r"[A-Za-z_][\w.]*", path):
        return _no_class(match, complaint)
    bases = classes_in(complaint.type)
    known = sorted({cls.__name__ for base in bases for cls in concrete(base)})
    hint = meant(near(path.rpartition(".")[2], known)) or _listing(complaint)
    if not hint and known:
        hint = f"; it takes {', '.join(known) if len(known) <= 8 else ' or '.join(base.__name__ for base in bases)}"
    return f"unknown class {path!r} for {complaint.option}{hint}"


def _no_class(match: re.Match[str], complaint: Complaint) -> str:
    value = _given(complaint, match)
    if value.startswith("{'class_path'"):
        return f"{complaint.option} takes class_path and init_args; the arguments of the class belong under init_args"
    return f"{complaint.option} takes a class name, or YAML with class_path and init_args, not {value!r}"


def _wrong_class(match: re.Match[str], complaint: Complaint) -> str:
    return f"{match[1] or complaint.value!r} for {complaint.option} is no {match[2]}{_listing(complaint)}"


def _abstract_class(match: re.Match[str], complaint: Complaint) -> str:
    name = match[1] or complaint.value
    return f"{name!r} for {complaint.option} is a base class; take one that builds on it{_listing(complaint)}"


def _ambiguous_class(match: re.Match[str], complaint: Complaint) -> str:
    return f"several classes for {complaint.option} are called {match[1]}; give the full path of one: {match[2]}"


def _section(match: re.Match[str], complaint: Complaint) -> str:
    inside = next((option for option in complaint.options if option.startswith(f"{complaint.option}.")), "")
    return f"{complaint.option} is a section, not a value; set its options one by one, such as {inside}"


def _wrong_type(match: re.Match[str], complaint: Complaint) -> str:
    value = _given(complaint, match)
    taken = re.sub(r"<class '(?:\w+\.)*(\w+)'>", r"\1", match[1]) if complaint.type is None else spell(complaint.type)
    hint = meant(near(value, [str(choice) for choice in choices_in(complaint.type)]))
    return f"{complaint.option} takes {taken}, not {value!r}{hint}"


def _given(complaint: Complaint, match: re.Match[str]) -> str:
    value = complaint.value or match[match.re.groups] or ""
    value = value[1:-1] if value[:1] == value[-1:] == "'" else value
    return value if len(value) <= 60 else f"{value[:57]}..."


def _listing(complaint: Complaint) -> str:
    return f" (`zoo list {_LISTED[complaint.key]}` shows all)" if complaint.key in _LISTED else ""


def _flat(text: str) -> str:
    return " ".join(text.split())


# Among complaints of one depth the first rule that matches any of them wins.
_RULES: tuple[tuple[str, Callable[[re.Match[str], Complaint], str]], ...] = (
    (r"unrecognized arguments: (.+)", _unrecognized),
    (r"Subcommand '\w+' does not accept option '([^']+)'", _unknown_key),
    (r"argument (--[\w.+]+): expected ", _no_value),
    (r"Option '([^']+)' is not accepted", _unknown_argument),
    (r"the following arguments are required: (.+)", _required),
    (r"Importing '([^']+)' is not allowed, denied by the '([^']+)' entry", _denied),
    (r"Multiple subclasses with name (\w+)\. .*ambiguity: (.+)\.$", _ambiguous_class),
    (r"Expected an instantiatable class, but (?:(\S+) )?is abstract", _abstract_class),
    (r"(?:Expected a dot import path string|Unexpected import path format): (.+)", _unknown_class),
    (r"(?:module '[\w.]+' has no attribute|No module named) '([\w.]+)'", _unknown_class),
    (r"Import path (?:(\S+) )?does not correspond to a subclass of (\w+)", _wrong_class),
    (r"Unable to load config (.+)", _section),
    (r"Expected (?!a path but |.*NoneType)(?:an? )?(.+?)(?:\. Got value: (.*))?$", _wrong_type),
    (r"Not a valid subclass of (\w+)(?:\. Got value: (.*))?", _no_class),
)
