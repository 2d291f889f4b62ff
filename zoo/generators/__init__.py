"""Pairs of generator and discriminator, one family a file."""
