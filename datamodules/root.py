"""Where data files lie: one rule for all data sets that read or download any."""

import os
from pathlib import Path


def data_root(root: str | None = None) -> Path:
    """The folder of all data sets, which need not exist yet.

    Args:
        root: the folder, ``~`` allowed. None: the environment variable ZOO_DATA, else ``zoo`` in the user's cache
            folder (XDG_CACHE_HOME, or ``~/.cache``). An empty variable counts as not set.
    """
    chosen = root or os.environ.get("ZOO_DATA")
    if chosen:
        return Path(chosen).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "zoo"
