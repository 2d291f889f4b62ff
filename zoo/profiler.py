"""A profiler that measures nothing and costs nothing."""

from contextlib import AbstractContextManager, nullcontext

from lightning.pytorch.profilers import Profiler

_NOTHING: AbstractContextManager[str] = nullcontext("")


class NullProfiler(Profiler):
    """Replaces Lightning's default, which builds about 34 generator contexts a step only to time nothing."""

    def start(self, action_name: str) -> None:
        """Begin nothing."""

    def stop(self, action_name: str) -> None:
        """End nothing."""

    def profile(self, action_name: str) -> AbstractContextManager[str]:  # type: ignore[override]
        return _NOTHING
