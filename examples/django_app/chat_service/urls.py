"""Where the views are."""

from django.urls import path

from . import views

urlpatterns = [
    path("v1/chat/completions", views.chat),
    path("v1/chat/stream", views.stream),
    path("whoami", views.whoami),
]
