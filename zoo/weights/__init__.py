"""Trained weights that come with the package: one safetensors file each, and an index that says what they reach."""
