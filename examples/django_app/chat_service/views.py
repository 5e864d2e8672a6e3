"""A chat endpoint that waits in its thread, one that streams from the event loop, and who called."""

import json
from collections.abc import AsyncIterator
from typing import Any

import openai
from django.core.exceptions import BadRequest
from django.http import HttpRequest, HttpResponse, JsonResponse, StreamingHttpResponse
from django.http.response import HttpResponseBase
from django.views.decorators.http import require_POST
from openai.types.chat import ChatCompletionChunk

from .llm import async_client, client


@require_POST
def chat(request: HttpRequest) -> HttpResponse:
    """Answer whole: a plain view, a plain client, no event loop."""
    try:
        answer = client().chat.completions.create(**wanted(request))
    except openai.APIStatusError as error:
        return HttpResponse(error.response.content, "application/json", error.status_code)
    return HttpResponse(answer.to_json(indent=None), "application/json")


@require_POST
async def stream(request: HttpRequest) -> HttpResponseBase:
    """Answer piece by piece, as server-sent events."""
    try:
        answer = await async_client().chat.completions.create(**wanted(request), stream=True)
    except openai.APIStatusError as error:
        return HttpResponse(error.response.content, "application/json", error.status_code)
    return StreamingHttpResponse(server_sent_events(answer), content_type="text/event-stream")


def whoami(request: HttpRequest) -> HttpResponse:
    """Say who called, as `key-auth` found out."""
    consumer = request.aigw.consumer
    return JsonResponse({"name": consumer.name, "groups": sorted(consumer.groups), "metadata": dict(consumer.metadata)})


def wanted(request: HttpRequest) -> dict[str, Any]:
    """What this service passes on of a chat completion request. Raises BadRequest, Django's 400."""
    try:
        call = json.loads(request.body)
        call.pop("stream", None)  # the path says it
        return {"model": call.pop("model"), "messages": call.pop("messages"), "extra_body": call}
    except (ValueError, KeyError, AttributeError, TypeError) as error:
        raise BadRequest("no chat completion request") from error


async def server_sent_events(answer: openai.AsyncStream[ChatCompletionChunk]) -> AsyncIterator[str]:
    """The pieces of an answer as they arrive; when the client leaves, the provider is told to stop."""
    async with answer:
        async for chunk in answer:
            yield f"data: {chunk.to_json(indent=None)}\n\n"
    yield "data: [DONE]\n\n"
