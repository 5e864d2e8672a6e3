"""System checks: what `manage.py check` says about the gateway's settings."""

from __future__ import annotations

from typing import Any

MIDDLEWARE = "aigw_middleware.django.GatewayMiddleware"


def check_settings(app_configs: Any, **kwargs: Any) -> list[Any]:
    """Return errors and warnings about `AIGW` and `MIDDLEWARE`, ids `aigw.E001` to `aigw.W002`."""
    from django.conf import settings
    from django.core.checks import Error, Warning

    from ..errors import ConfigError
    from ..gateway import Core

    if MIDDLEWARE not in settings.MIDDLEWARE:
        return []
    config = getattr(settings, "AIGW", None)
    if config is None:
        return [
            Error(
                "AIGW is missing from the settings.",
                hint="Set it to a mapping or to the path of a file.",
                id="aigw.E001",
            )
        ]
    found: list[Any] = []
    try:
        core = Core(config)
    except ConfigError as error:
        return [
            Error(f"{problem.path or 'configuration'}: {problem.message}", hint=problem.hint or None, id="aigw.E002")
            for problem in error.problems
        ]
    place = list(settings.MIDDLEWARE).index(MIDDLEWARE)
    if place:
        before = ", ".join(str(name).rpartition(".")[2] for name in settings.MIDDLEWARE[:place])
        found.append(
            Warning(
                f"GatewayMiddleware is not first in MIDDLEWARE: responses of {before} do not pass through it.",
                hint="Move it to the front, so that refusals and CORS headers reach every response.",
                id="aigw.W001",
            )
        )
    if not core.snapshot.plugins:
        found.append(
            Warning("AIGW names no plug-in.", hint="Run `aigw init` for a commented starter file.", id="aigw.W002")
        )
    return found


def register_checks() -> None:
    """Register the checks with Django."""
    from django.core.checks import register

    register(check_settings, "aigw")
