from collections.abc import Callable

from sklearn.datasets import load_wine

from datamodules.wine import Wine


def test_rows(assert_table: Callable[..., None]) -> None:
    assert_table(Wine, (114, 28, 36))


def test_facts() -> None:
    data = Wine()
    assert (data.in_features, data.num_classes) == (13, 3)
    table = load_wine()
    assert list(data.features) == list(table.feature_names)
    assert list(data.classes) == list(table.target_names)


def test_classes_are_shared_out_evenly() -> None:
    data = Wine()
    data.setup("fit")
    share = [data.splits[name].y.bincount() / len(data.splits[name]) for name in ("train", "val", "test")]  # type: ignore[attr-defined, arg-type]
    assert max((a - b).abs().max() for a in share for b in share) < 0.03
