"""Init schemes, one a file; how they treat each type of layer is in ``rules``."""
