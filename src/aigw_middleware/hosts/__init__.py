"""The hosts: thin drivers that run one pipeline around ASGI, WSGI, Django and outgoing calls."""
