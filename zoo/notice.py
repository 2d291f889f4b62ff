"""Tell a person something in one line, once however many processes there are. A leaf module."""

from lightning.pytorch.utilities import rank_zero_only


@rank_zero_only
def notice(message: str) -> None:
    """Print ``message`` from the first process alone."""
    print(f"zoo: {message}", flush=True)
