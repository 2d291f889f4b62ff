import ast
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

import datamodules


def test_names_lead_to_their_classes() -> None:
    from datamodules import Diabetes
    from datamodules.diabetes import Diabetes as home

    assert Diabetes is home
    assert {"CIFAR10", "Digits", "FashionMNIST", "ImageFolder", "MNIST", "Wine"} <= set(dir(datamodules))
    with pytest.raises(ImportError, match="cannot import name 'FashionMnist'"):
        from datamodules import FashionMnist  # noqa: F401
    assert not hasattr(datamodules, "_QUANTITIES")


def test_each_name_has_one_home() -> None:
    files = Path(datamodules.__file__).parent.glob("*.py")
    names = [s.name for f in files for s in ast.parse(f.read_text()).body if isinstance(s, ast.ClassDef)]
    assert [name for name, count in Counter(names).items() if count > 1] == []


def test_importing_the_package_imports_no_library() -> None:
    code = "import sys, datamodules; dir(datamodules); print({'torch', 'numpy', 'sklearn'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
