"""What a plug-in is: its place in the order, its configuration model, its hooks.

    class TeamHeaderConfig(PluginConfig):
        header: str = Field("x-team", description="Request header that receives the caller's team.")

    class TeamHeader(Plugin[TeamHeaderConfig]):
        \"\"\"Copy the caller's team into a request header.\"\"\"
        name, stage, priority = "team-header", Stage.DEFAULT, 120

        def on_request(self, exchange: Exchange) -> None:
            exchange.request.headers.set(self.config.header, exchange.consumer.metadata.get("team", "none"))

An instance serves many exchanges at once: the constructor compiles, `setup` acquires, hooks read; what belongs to one
exchange lives in `exchange.local[self]`.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterable
from dataclasses import dataclass, field
from enum import Enum, Flag, auto
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Literal, TypeAlias, TypeVar, get_args

from pydantic import AliasChoices, AliasGenerator, BaseModel, ConfigDict, Field, ValidationError
from pydantic.alias_generators import to_camel

from .config.files import Files
from .errors import ConfigError

if TYPE_CHECKING:
    from .around import Call
    from .config.secrets import Keyring
    from .consumers import ConsumerTable
    from .exchange import Exchange, Finish, Refusal, Reply, Response
    from .llm.sse import Event
    from .llm.text import Channel
    from .runtime import Runtime

    Answer: TypeAlias = Reply | Refusal | None
    Hook: TypeAlias = Answer | Coroutine[Any, Any, Answer]

FailurePolicy: TypeAlias = Literal["deny", "allow"]

__all__ = [
    "INBOUND",
    "OUTBOUND",
    "Build",
    "Direction",
    "Field",
    "Needs",
    "Plugin",
    "PluginConfig",
    "PluginSettings",
    "Stage",
]


class Stage(Enum):
    """The stages of the stack. Their order is the configuration's `stage_order`, inside RBAC ... SENTINEL, ROUTER."""

    RBAC = "rbac"
    AUTHORIZATION = "authorization"
    AUTHENTICATION = "authentication"
    STATISTICS = "statistics"
    DEFAULT = "default"
    SENTINEL = "sentinel"
    ROUTER = "router"


GATE = frozenset({Stage.RBAC, Stage.AUTHORIZATION, Stage.AUTHENTICATION})
"""The stages that judge a caller: all their header hooks run before any body is read."""


class Needs(Flag):
    """What the driver must do so that a plug-in's hooks can stay plain functions."""

    NOTHING = 0
    REQUEST_BODY = auto()
    """The request body is loaded before `on_request_body`; implied by overriding it."""
    RESPONSE_BODY = auto()
    """A whole answer is buffered before `on_response_body`; implied by overriding it."""
    USAGE = auto()
    """Usage, produced text and timing of LLM calls are observed; nothing is held back."""
    REPLAY = auto()
    """`on_upstream` may call twice: the request body is loaded, each attempt gets a fresh copy of the request."""
    LLM = auto()
    """The body hooks concern LLM calls only: other exchanges are neither read nor offered to them."""


class Direction(Enum):
    """Whether an exchange comes into the service or leaves it."""

    INBOUND = "inbound"
    OUTBOUND = "outbound"


INBOUND, OUTBOUND = Direction.INBOUND, Direction.OUTBOUND


class PluginConfig(BaseModel):
    """Base of every plug-in's configuration: frozen, no unknown keys, snake_case or upstream's camelCase."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        populate_by_name=True,
        arbitrary_types_allowed=True,
        hide_input_in_errors=True,
        alias_generator=AliasGenerator(validation_alias=lambda name: AliasChoices(name, to_camel(name))),
    )


class PluginSettings(PluginConfig):
    """What surrounds a plug-in's own configuration in a file."""

    stage: Stage | None = Field(None, description="Stage to run in, instead of the plug-in's own.")
    priority: int | None = Field(None, description="Larger runs first inside the stage; instead of the plug-in's own.")
    on_failure: FailurePolicy | None = Field(None, description="What happens when the plug-in itself breaks.")
    on_uncovered: FailurePolicy | None = Field(None, description="What happens with a call that it cannot read.")
    shadow: bool = Field(False, description="Run it, record what it would do, change nothing.")
    enabled: bool = Field(True, description="false: as if the entry were not there.")
    rules: tuple[Any, ...] = Field((), description="Configurations for some exchanges; the first match wins.")
    id: str = Field("", description="Name of this entry in records and state, if a plug-in is named more than once.")


@dataclass(frozen=True, slots=True)
class Build:
    """What a plug-in's constructor may know beyond its own configuration."""

    consumers: ConsumerTable
    """The consumers declared at the top of the configuration."""
    keyring: Keyring
    """Keys derived from the configuration's secret, one label each."""
    entry: str
    """Stable identity of the entry and rule, under which state is kept over reloads."""
    has_rules: bool = False
    """Whether the entry has upstream's `_rules_`, whose authentication plug-ins let pass what no rule matches."""
    in_rule: bool = False
    """Whether this instance belongs to one of them."""
    error_format: str = "standard"
    """`upstream`: refusals carry the bytes of the gateways this library is compatible with."""
    identity_header: bytes = b"x-mse-consumer"
    """Header that tells the service who the consumer is."""
    files: Files = field(default_factory=Files)
    """Reads files that the configuration names, relative to its own; a change of one is a change of the configuration."""


ConfigT = TypeVar("ConfigT", bound=PluginConfig)

HOOKS = (
    "on_request",
    "on_request_body",
    "on_identified",
    "on_upstream",
    "on_response",
    "on_response_body",
    "on_event",
    "on_text",
    "on_refusal",
    "on_error",
    "on_complete",
)


class Plugin(Generic[ConfigT]):
    """Base of every plug-in; a subclass overrides the hooks it wants and states its metadata as class attributes.

    `Plugin(app, **config)` is also an ASGI application, a gateway of this one plug-in; `Plugin.wsgi(app, **config)`
    the same for WSGI. Without `app` the object goes into `Gateway(app, plugins=[...])`.

    Raises ConfigError when the configuration is wrong.
    """

    name: ClassVar[str] = ""
    stage: Stage = Stage.DEFAULT
    priority: int = 100
    needs: ClassVar[Needs] = Needs.NOTHING
    directions: ClassVar[frozenset[Direction]] = frozenset({INBOUND, OUTBOUND})
    on_failure: FailurePolicy = "allow"
    on_uncovered: FailurePolicy = "allow"
    identifies: ClassVar[bool] = False
    """Sets `exchange.consumer`; rules by consumer or group can only apply after it."""
    asyncio_only: ClassVar[bool] = False
    """Awaits more than ports; refused by name on synchronous hosts."""
    extra: ClassVar[str] = ""
    """The extra of the distribution that it needs, if any."""
    shadowable: ClassVar[bool] = True
    """False when running it without effect is meaningless (retry, timeout, mirror, cache fill)."""
    rules_inherit: ClassVar[bool] = False
    """Whether upstream's `_rules_` start from a copy of the global configuration for this plug-in."""
    unused: frozenset[str] = frozenset()
    """Hooks that this instance does without by its configuration; set in `compile`, they cost nothing then."""
    path_matching: ClassVar[bool] = False
    """Whether it judges by the path, so that ambiguous paths must be refused first."""
    counts_tokens: ClassVar[bool] = False
    """Whether it decides by tokens counted before the call, so that `aigw check` tells when they can only be estimated."""
    Config: ClassVar[type[PluginConfig]] = PluginConfig

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        for base in getattr(cls, "__orig_bases__", ()):
            for argument in get_args(base):
                if isinstance(argument, type) and issubclass(argument, PluginConfig):
                    cls.Config = argument
        for hook in ("on_event", "on_text", "on_refusal", "on_error", "on_complete"):
            if getattr(getattr(cls, hook), "__code__", None) and getattr(cls, hook).__code__.co_flags & 0x80:
                raise TypeError(f"{cls.__name__}.{hook} must be a plain function: the stream does not wait for it")

    def __init__(self, app: Any = None, /, *, settings: PluginSettings | None = None, **config: Any) -> None:
        build = default_build(self.name or type(self).__name__)
        self._configure(self.validate(config, build), settings or PluginSettings(), build)
        self._gateway: Any = None
        if app is not None:
            from .hosts.asgi import Gateway

            self._gateway = Gateway(app, plugins=[self])

    @classmethod
    def validate(cls, config: dict[str, Any], build: Build, path: str = "") -> ConfigT:
        """Return the configuration model of `config`. Raises ConfigError with every problem."""
        from .config.problems import problems_of

        try:
            return cls.Config.model_validate(config, context={"build": build, "local": True})  # type: ignore[return-value]
        except ValidationError as error:
            raise ConfigError(problems_of(error, path, cls.Config), cls.name) from None

    @classmethod
    def build(cls, config: ConfigT, settings: PluginSettings, build: Build) -> Plugin[ConfigT]:
        """Make an instance from a validated configuration; the registry's way in."""
        plugin = cls.__new__(cls)
        plugin._configure(config, settings, build)
        plugin._gateway = None
        return plugin

    def _configure(self, config: ConfigT, settings: PluginSettings, build: Build) -> None:
        self.config = config
        self.settings = settings
        self.context = build
        if settings.stage is not None:
            self.stage = settings.stage
        if settings.priority is not None:
            self.priority = settings.priority
        if settings.on_failure is not None:
            self.on_failure = settings.on_failure
        if settings.on_uncovered is not None:
            self.on_uncovered = settings.on_uncovered
        self.compile()

    @classmethod
    def wsgi(cls, app: Any, /, *, settings: PluginSettings | None = None, **config: Any) -> Any:
        """Wrap a WSGI application with this one plug-in."""
        from .hosts.wsgi import WSGIGateway

        return WSGIGateway(app, plugins=[cls(settings=settings, **config)])

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if self._gateway is None:
            raise TypeError(
                f"{type(self).__name__} was made without an app: give it one, or pass it to Gateway(plugins=[...])"
            )
        await self._gateway(scope, receive, send)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.stage.value} {self.priority}>"

    # ------------------------------------------------------------------ life cycle

    def compile(self) -> None:
        """Do once what can be done once; called by the constructor, pure."""

    def setup(self, runtime: Runtime) -> None | Coroutine[Any, Any, None]:
        """Acquire what the plug-in needs in this process and event loop; called once per runtime."""

    def teardown(self, runtime: Runtime) -> None | Coroutine[Any, Any, None]:
        """Release it; called when the runtime closes, or when no exchange uses the plug-in any more."""

    # ------------------------------------------------------------------ hooks, in the order of an exchange's life

    def on_request(self, exchange: Exchange) -> Hook:
        """The request's headers are known; return an answer to end the exchange here."""

    def wants_body(self, exchange: Exchange) -> bool:
        """Whether this exchange's body concerns the plug-in, told from its headers; asked before the body is loaded."""
        return True

    def on_request_body(self, exchange: Exchange) -> Hook:
        """The request's body is loaded. Not called when `wants_body` said no."""

    def on_identified(self, exchange: Exchange) -> Hook:
        """The gate has been passed: who calls is known, and whatever was signed has been checked."""

    async def on_upstream(self, exchange: Exchange, call: Call) -> Answer:
        """Stand around the call: `outcome = await call(...)`, as often as needed, before the first byte left."""

    def on_response(self, exchange: Exchange) -> Hook:
        """The answer's status and headers are known, nothing of it was sent."""

    def on_response_body(self, exchange: Exchange) -> Hook:
        """A whole answer is in `exchange.response`; never called for event streams."""

    def on_event(self, exchange: Exchange, event: Event) -> None | Finish | Iterable[Event]:
        """One server-sent event passes; return None to leave it, events to replace it, `()` to drop it."""

    def on_text(self, exchange: Exchange, text: str, channel: Channel) -> None | str | tuple[str, str] | Finish:
        """Text of an LLM's answer passes: what this hook held back, plus the new piece.

        Return None (unchanged), a str to emit, `(emit, hold)` to keep a tail for the next piece, or a Finish.
        """

    def on_refusal(self, exchange: Exchange, response: Response) -> None:
        """Somebody refused the request, perhaps before this plug-in's turn: add headers the caller needs all the same."""

    def on_error(self, exchange: Exchange, error: Exception) -> Reply | None:
        """The service raised before its response started; return a Reply to answer in its place."""

    def on_complete(self, exchange: Exchange) -> None:
        """The exchange is over, whatever its end; called exactly once."""


def overridden(plugin: Plugin[Any], hook: str) -> Callable[..., Any] | None:
    """Return the bound method when the plug-in's class overrides `hook` and this instance uses it, else None."""
    if getattr(type(plugin), hook) is getattr(Plugin, hook) or hook in plugin.unused:
        return None
    return getattr(plugin, hook)  # type: ignore[no-any-return]


def needs_of(plugin: Plugin[Any]) -> Needs:
    """Return what the plug-in declares, and what its overridden hooks imply."""
    needs = plugin.needs
    if overridden(plugin, "on_request_body"):
        needs |= Needs.REQUEST_BODY
    if overridden(plugin, "on_response_body"):
        needs |= Needs.RESPONSE_BODY
    return needs


def default_build(name: str) -> Build:
    """The surroundings of a plug-in made by hand, without a configuration file."""
    from .config.secrets import process_keyring
    from .consumers import ConsumerTable

    return Build(consumers=ConsumerTable(()), keyring=process_keyring(), entry=name)
