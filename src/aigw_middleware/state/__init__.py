"""State that outlives an exchange: limits, reservations, nonces, caches, histories.

`Store` is the one face; which backend stands behind it is chosen by the URL in the configuration's `stores`.
"""

from __future__ import annotations

from .immediate import ImmediateStore
from .memory import MemoryStore
from .store import Claim, Limit, Reserved, Store, StoreError, StoreFull, Taken, Window

__all__ = [
    "Claim",
    "ImmediateStore",
    "Limit",
    "MemoryStore",
    "Reserved",
    "Store",
    "StoreError",
    "StoreFull",
    "Taken",
    "Window",
]
