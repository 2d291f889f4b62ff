"""Adversarial examples as pure functions of a classifier in pixel units, images and labels; one attack a file."""
