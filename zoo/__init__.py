"""A Lightning model zoo in which every training technique is a plug-in with evidence.

    import zoo

    zoo.list(pattern="cnn/*")                      # names of recipes
    zoo.load("cnn/digits").predict("seven.png")    # a trained network, from raw samples to names
    recipe = zoo.recipe("cnn/digits")              # what `zoo fit` builds
    recipe.trainer().fit(recipe.model(), recipe.data())
    zoo.create("ResNet", in_channels=3, num_classes=10)

Families are in ``zoo.mlp``, ``zoo.cnn``, ``zoo.tabular`` and so on, tasks in ``zoo.task``, losses in ``zoo.losses``;
data sets are in ``datamodules``, techniques in ``callbacks``. Importing this package alone imports nothing heavy.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    import builtins
    from pathlib import Path

    from zoo.cli.recipe import Recipe
    from zoo.module import ZooModule
    from zoo.pretrained import Pretrained
    from zoo.task import Task

__all__ = ["create", "list", "load", "recipe"]


def list(
    kind: Literal["recipes", "pretrained", "models", "data", "techniques"] = "recipes", pattern: str = "*"
) -> builtins.list[str]:
    """Names of what there is, sorted; torch is not imported.

    Args:
        kind: recipes, those that weights come with, families, data sets, or techniques.
        pattern: as of file names, such as "rnn/*".

    Raises:
        ZooError: no such kind.
    """
    from zoo.cli.library import listed

    return listed(kind, pattern)


def recipe(name: str, *fragments: str, options: dict[str, Any] | None = None) -> Recipe:
    """The model, the data and the trainer of a recipe, as ``zoo fit -c NAME -c FRAGMENT --OPTION VALUE`` builds them.

    Args:
        name: such as "cnn/digits", or the path of a YAML file.
        fragments: such as "techniques/optimizers/sam".
        options: such as {"trainer.max_epochs": 3, "model.width": 16}.

    Raises:
        ZooError: no such recipe or fragment.
    """
    from zoo.cli.recipe import Recipe

    return Recipe(name, fragments, options)


def create(family: str, *, task: str | Task | None = None, **arguments: Any) -> ZooModule:
    """An untrained network by the name of its class.

    Args:
        family: such as "ResNet", "tabular.TabM" or "zoo.rnn.RNN".
        task: a task or the name of one; the one that the family is for, else Classification.
        arguments: of the network, of the task where it is given by name, or of both.

    Raises:
        ZooError: no such family, task or argument.
    """
    from zoo.cli.library import created

    return created(family, task, arguments)


def load(source: str | Path, pretrained: bool = True) -> Pretrained:
    """A trained network that takes raw samples: ``predict``, ``generate`` or ``sample``.

    Args:
        source: a name of ``zoo.list("pretrained")``, the folder of a run, a checkpoint within one, a .safetensors
            file, "hub:USER/NAME[@REVISION]", or "wandb:ENTITY/PROJECT/ARTIFACT:VERSION".
        pretrained: False gives a packed network with fresh weights, to be trained.

    Raises:
        ZooError: no such weights; they are cut short, altered, or would run code.
    """
    from zoo.pretrained import load

    return load(source, pretrained)
