"""From what a person types to what Lightning's parser takes: recipes merged, runs found, switches made explicit."""

import os
from dataclasses import dataclass, field
from pathlib import Path

import yaml

from zoo.cli.compose import Config, compose, find, merge, read
from zoo.cli.starting import frozen
from zoo.errors import ZooError

# What a configuration may say, whatever the command; a run's config.yaml also holds arguments of fit alone.
SECTIONS = ("seed_everything", "model", "data", "optimizer", "schedule", "init", "trainer")
# Keys that hold one class each: another class drops the arguments that were chosen for the first.
SWITCHES = ("--model", "--data", "--optimizer", "--schedule", "--init", "--model.task", "--model.init_args.task")


@dataclass
class Prepared:
    """A command, ready for the parser.

    Attributes:
        command: fit, validate, test or predict.
        argv: what the parser reads; the merged configuration is its first option.
        config: the merged configuration as plain data.
        recipe: name of the run: the first recipe's, or None.
        run: folder of the run that is resumed or measured, if one was named.
        trusted: packages that class paths may come from beside the project's own.
        out: file for predictions.
        init_from: name, run folder or file whose weights the run starts from.
    """

    command: str
    argv: list[str]
    config: Config
    recipe: str | None = None
    run: Path | None = None
    trusted: list[str] = field(default_factory=list)
    out: Path | None = None
    init_from: str | None = None


def prepare(command: str, argv: list[str]) -> Prepared:
    """Read what is the zoo's own (``-c``, ``--trust``, ``--out``, ``--init_from``, ``--freeze``, a run), merge recipes.

    The rest is left to the parser.
    """
    sources, argv = take(argv, ("-c", "--config"))
    trusted, argv = take(argv, ("--trust",))
    outs, argv = take(argv, ("--out",)) if command == "predict" else ([], argv)
    starts, argv = take(argv, ("--init_from",)) if command == "fit" else ([], argv)
    parts, argv = take(argv, ("--freeze",)) if command == "fit" else ([], argv)
    run: Path | None = None
    if argv and not argv[0].startswith("-"):
        if command == "fit":
            raise ZooError(f"unexpected argument {argv[0]!r}; a recipe is named with -c, as in zoo fit -c {argv[0]}")
        run, argv = run_folder(argv[0]), argv[1:]
        sources = [str(run), *sources]
    elif command == "resume":
        raise ZooError("resume needs the folder of a run, such as runs/cnn/digits/latest")
    config = compose(sources)
    start = config.pop("init_from", None)  # a run that goes on has weights of its own
    if starts or command != "fit":
        start = starts[-1] if starts and starts[-1] != "none" else None
    if parts:
        config = merge(config, {"trainer": {"callbacks+": frozen(parts)}})
    if run is not None or "recipe" in config:  # the config.yaml of a run, which says more than the parser takes
        config = {key: value for key, value in config.items() if key in SECTIONS}
    recipe = _recipe_name(sources[0]) if sources else None
    if run is not None:
        which = "last" if command == "resume" else "best"
        argv = _with_checkpoint(argv, run / "checkpoints" / f"{which}.ckpt")
    elif command != "fit" and sources and not any(a.startswith("--ckpt_path") for a in argv):
        raise ZooError(f"{command} needs trained weights: name a run folder, or give --ckpt_path FILE")
    command = "fit" if command == "resume" else command
    options = [f"--config={yaml.safe_dump(config, sort_keys=False)}"] if config else []
    return Prepared(
        command, [command, *options, *_explicit_switches(argv)], config, recipe, run, trusted,
        Path(outs[-1]) if outs else None, start,
    )  # fmt: skip


def run_folder(name: str) -> Path:
    """The folder of a run; ZooError when it is none."""
    path = Path(name)
    if path.name in ("best.ckpt", "last.ckpt"):
        path = path.parent.parent
    if not path.is_dir():
        raise ZooError(f"no run folder {name!r}; runs are kept in {os.environ.get('ZOO_RUNS', 'runs')}/")
    if not (path / "config.yaml").is_file():
        raise ZooError(f"{path} is not the folder of a run: it has no config.yaml")
    return path.resolve()


def _recipe_name(source: str) -> str | None:
    path = find(source)
    if path.name == "config.yaml":  # a run is resumed or repeated under the name that it had
        return str(read(path).get("recipe") or "") or None
    return source.removesuffix(".yaml") if not Path(source).is_file() else path.stem


def _with_checkpoint(argv: list[str], checkpoint: Path) -> list[str]:
    if any(argument.startswith("--ckpt_path") for argument in argv):
        return argv
    if not checkpoint.is_file():
        raise ZooError(f"{checkpoint.parent.parent} has no {checkpoint.name}; did the run finish its first epoch?")
    return [*argv, f"--ckpt_path={checkpoint}"]


def take(argv: list[str], names: tuple[str, ...]) -> tuple[list[str], list[str]]:
    """Values of an option that may be given often, and the other arguments."""
    values: list[str] = []
    others: list[str] = []
    rest = iter(argv)
    for argument in rest:
        name, equals, value = argument.partition("=")
        if name not in names:
            others.append(argument)
        elif equals:
            values.append(value)
        else:
            following = next(rest, None)
            if following is None:
                raise ZooError(f"{argument} needs a value")
            values.append(following)
    return values, others


def _explicit_switches(argv: list[str]) -> list[str]:
    """Clear a key before another class is put there, so that no argument of the old class survives."""
    explicit: list[str] = []
    for argument in argv:
        name = argument.partition("=")[0]
        if name in SWITCHES:
            explicit.append(f"{name}=null")
        explicit.append(argument)
    return explicit
