"""Running a coroutine to its end where there is no event loop, so that `async def` hooks work on synchronous hosts."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any, TypeVar

from ..errors import Suspended

T = TypeVar("T")

NO_LOOP = "no running event loop"  # what asyncio says when one of its functions is called outside of a loop


def finish(coroutine: Coroutine[Any, Any, T], what: str) -> T:
    """Return what `coroutine` returns; `what` names it in the error (`plug-in team-header`).

    Blocking ports never suspend, so one step suffices. Raises Suspended when it waited for something else, and what
    the coroutine raises.
    """
    try:
        coroutine.send(None)
    except StopIteration as end:
        return end.value  # type: ignore[no-any-return]
    except RuntimeError as error:
        if str(error) != NO_LOOP:
            raise
        raise _suspended(what) from error
    try:
        coroutine.close()
    except RuntimeError as error:  # it goes on waiting although it was told to end
        raise _suspended(what) from error
    raise _suspended(what)


def _suspended(what: str) -> Suspended:
    return Suspended(
        f"{what} waited for something that a synchronous host cannot wait for: await only what exchange.ports offers, "
        "or declare asyncio_only = True and serve it with an asynchronous host"
    )
