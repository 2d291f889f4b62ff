"""What samples are compared by: principal components, nearest neighbours, the inputs of a classifier's head."""

import pytest
import torch
from sklearn.decomposition import PCA

from datamodules.digits import Digits
from datamodules.ring import Ring
from tests.callbacks.technique_checks import make_mlp
from zoo.errors import ZooError
from zoo.judging.classifier import train_classifier
from zoo.judging.comparison import compare
from zoo.judging.data import data_name, num_classes, real_samples
from zoo.judging.features import ClassifierFeatures, PlainFeatures


def digits() -> Digits:
    data = Digits(normalize="symmetric")
    data.setup("fit")
    return data


def test_points_are_their_own_features() -> None:
    data = Ring(size=800)
    data.setup("fit")
    train, val = (real_samples(data, split, 150) for split in ("train", "val"))
    assert (len(train.x), len(val.x), num_classes(data), data_name(data)) == (150, 150, 8, "ring")
    features = PlainFeatures("points", train.x, train.y)
    seen = features(val.x)
    assert features.name == "points"
    assert torch.equal(seen.features, val.x.double())
    assert torch.equal(seen.classes, val.y)  # the modes lie far apart


def test_components_are_those_of_scikit_learn() -> None:
    train, val = (real_samples(digits(), split, 300).x for split in ("train", "val"))
    features = PlainFeatures("pixels", train, None, components=10)
    assert features.name == "pixels_pca10"
    seen = features(val)
    assert seen.classes is None
    expected = PCA(10, svd_solver="full").fit(train.flatten(1).double().numpy())
    theirs = torch.from_numpy(expected.transform(val.flatten(1).double().numpy()))
    torch.testing.assert_close(torch.pdist(seen.features), torch.pdist(theirs))


def test_samples_of_a_split_do_not_depend_on_how_many() -> None:
    few, many = (real_samples(digits(), "train", num) for num in (50, 10**6))
    assert len(many.x) == len(digits().splits["train"])  # type: ignore[arg-type]
    assert all((image == many.x).flatten(1).all(1).any() for image in few.x)
    assert torch.equal(few.x, real_samples(digits(), "train", 50).x)
    with pytest.raises(ZooError, match="NoneType has no splits to compare samples with"):
        real_samples(None, "val", 10)


def test_a_small_classifier() -> None:
    torch.manual_seed(5)
    state = torch.get_rng_state()
    train, val = (real_samples(digits(), split, 10**6) for split in ("train", "val"))
    with torch.inference_mode():  # as within a test
        model = train_classifier(train.x, train.y, 10, steps=150)
    assert torch.equal(state, torch.get_rng_state())
    features = ClassifierFeatures(model, torch.tensor([1.0]), torch.tensor([0.0]))
    assert features.name == "lenet"
    seen = features(val.x)
    assert seen.features.shape == (len(val.x), 84)
    assert seen.features.dtype == torch.float64
    assert (seen.classes == val.y).double().mean() > 0.95
    torch.testing.assert_close(model.head(seen.features.float()).argmax(1), seen.classes)
    torch.manual_seed(6)
    again = train_classifier(train.x, train.y, 10, steps=150)
    assert torch.equal(again.head.weight, model.head.weight)
    # The same images, told in other units.
    half = ClassifierFeatures(model, torch.tensor([2.0]), torch.tensor([-1.0]))((val.x + 1) / 2)
    torch.testing.assert_close(half.features, seen.features, rtol=1e-4, atol=1e-4)


def test_a_classifier_without_a_head() -> None:
    model = make_mlp()
    del model.head
    with pytest.raises(ZooError, match="MLP has no last layer called head"):
        ClassifierFeatures(model, torch.ones(1), torch.zeros(1))


def test_compare() -> None:
    data = Ring(size=4000)
    data.setup("fit")
    train, val = (real_samples(data, split, 500) for split in ("train", "val"))
    features = PlainFeatures("points", train.x, train.y)
    same = compare(features(val.x), features(train.x), 8)
    assert same.frechet < 0.05
    assert abs(same.kernel) < 0.2
    assert min(same.precision, same.recall, same.coverage) > 0.9
    assert same.class_kl < 0.03
    assert same.spread == pytest.approx(1, abs=0.05)
    one = compare(features(val.x), features(train.x[train.y == 3].repeat(8, 1)[:500] + 1e-3 * torch.randn(500, 2)), 8)
    assert one.precision > 0.8
    assert one.coverage < 0.2
    assert one.class_kl == pytest.approx(torch.tensor(8.0).log().item(), abs=0.1)
    assert one.spread < 0.1
