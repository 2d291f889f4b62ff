"""Lightning's command line, with the zoo's sections, links, run folder and defaults."""

import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import yaml
from lightning.pytorch import Callback, LightningDataModule, LightningModule, Trainer
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI
from lightning.pytorch.utilities import rank_zero_only
from torch import Tensor

from callbacks.init.scheme import InitScheme
from callbacks.optimizers.selection import OptimizerSelection
from callbacks.reporting.texts import HasVocabulary
from callbacks.reporting.translations import Translates
from callbacks.schedules.schedule import Schedule
from zoo.cli import run_folder, summary
from zoo.cli.arguments import SECTIONS, Prepared
from zoo.cli.links import add_links, linked_values, wanted_facts
from zoo.cli.parser import ZooParser, complaints_of
from zoo.cli.plumbing import default_callbacks, import_all_pieces, quieten, trainer_defaults
from zoo.cli.starting import starting_weights
from zoo.errors import ZooError
from zoo.from_run import restrict_imports
from zoo.init_from import init_from
from zoo.module import SupervisedModule, ZooModule
from zoo.notice import notice
from zoo.redact import redact


def run(prepared: Prepared, command: "type[ZooCLI] | None" = None) -> "ZooCLI":
    """Build everything that the configuration names and run the command, or ``command`` in its place; returns it."""
    quieten()
    restrict_imports(*prepared.trusted)
    import_all_pieces(prepared.trusted)
    start = time.perf_counter()
    try:
        return (command or ZooCLI)(prepared)
    except BaseException:
        run_folder.forget_if_empty()
        raise
    finally:
        if prepared.command == "fit" and rank_zero_only.rank == 0:  # type: ignore[attr-defined]
            run_folder.add_seconds(time.perf_counter() - start)


class DescribesRun(Callback):
    """Calls back when the data have passed their checks and before loggers look for the configuration.

    Args:
        describe: writes the run's configuration; called in the first process alone.
    """

    def __init__(self, describe: Callable[[], None]) -> None:
        self.describe = describe

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        if stage == "fit" and trainer.is_global_zero:
            self.describe()


class ZooCLI(LightningCLI):
    """One configuration, one run.

    Args:
        prepared: what ``zoo.cli.arguments.prepare`` made of the command line.
    """

    def __init__(self, prepared: Prepared) -> None:
        self.prepared = prepared
        self.wanted: set[str] = set()
        super().__init__(
            model_class=LightningModule,
            datamodule_class=LightningDataModule,
            subclass_mode_model=True,
            subclass_mode_data=True,
            save_config_callback=None,
            seed_everything_default=0,
            parser_class=ZooParser,
            trainer_defaults=trainer_defaults(),
            auto_configure_optimizers=False,
            load_from_checkpoint_support=False,
            args=prepared.argv,
        )

    def subcommands(self) -> dict[str, set[str]]:  # type: ignore[override]
        """The command that was asked for alone: each parser takes a quarter of a second to build."""
        command = self.prepared.command
        return {command: LightningCLI.subcommands()[command]}

    def parse_arguments(self, parser: LightningArgumentParser, args: Any) -> None:
        self.config = parser.parse_args(args)

    def _parse_ckpt_path(self) -> None:
        """A checkpoint holds no arguments here, and must not override those that were given."""

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        for key, base in (("optimizer", OptimizerSelection), ("schedule", Schedule), ("init", InitScheme)):
            parser.add_argument(
                f"--{key}",
                type=base | list[base] | None,  # type: ignore[valid-type]
                default=None,
                help=f"a {base.__name__}, or a list of them: one for each network",
            )
        add_links(parser, self.wanted)

    def before_instantiate_classes(self) -> None:
        self.wanted |= wanted_facts(self.config[self.subcommand])
        if self.subcommand == "fit":
            if self.prepared.run is not None and self.config.fit.ckpt_path is not None:
                run_folder.use_run_folder(self.prepared.run)
            self.folder = run_folder.new_run_folder(self.prepared.recipe or self._name_from_classes())
        else:
            self.folder = self.prepared.run or Path.cwd()
            run_folder.use_run_folder(self.folder)

    def _name_from_classes(self) -> str:
        section = self.config.fit
        model, data = (str(section[key].class_path).rsplit(".", 1)[-1].lower() for key in ("model", "data"))
        return f"{model}/{data}"

    def instantiate_trainer(self, **kwargs: Any) -> Trainer:
        section = self.config_init[self.subcommand]
        techniques: list[Any] = []
        for key in ("init", "optimizer", "schedule"):
            chosen = section.get(key)
            techniques += chosen if isinstance(chosen, list) else [chosen] if chosen is not None else []
        given = section["trainer"].get("callbacks") or []
        callbacks = [*techniques, *(given if isinstance(given, list) else [given])]
        settings = {**section["trainer"], **kwargs, "callbacks": callbacks}
        settings = default_callbacks(settings, self.model, self.folder, str(self.subcommand))
        settings["callbacks"].append(DescribesRun(self.describe_run))
        with complaints_of("Trainer", TypeError):
            return Trainer(**settings)

    def before_fit(self) -> None:
        source = self.prepared.init_from
        if source is not None:
            if not isinstance(self.model, ZooModule):
                raise ZooError(f"--init_from fills models of the zoo, not {type(self.model).__name__}")
            afresh = init_from(self.model, starting_weights(source), source)
            notice(f"starting from the weights of {source}" + (f"; afresh: {', '.join(afresh)}" if afresh else ""))

    def describe_run(self) -> None:
        """Write what the run is before it starts, so that a run that dies is still known."""
        config = self.resolved_config()
        file = self.folder / "config.yaml"
        if not file.exists():
            file.write_text(yaml.safe_dump(config, sort_keys=False))
            run_folder.write_environment(self.folder, int(config["seed_everything"]), redact(sys.argv[1:]))
        run_folder.link_latest(self.folder)

    def resolved_config(self) -> dict[str, Any]:
        """The complete configuration as plain data: defaults, linked values and the recipe's name included."""
        section = yaml.safe_load(
            self._parser(self.subcommand).dump(self.config[self.subcommand], skip_unset=False, format="yaml")
        )
        start = {"init_from": self.prepared.init_from} if self.prepared.init_from else {}
        config = {"recipe": self.prepared.recipe, **start, **{key: section[key] for key in SECTIONS if key in section}}
        for keys, value in linked_values(self.config[self.subcommand], self.datamodule).items():
            place = config
            for key in keys[:-1]:
                place = place.setdefault(key, {})
            place[keys[-1]] = value
        return redact(config)

    def after_fit(self) -> None:
        if self.trainer.is_global_zero and not self.trainer.interrupted:
            summary.after_fit(self.trainer, self.folder)

    def after_test(self) -> None:
        if self.trainer.is_global_zero:
            summary.after_test(self.trainer, self.folder, "test")

    def after_validate(self) -> None:
        if self.trainer.is_global_zero:
            summary.after_test(self.trainer, self.folder, "validate")

    def predict(self, **kwargs: Any) -> None:
        """Predict the test split and write the predictions."""
        batches = self.trainer.predict(**kwargs)
        if self.trainer.is_global_zero and isinstance(batches, list):
            if isinstance(self.model, Translates) and isinstance(self.datamodule, HasVocabulary):
                decode, file = self.datamodule.vocabulary.decode, self.prepared.out or self.folder / "predictions.txt"
                summary.write_texts([decode(row) for batch in batches for row in cast(Tensor, batch)], file)
                return
            columns = self.model.task.columns if isinstance(self.model, SupervisedModule) else None
            file = self.prepared.out or self.folder / "predictions.csv"
            summary.write_predictions(cast(list[Tensor], batches), file, columns)

    def _prepare_subcommand_kwargs(self, subcommand: str) -> dict[str, Any]:
        kwargs = super()._prepare_subcommand_kwargs(subcommand)
        kwargs["weights_only"] = True
        if subcommand in ("validate", "test"):
            kwargs["verbose"] = False
        return kwargs
