"""One task a file; ``zoo.task`` gathers them."""
