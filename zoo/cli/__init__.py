"""The ``zoo`` command. Thin, and quick to answer: nothing here imports torch before a run needs it."""
