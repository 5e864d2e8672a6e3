"""An AI gateway as composable middleware: for ASGI, WSGI and Django services, and for the LLM calls they make.

from aigw_middleware import install
install(app, config="aigw.yaml")
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

_EXPORTS = {
    "ANONYMOUS": "consumers",
    "Channel": "llm.text",
    "ConfigError": "errors",
    "Consumer": "consumers",
    "DeadlineExceeded": "around",
    "Event": "llm.sse",
    "Exchange": "exchange",
    "Field": "plugin",
    "Finish": "exchange",
    "Gateway": "hosts.asgi",
    "INBOUND": "plugin",
    "Needs": "plugin",
    "OUTBOUND": "plugin",
    "Plugin": "plugin",
    "PluginConfig": "plugin",
    "PluginSettings": "plugin",
    "Refusal": "exchange",
    "Registry": "registry",
    "Reply": "exchange",
    "Secret": "config.secrets",
    "Stage": "plugin",
    "WSGIGateway": "hosts.wsgi",
    "current_exchange": "exchange",
    "detached": "exchange",
    "install": "hosts.asgi",
}

if TYPE_CHECKING:
    from .around import DeadlineExceeded as DeadlineExceeded
    from .config.secrets import Secret as Secret
    from .consumers import ANONYMOUS as ANONYMOUS
    from .consumers import Consumer as Consumer
    from .errors import ConfigError as ConfigError
    from .exchange import Exchange as Exchange
    from .exchange import Finish as Finish
    from .exchange import Refusal as Refusal
    from .exchange import Reply as Reply
    from .exchange import current_exchange as current_exchange
    from .exchange import detached as detached
    from .hosts.asgi import Gateway as Gateway
    from .hosts.asgi import install as install
    from .hosts.wsgi import WSGIGateway as WSGIGateway
    from .llm.sse import Event as Event
    from .llm.text import Channel as Channel
    from .plugin import INBOUND as INBOUND
    from .plugin import OUTBOUND as OUTBOUND
    from .plugin import Field as Field
    from .plugin import Needs as Needs
    from .plugin import Plugin as Plugin
    from .plugin import PluginConfig as PluginConfig
    from .plugin import PluginSettings as PluginSettings
    from .plugin import Stage as Stage
    from .plugins.ai.context_limit import AiContextLimit as AiContextLimit
    from .plugins.ai.data_masking import AiDataMasking as AiDataMasking
    from .plugins.ai.model_mapper import ModelMapper as ModelMapper
    from .plugins.ai.model_router import ModelRouter as ModelRouter
    from .plugins.ai.prompt_decorator import AiPromptDecorator as AiPromptDecorator
    from .plugins.ai.prompt_template import AiPromptTemplate as AiPromptTemplate
    from .plugins.ai.statistics import AiStatistics as AiStatistics
    from .plugins.auth.basic import BasicAuth as BasicAuth
    from .plugins.auth.hmac import HmacAuth as HmacAuth
    from .plugins.auth.jwt import JwtAuth as JwtAuth
    from .plugins.auth.key import KeyAuth as KeyAuth
    from .plugins.security.bot_detect import BotDetect as BotDetect
    from .plugins.security.cors import Cors as Cors
    from .plugins.security.ip_access_control import IpAccessControl as IpAccessControl
    from .plugins.security.ip_restriction import IpRestriction as IpRestriction
    from .plugins.security.real_ip import HttpRealIp as HttpRealIp
    from .plugins.security.replay_protection import ReplayProtection as ReplayProtection
    from .plugins.security.request_block import RequestBlock as RequestBlock
    from .plugins.traffic.key_rate_limit import KeyRateLimit as KeyRateLimit
    from .plugins.traffic.timeout import Timeout as Timeout
    from .plugins.transport.custom_response import CustomResponse as CustomResponse
    from .registry import Registry as Registry


def __getattr__(name: str) -> Any:
    """Import what is asked for, when it is asked for."""
    from importlib import import_module

    module = _EXPORTS.get(name)
    if module is not None:
        value = getattr(import_module(f"{__name__}.{module}"), name)
    else:
        from .registry import CLASS_NAMES, load

        target = CLASS_NAMES.get(name)
        if target is None:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        value = load(target)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    from .registry import CLASS_NAMES

    return sorted([*_EXPORTS, *CLASS_NAMES, "__version__"])
