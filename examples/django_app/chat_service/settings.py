"""Settings of the chat service; the gateway needs two of them."""

import os
from pathlib import Path

from aigw_middleware.testing import Answer, FakeProvider

BASE_DIR = Path(__file__).resolve().parent.parent

INSTALLED_APPS = ["aigw_middleware.django"]  # for `manage.py check`, which then reads the gateway's configuration too
MIDDLEWARE = [
    "aigw_middleware.django.GatewayMiddleware",  # first, so that every response passes through it
    "django.middleware.common.CommonMiddleware",
]
AIGW = BASE_DIR / "aigw.yaml"

# The ASGI and WSGI app that stands in for a provider; None: the one that OPENAI_BASE_URL and OPENAI_API_KEY name.
FAKE_PROVIDER = None
if not {"OPENAI_API_KEY", "OPENAI_BASE_URL"} & os.environ.keys():
    FAKE_PROVIDER = FakeProvider(default=Answer(delay_between=0.03))

SECRET_KEY = os.environ.get("DJANGO_SECRET_KEY", "only for development: nothing here is signed")
DEBUG = False
ALLOWED_HOSTS = ["localhost", "127.0.0.1", "testserver"]
ROOT_URLCONF = "chat_service.urls"
ASGI_APPLICATION = "chat_service.asgi.application"
WSGI_APPLICATION = "chat_service.wsgi.application"
USE_TZ = True
