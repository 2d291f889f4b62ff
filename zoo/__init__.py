"""A Lightning model zoo in which every training technique is a plug-in with evidence.

Families are in ``zoo.mlp``, ``zoo.cnn`` and ``zoo.tabular``, tasks in ``zoo.task``, losses in ``zoo.losses``; data sets
are in ``datamodules``, techniques in ``callbacks``. Importing this package alone imports nothing heavy.
"""
