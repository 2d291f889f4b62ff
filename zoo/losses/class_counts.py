"""How many training samples each class has: what the losses for long tails need to know."""

import torch
from torch import Tensor, nn

from zoo.errors import DataError, ZooError


class ClassCounts(nn.Module):
    """Counts given by hand, or learnt from the training targets and kept in the checkpoint.

    Args:
        owner: name of the loss, for errors.
        given: training samples of each class; None to learn them.
    """

    values: Tensor

    def __init__(self, owner: str, given: list[int] | None) -> None:
        super().__init__()
        self.owner, self.given = owner, given is not None
        if given is not None and (not given or min(given) < 1):
            raise ZooError(f"{owner}: class_counts must be positive, got {given}")
        self.register_buffer("values", torch.tensor(given or [], dtype=torch.float32))
        self._known = self.given

    def set_num_classes(self, num_classes: int) -> None:
        if self.given and len(self.values) != num_classes:
            raise ZooError(f"{self.owner}: class_counts has {len(self.values)} entries for {num_classes} classes")
        if not self.given:
            self.values = torch.zeros(num_classes)

    def fit(self, y: Tensor) -> None:
        """Count int64 labels (N,), or add up soft targets (N, C); counts given by hand stay.

        Raises:
            DataError: a class has no sample.
        """
        if self.given:
            return
        classes = len(self.values)
        counts = y.sum(0) if y.is_floating_point() else torch.bincount(y, minlength=classes)
        if (counts == 0).any():
            empty = counts.eq(0).nonzero().flatten().tolist()
            raise DataError(f"{self.owner}: the training split has no sample of class {empty}")
        self.values.copy_(counts)
        self._known = True

    def forward(self) -> Tensor:
        """Counts (C,).

        Raises:
            ZooError: nobody has said what they are.
        """
        if not self._known:  # asked once: after a restored checkpoint they are in the buffer
            self._known = bool(self.values.any())
            if not self._known:
                raise ZooError(
                    f"{self.owner} does not know how many samples each class has; give it class_counts, or call"
                    " fit_targets of the task with the training labels"
                )
        return self.values
