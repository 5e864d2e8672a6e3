"""The gateway for Django: put `aigw_middleware.django.GatewayMiddleware` first in `MIDDLEWARE`, configure with `AIGW`."""

from __future__ import annotations

from .hosts.django import GatewayMiddleware
from .hosts.django_checks import register_checks

__all__ = ["GatewayMiddleware"]

register_checks()
