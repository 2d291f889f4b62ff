"""A recipe from Python: the model, the data and the trainer that ``zoo fit`` would build, by the same command line."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from zoo.cli.arguments import Prepared, prepare
from zoo.cli.compose import Config
from zoo.errors import UsageError, ZooError

if TYPE_CHECKING:
    from lightning.pytorch import LightningDataModule, Trainer

    from zoo.cli.cli import ZooCLI
    from zoo.module import ZooModule


class Recipe:
    """One run of a recipe: model, data and trainer that belong together, built when they are first asked for.

    Building seeds the random generators, as ``zoo fit`` does, so that
    ``recipe.trainer().fit(recipe.model(), recipe.data())`` is that run. Each call gives the same objects; a new recipe
    gives new ones.

    Args:
        name: of a recipe, or the path of a YAML file.
        fragments: laid on top, in order, such as "techniques/optimizers/sam".
        options: of the command line, such as {"trainer.max_epochs": 3, "optimizer": "Momentum"}.

    Raises:
        ZooError: no such recipe or fragment; when it is built, no such option.
    """

    def __init__(self, name: str, fragments: tuple[str, ...] = (), options: dict[str, Any] | None = None) -> None:
        self.name = name
        argv = [word for source in (name, *fragments) for word in ("-c", source)]
        # YAML, as the command line reads it: null, lists and mappings included.
        argv += [f"--{key}={_flow(value)}" for key, value in (options or {}).items()]
        self._prepared: Prepared = prepare("fit", argv)
        self._built: ZooCLI | None = None
        self._trainer: Trainer | None = None

    def __repr__(self) -> str:
        return f"Recipe({self.name!r})"

    @property
    def config(self) -> Config:
        """The merged recipe and fragments as plain data, without the options."""
        return self._prepared.config

    def model(self) -> "ZooModule":
        """The network, linked to the data, with the weights that the seed gives."""
        model: ZooModule = self._cli().model
        return model

    def data(self) -> "LightningDataModule":
        """The data; they are read when the trainer, or you, call ``prepare_data`` and ``setup``."""
        data: LightningDataModule = self._cli().datamodule
        return data

    def trainer(self) -> "Trainer":
        """The trainer, with the recipe's techniques and what every run gets; makes a run folder.

        The folder is ``runs/NAME/<stamp>`` of the current folder, or of ``ZOO_RUNS``; ``trainer.default_root_dir``.
        """
        from zoo.cli.cli import ZooCLI
        from zoo.cli.run_folder import VARIABLE, new_run_folder

        if self._trainer is None:
            cli = self._cli()
            if "LOCAL_RANK" not in os.environ:  # processes of one run share a folder, two recipes do not
                os.environ.pop(VARIABLE, None)
            cli.folder = new_run_folder(self._prepared.recipe or Path(self.name).stem)
            self._trainer = ZooCLI.instantiate_trainer(cli)
        return self._trainer

    def _cli(self) -> "ZooCLI":
        if self._built is None:
            self._built = _build(self._prepared)
        return self._built


def _flow(value: Any) -> str:
    return yaml.safe_dump(value, default_flow_style=True, width=1_000_000).removesuffix("\n").removesuffix("\n...")


def _build(prepared: Prepared) -> "ZooCLI":
    from zoo.cli.cli import ZooCLI, run
    from zoo.cli.links import wanted_facts

    class Built(ZooCLI):
        """The classes of a configuration, and no run: its folder and its trainer come when they are asked for."""

        def before_instantiate_classes(self) -> None:
            self.wanted |= wanted_facts(self.config[self.subcommand])

        def instantiate_trainer(self, **kwargs: Any) -> Any:
            return None

        def _run_subcommand(self, subcommand: str) -> None:
            self.before_fit()  # a recipe may go on from trained weights

    try:
        return run(prepared, Built)
    except UsageError as error:
        raise ZooError(error.message) from None
