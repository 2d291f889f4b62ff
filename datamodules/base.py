"""What every data set of the zoo shares: order, resuming, checks, and the facts that models are linked to."""

from abc import abstractmethod
from typing import Any, Literal

from lightning.pytorch import LightningDataModule
from lightning.pytorch.trainer.states import TrainerFn
from torch import Tensor
from torch.utils.data import Dataset

from datamodules.checks import check_inputs
from datamodules.order import BatchLoader, BatchOrder
from zoo.errors import DataError, ResumeError
from zoo.preprocessing import Preprocessing
from zoo.randomness import run_seed


class TensorSplit(Dataset[tuple[Tensor, ...]]):
    """A split held in memory and indexed by whole batches: ``split[indices] -> (x, y, indices)``.

    Args:
        x: inputs, (N, ...); images stay uint8 until they are on the device.
        y: targets, (N, ...).
    """

    def __init__(self, x: Tensor, y: Tensor) -> None:
        self.x, self.y = x, y

    def __len__(self) -> int:
        return len(self.x)

    def __getitem__(self, indices: Tensor) -> tuple[Tensor, ...]:
        return self.x[indices], self.y[indices], indices


class ZooDataModule(LightningDataModule):
    """Base of all data sets: a subclass fills ``self.splits`` in ``load`` and states the facts that models link to.

    Args:
        batch_size: training samples in a step of one process, or "full" for the whole training split at once.
        eval_batch_size: samples in a batch of validation, test and prediction.
        drop_last: leave out the last training batch when it is not full; evaluation never drops anything.
        num_workers: processes that read samples; 0 is fastest for data in memory.
    """

    def __init__(
        self,
        batch_size: int | Literal["full"] = 128,
        eval_batch_size: int = 512,
        drop_last: bool = False,
        num_workers: int = 0,
    ) -> None:
        super().__init__()
        if batch_size != "full" and batch_size < 1:
            raise DataError(f"batch_size must be at least 1 or 'full', got {batch_size}")
        if eval_batch_size < 1:
            raise DataError(f"eval_batch_size must be at least 1, got {eval_batch_size}")
        self.batch_size, self.eval_batch_size = batch_size, eval_batch_size
        self.drop_last, self.num_workers = drop_last, num_workers
        self.splits: dict[str, Dataset[Any]] = {}

    # Facts ----------------------------------------------------------------------------------------------------------

    @property
    def num_classes(self) -> int:
        """Classes to tell apart."""
        raise self._lacks("num_classes", "its targets are not classes; use the task Regression")

    @property
    def num_targets(self) -> int:
        """Values to predict for each sample."""
        raise self._lacks("num_targets", "its targets are classes; use the task Classification")

    @property
    def in_features(self) -> int:
        """Numbers in one flattened sample."""
        raise self._lacks("in_features", "its samples have no fixed size")

    @property
    def in_channels(self) -> int:
        """Channels of one image."""
        raise self._lacks("in_channels", "its samples are not images; use a model for vectors such as MLP")

    @property
    def image_size(self) -> int:
        """Height and width of one image, in pixels."""
        raise self._lacks("image_size", "its samples are not images; use a model for vectors such as MLP")

    @property
    def num_channels(self) -> int:
        """Numbers in one step of a sequence."""
        raise self._lacks("num_channels", "its samples are not sequences of numbers")

    @property
    def vocabulary_size(self) -> int:
        """Different tokens that a sequence may hold."""
        raise self._lacks("vocabulary_size", "its samples are not sequences of tokens")

    @property
    def source_vocabulary_size(self) -> int | None:
        """Different tokens that a text to translate may hold; None where they are those of its translation."""
        raise self._lacks("source_vocabulary_size", "it has nothing to translate")

    @property
    def document_end(self) -> int | None:
        """The token that ends a document, where documents lie in one window and are read apart; None where not."""
        return None

    @property
    def window(self) -> int:
        """Steps of one input, where all inputs have as many."""
        raise self._lacks("window", "its samples are not windows of a fixed length")

    @property
    def horizon(self) -> int:
        """Steps to forecast behind a window."""
        raise self._lacks("horizon", "it has nothing to forecast")

    @property
    def sample_shape(self) -> list[int]:
        """Shape of one sample as networks see it: [channels, height, width] of images, [in_features] of vectors."""
        return [self.in_features]

    @property
    def sample_range(self) -> tuple[float, float] | None:
        """The least and the greatest number that a sample can hold; None where there is no bound."""
        return None

    @property
    def cardinalities(self) -> list[int]:
        """How many codes each categorical column has; such columns come last, and are none unless a table says so."""
        return []

    def _lacks(self, fact: str, why: str) -> DataError:
        return DataError(f"the model asks for {fact}, which {type(self).__name__} does not have: {why}")

    # Splits ---------------------------------------------------------------------------------------------------------

    @abstractmethod
    def load(self) -> dict[str, Dataset[Any]]:
        """Read the splits "train", "val" and "test"; called once, after ``prepare_data``."""

    def setup(self, stage: str) -> None:
        if not self.splits:
            self.splits = self.load()
            for name, split in self.splits.items():
                self.check(split, f"{type(self).__name__} {name}")
                if len(split) < self._place()[1]:  # type: ignore[arg-type]
                    raise DataError(
                        f"{type(self).__name__} {name}: {len(split)} samples for {self._place()[1]} processes, each of"  # type: ignore[arg-type]
                        " which needs one; use fewer devices"
                    )
        if stage == "fit" and self.drop_last and len(self.train_order()) == 0:
            raise DataError(
                f"{type(self).__name__} train: {len(self.splits['train'])} samples make no full batch of"  # type: ignore[arg-type]
                f" {self.batch_size}; lower --data.batch_size or leave out --data.drop_last"
            )

    def check(self, split: Dataset[Any], where: str) -> None:
        """Raise DataError when a split is empty or holds something that no network can take."""
        if len(split) == 0:  # type: ignore[arg-type]
            raise DataError(f"{where}: the split is empty")
        if isinstance(split, TensorSplit):
            check_inputs(split.x, split.y, where)

    @property
    def train_targets(self) -> Tensor | None:
        """Targets of the training split, from which a task learns scales and class weights."""
        split = self.splits["train"]
        return split.y if isinstance(split, TensorSplit) else None

    @property
    def train_inputs(self) -> Tensor | None:
        """Inputs of the training split where they are floats in memory, from which a model may learn its bins."""
        split = self.splits["train"]
        return split.x if isinstance(split, TensorSplit) and split.x.is_floating_point() else None

    @property
    def last_batch_size(self) -> int:
        """Samples in the last training batch of an epoch."""
        return self.train_order().last_batch_size

    def preprocessing(self) -> Preprocessing | None:
        """From raw samples to what the network takes, with what the training split has taught; after ``setup``.

        None where samples are made up and there is nothing to bring.
        """
        return None

    # Loaders --------------------------------------------------------------------------------------------------------

    def train_order(self) -> BatchOrder:
        """The order of the training split for this process."""
        size = len(self.splits["train"])  # type: ignore[arg-type]
        rank, world_size = self._place()
        batch_size = -(-size // world_size) if self.batch_size == "full" else self.batch_size
        return BatchOrder(size, batch_size, True, self.drop_last, rank, world_size)

    def train_dataloader(self) -> BatchLoader:
        order = self.train_order()
        if self.trainer is not None:
            # Lightning's own count, which a checkpoint restores after the loaders were built: 0 unless an epoch is
            # taken up in its middle.
            progress = self.trainer.fit_loop.epoch_loop.batch_progress
            order.batches_done = lambda: progress.current.completed
        return self._loader("train", order)

    def state_dict(self) -> dict[str, int]:
        """What the position within an epoch depends on."""
        order = self.train_order()
        done = self.trainer.fit_loop.epoch_loop.batch_progress.current.processed if self.trainer is not None else 0  # type: ignore[attr-defined]
        return {**order.facts(), "batches": len(order), "batches_done": done}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Raise ResumeError when the saved epoch is half done and its other half cannot be found again."""
        measuring = self.trainer is not None and self.trainer.state.fn != TrainerFn.FITTING
        if measuring or state["batches_done"] % state["batches"] == 0:
            return
        for name, value in self.train_order().facts().items():
            if state[name] != value:
                raise ResumeError(
                    f"the checkpoint is from the middle of an epoch with {name}={state[name]}, this run has {value};"
                    f" resume with {name}={state[name]} or from a checkpoint of an epoch's end"
                )

    def val_dataloader(self) -> BatchLoader:
        return self._eval_loader("val")

    def test_dataloader(self) -> BatchLoader:
        return self._eval_loader("test")

    def predict_dataloader(self) -> BatchLoader:
        return self._eval_loader("test")

    def _eval_loader(self, name: str) -> BatchLoader:
        size = len(self.splits[name])  # type: ignore[arg-type]
        rank, world_size = self._place()
        return self._loader(name, BatchOrder(size, self.eval_batch_size, False, False, rank, world_size))

    def _loader(self, name: str, order: BatchOrder) -> BatchLoader:
        return BatchLoader(self.splits[name], order, self.num_workers, pin_memory=self._on_cuda())

    def _place(self) -> tuple[int, int]:
        """Which of the processes that read different data this is, and how many there are."""
        if self.trainer is None or self.trainer.world_size == 1:
            return 0, 1
        # Where processes share a matrix they share its batch, and the strategy knows.
        place = self.trainer.strategy.distributed_sampler_kwargs  # type: ignore[attr-defined]
        return place["rank"], place["num_replicas"]

    def _on_cuda(self) -> bool:
        return self.trainer is not None and self.trainer.strategy.root_device.type == "cuda"

    # On the device --------------------------------------------------------------------------------------------------

    def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        if isinstance(batch, Tensor):
            return batch  # a model's example input, which Lightning sends this way for its summary and its graph
        x, y, *lengths, index = batch  # lengths where a split pads its sequences
        assert self.trainer is not None
        if self.trainer.training:
            x = self.augment_batch(x, index, run_seed(), self.trainer.current_epoch)
        return (self.transform_batch(x), y, *lengths)

    def augment_batch(self, x: Tensor, index: Tensor, seed: int, epoch: int) -> Tensor:
        """Augment training inputs on the device; every draw is a function of (seed, epoch, index)."""
        return x

    def transform_batch(self, x: Tensor) -> Tensor:
        """Bring inputs of every split into the form that networks take, such as normalised floats."""
        return x
