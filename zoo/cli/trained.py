"""A trained network for a command, by whatever it is called."""

from pathlib import Path

from zoo.errors import DataError
from zoo.from_run import model_from_run
from zoo.notice import notice
from zoo.pretrained import Pretrained, load


def network(source: str) -> Pretrained:
    """A trained network by name, run or file; of a run without its data at hand, without preprocessing."""
    try:
        return load(source)
    except DataError as error:
        if not Path(source).is_dir():
            raise
        notice(f"the file will not say how inputs are prepared, for the data of the run are not at hand ({error})")
        return Pretrained(model_from_run(Path(source)), None, source, {})
