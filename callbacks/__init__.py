"""Techniques by kind, one a file, and the services of a run: checkpoints, progress, figures, loggers."""
