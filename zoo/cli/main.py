"""Entry point: answers what it can from files alone, and hands the rest to Lightning's command line."""

import sys

from zoo.errors import UsageError, ZooError

USAGE = """\
usage: zoo COMMAND [options]

Train, judge and reuse networks; every technique is a plug-in.

run
  fit       -c RECIPE [-c FRAGMENT ...] [--option value ...]   train
            [--init_from RUN|NAME [--freeze PART]]             from trained weights, parts of which stay as they are
  resume    RUN                                                go on with a run that was stopped
  test      RUN | -c RECIPE --ckpt_path FILE                   measure on the test split
  validate  RUN | -c RECIPE --ckpt_path FILE                   measure on the validation split
  predict   RUN [--out FILE]                                   write predictions of the test split
  evaluate  NAME | --all                                       weights of the package: do they reach what is said?
  pack      RUN NAME [--dtype T] [--metric M]                  weights of a run for the package
  sample    RUN [--num N] [--truncation T] [--label K] [--out FILE]   pictures from a trained generator

share
  export    RUN|NAME --format onnx|pt2|safetensors [--int8]    one file for other programs, compared before it is kept
  card      RUN|NAME [--out FILE]                              a model card: what it is, reaches and needs
  push      RUN|NAME FOLDER|hub:REPO|wandb:PROJECT/NAME        weights, configuration and card, for zoo.load

look
  list      [recipes|pretrained|models|data|techniques] [--for MODEL]   what there is; what a family or task supports
  show      NAME                                               a recipe or a technique: its YAML, its card
  check     [-c RECIPE [--option value ...]]                   gradients against numbers; is a run worth starting

  zoo COMMAND --help      all options of a command
  zoo --version

first steps
  zoo fit -c cnn/digits                                        trains in under a minute, no download
  zoo fit -c cnn/digits -c techniques/optimizers/adam          the same with another optimizer
"""


def main(args: list[str] | None = None) -> None:
    """Run the ``zoo`` command.

    Raises:
        SystemExit: status 2 for anything that the user can mend, after one line that says how.
    """
    argv = sys.argv[1:] if args is None else args
    try:
        _dispatch(argv)
    except (UsageError, ZooError) as error:
        message = error.message if isinstance(error, UsageError) else error
        print(f"zoo: error: {message}", file=sys.stderr)
        raise SystemExit(2) from None
    except KeyboardInterrupt:
        raise SystemExit(130) from None
    except BrokenPipeError:
        sys.stderr.close()
        raise SystemExit(1) from None


def _dispatch(argv: list[str]) -> None:
    command, rest = (argv[0], argv[1:]) if argv else ("--help", [])
    if command in ("--help", "-h", "help"):
        print(USAGE, end="")
    elif command in ("--version", "-V"):
        from importlib.metadata import version

        print(f"lightning-zoo {version('lightning-zoo')}")
    elif command in ("list", "show"):
        from zoo.cli import catalog

        getattr(catalog, f"{command}_")(rest)
    elif command == "check":
        from zoo.cli import check

        check.run(rest)
    elif command == "evaluate":
        from zoo.cli.evaluate import evaluate

        evaluate(rest)
    elif command == "pack":
        from zoo.cli.pack import pack

        pack(rest)
    elif command == "sample":
        from zoo.cli.sample import sample

        sample(rest)
    elif command == "export":
        from zoo.cli.export import export

        export(rest)
    elif command == "card":
        from zoo.cli.card import card

        card(rest)
    elif command == "push":
        from zoo.cli.push import push

        push(rest)
    elif command in ("fit", "resume", "validate", "test", "predict"):
        from zoo.cli.arguments import prepare

        prepared = prepare(command, rest)
        from zoo.cli.cli import run

        run(prepared)
    else:
        from zoo.cli.compose import did_you_mean

        known = [
            "fit", "resume", "validate", "test", "predict", "evaluate", "pack", "sample", "export", "card", "push",
            "list", "show", "check",
        ]  # fmt: skip
        raise ZooError(f"no command {command!r}{did_you_mean(command, known)} (`zoo --help` shows all)")
