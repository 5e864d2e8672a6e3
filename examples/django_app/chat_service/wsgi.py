"""The service for WSGI servers: `gunicorn chat_service.wsgi`."""

import os

from django.core.wsgi import get_wsgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "chat_service.settings")
application = get_wsgi_application()
