"""Limit how often one key may call: the value of a header, a parameter or a cookie, or the consumer.

    plugins:
      - name: key-rate-limit
        config:
          limit_by_header: x-api-key
          limit_keys:
            - {key: 9a342114-ba8a-11ec-b1bf-00163e1250b5, query_per_second: 10, query_per_day: 50000}
            - {key: "regexp:^trial-", query_per_minute: 6}
            - {key: "*", query_per_minute: 60}

An exact key comes first, then `prefix*` and `regexp:` in the order written, then `*`; these give each value a bucket of
its own. A bucket holds one period's requests and refills continuously, so a full one is used up at once at most once.
Several units of a key hold together: a request that one of them refuses is charged to none. What is not listed, and
requests without the key, pass. Of a header or parameter that is repeated the first counts.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Sequence
from typing import Any, Literal

from pydantic import field_validator, model_validator

from ...config.models import HeaderName
from ...exchange import Exchange, Refusal, Response
from ...headers import Headers
from ...plugin import Field, Plugin, PluginConfig, Stage
from ...state import ImmediateStore, MemoryStore, Store, StoreError, Taken
from .quotas import Bucket, LimitKey, Quota, matcher


class KeyRateLimitConfig(PluginConfig):
    """What the key is, and how often each may call."""

    limit_by_header: HeaderName | None = Field(None, min_length=1, description="Header whose value is the key.")
    limit_by_param: str | None = Field(
        None, min_length=1, description="Query parameter whose decoded value is the key."
    )
    limit_by_cookie: str | None = Field(None, min_length=1, description="Cookie whose value is the key.")
    limit_by_consumer: bool = Field(
        False, description="true, or upstream's empty string: the name of the consumer is the key."
    )
    limit_keys: tuple[LimitKey, ...] = Field(min_length=1, description="Keys and their limits.")
    show_limit_quota_header: bool = Field(False, description="Tell in every answer what is left, not only in refusals.")
    rejected_code: int = Field(429, ge=400, le=599, description="Status of refusals.")
    rejected_msg: str | None = Field(
        None, description="Body of refusals, sent as it is; unset: the caller's error format."
    )
    on_store_failure: Literal["deny", "allow", "local"] = Field(
        "allow",
        description="The store cannot answer: `deny` (503), `allow`, as the compatible gateways do, or `local`: count "
        "in this process alone, so that each process allows the whole limit.",
    )

    @field_validator("limit_by_consumer", mode="before")
    @classmethod
    def _empty_is_on(cls, value: object) -> object:
        return True if value == "" else value

    @model_validator(mode="after")
    def _unambiguous(self) -> KeyRateLimitConfig:
        names = ("limit_by_header", "limit_by_param", "limit_by_cookie", "limit_by_consumer")
        if sum(bool(getattr(self, name)) for name in names) != 1:
            raise ValueError(f"should have exactly one of {', '.join(names)}")
        if len({limit.key for limit in self.limit_keys}) != len(self.limit_keys):
            raise ValueError("`limit_keys` should have each key once")
        return self


class KeyRateLimit(Plugin[KeyRateLimitConfig]):
    """Refuse requests of a key that has used up its limit."""

    name, stage, priority = "key-rate-limit", Stage.DEFAULT, 10
    on_failure = "deny"

    def compile(self) -> None:
        config = self.config
        self._read, source = _reader(config)
        hashed = self.context.keyring.hasher("key-rate-limit")
        entry = self.context.entry
        self._identity: Callable[[str], str] = lambda value: f"{entry}:{hashed(source + value)}"
        self._shows = config.show_limit_quota_header
        self._exact: dict[str, Bucket] = {}
        patterns: list[tuple[bool, Callable[[str], object], Quota]] = []
        for limit_key in config.limit_keys:
            quota = Quota(limit_key.limits())
            matches = matcher(limit_key.key)
            if matches is None:
                self._exact[limit_key.key] = quota.bucket(self._identity(limit_key.key))
            else:
                patterns.append((limit_key.key == "*", matches, quota))
        self._patterns = tuple((matches, quota) for _, matches, quota in sorted(patterns, key=lambda item: item[0]))
        body, content_type = (b"rate_limited", "text/plain")
        if config.rejected_msg is not None:
            body, content_type = config.rejected_msg.encode(), "text/plain; charset=utf-8"
        self._limited = Refusal(
            config.rejected_code,
            "rate_limited",
            "Too many requests",
            upstream=(content_type, body),
            exact=config.rejected_msg is not None,
        )
        self._unchecked = Refusal(503, "rate_limit_unavailable", "The rate limit cannot be checked. Try again later.")

    def on_request(self, exchange: Exchange) -> Refusal | Coroutine[Any, Any, Refusal | None] | None:
        value = self._read(exchange)
        if not value:
            return None
        bucket = self._exact.get(value) or self._bucket(value)
        if bucket is None:
            return None
        store = exchange.ports.store
        if not isinstance(store, ImmediateStore):
            return self._wait(exchange, store, bucket)
        try:
            if bucket.single is not None:  # nearly always
                taken = store.take_now(*bucket.single)
                if taken.allowed and not self._shows:
                    return None
                answers: Sequence[Taken] = (taken,)
            else:
                answers = store.take_all_now(bucket.requests)
        except StoreError:
            return self._without_store(exchange, bucket)
        return self._judge(exchange, bucket, answers)

    def on_response(self, exchange: Exchange) -> None:
        if self._shows:
            assert exchange.response is not None
            self._tell(exchange, exchange.response.headers)

    def on_refusal(self, exchange: Exchange, response: Response) -> None:
        self._tell(exchange, response.headers)

    # ------------------------------------------------------------------ the decision

    async def _wait(self, exchange: Exchange, store: Store, bucket: Bucket) -> Refusal | None:
        try:
            answers = await store.take_all(bucket.requests)
        except StoreError:
            return self._without_store(exchange, bucket)
        return self._judge(exchange, bucket, answers)

    def _judge(self, exchange: Exchange, bucket: Bucket, answers: Sequence[Taken]) -> Refusal | None:
        allowed = all(taken.allowed for taken in answers)
        if self._shows or not allowed:
            exchange.local[self] = (bucket.quota, answers)
        return None if allowed else self._limited

    def _without_store(self, exchange: Exchange, bucket: Bucket) -> Refusal | None:
        policy = self.config.on_store_failure
        exchange.runtime.count(self.name, "store failed")
        exchange.decide(self, "failed", f"the store does not answer; policy: {policy}")
        if policy == "local":
            clock = exchange.ports.clock
            store = exchange.runtime.state(self, "local", lambda: MemoryStore(now=clock.now))
            return self._judge(exchange, bucket, store.take_all_now(bucket.requests))
        return self._unchecked if policy == "deny" else None

    def _bucket(self, value: str) -> Bucket | None:
        for matches, quota in self._patterns:
            if matches(value):
                return quota.bucket(self._identity(value))
        return None

    def _tell(self, exchange: Exchange, headers: Headers) -> None:
        known = exchange.local.get(self)
        if known is not None:
            quota, answers = known
            headers.extend_trusted(quota.fields(answers))


def _reader(config: KeyRateLimitConfig) -> tuple[Callable[[Exchange], str | None], str]:
    """Return a function from an exchange to its key, and what names that kind of key in the store."""
    if config.limit_by_header is not None:
        header = config.limit_by_header
        return lambda exchange: exchange.request.headers.get(header), f"header {header.lower()} "
    if config.limit_by_param is not None:
        parameter = config.limit_by_param
        return lambda exchange: exchange.request.parameter(parameter), f"parameter {parameter} "
    if config.limit_by_cookie is not None:
        cookie = config.limit_by_cookie
        return lambda exchange: exchange.request.cookies.get(cookie), f"cookie {cookie} "
    return lambda exchange: exchange.consumer.name, "consumer "
