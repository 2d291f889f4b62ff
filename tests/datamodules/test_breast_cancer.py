from collections.abc import Callable

from sklearn.datasets import load_breast_cancer

from datamodules.breast_cancer import BreastCancer


def test_rows(assert_table: Callable[..., None]) -> None:
    assert_table(BreastCancer, (365, 91, 113))


def test_facts() -> None:
    data = BreastCancer()
    assert (data.in_features, data.num_classes) == (30, 2)
    table = load_breast_cancer()
    assert list(data.features) == list(table.feature_names)
    assert list(data.classes) == list(table.target_names)


def test_classes_are_shared_out_evenly() -> None:
    data = BreastCancer()
    data.setup("fit")
    share = [data.splits[name].y.bincount() / len(data.splits[name]) for name in ("train", "val", "test")]  # type: ignore[attr-defined, arg-type]
    assert max((a - b).abs().max() for a in share for b in share) < 0.03
