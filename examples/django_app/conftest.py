"""Lets `pytest` run what `python manage.py test` runs, also beside tests that configured Django otherwise."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.conf import settings
from django.test import override_settings

HERE = str(Path(__file__).parent)


@pytest.fixture(scope="module", autouse=True)
def project() -> Iterator[None]:
    """The settings of the project in this folder, and its package importable."""
    sys.path.insert(0, HERE)
    if not settings.configured:
        settings.configure(ALLOWED_HOSTS=["*"], SECRET_KEY="tests")
    from chat_service import settings as own

    values = {name: getattr(own, name) for name in dir(own) if name.isupper() and name != "INSTALLED_APPS"}
    with override_settings(**values):
        yield
    sys.path.remove(HERE)
