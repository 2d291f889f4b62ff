from collections.abc import Callable

from sklearn.datasets import load_diabetes

from datamodules.diabetes import Diabetes


def test_rows(assert_table: Callable[..., None]) -> None:
    assert_table(Diabetes, (283, 71, 88))


def test_facts_and_units() -> None:
    data = Diabetes()
    assert (data.in_features, data.num_targets) == (10, 1)
    assert list(data.features) == load_diabetes().feature_names
    data.setup("fit")
    y = data.train_targets
    assert y is not None
    assert y.min() >= 25
    assert y.max() <= 346
    assert y.max() > 300
