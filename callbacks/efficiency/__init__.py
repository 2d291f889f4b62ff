"""Techniques that change what a step costs and not what it computes."""
