"""What an LLM call costs: a book of prices with validity dates, tiers and cache prices."""

from __future__ import annotations

from .bill import Cost, TokenUsage, plain
from .book import PriceBook
from .entries import Price, PriceTier

__all__ = ["Cost", "Price", "PriceBook", "PriceTier", "TokenUsage", "plain"]
