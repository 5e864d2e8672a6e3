"""A chat service: OpenAI's API in front, a language model behind, one gateway around what comes in and what goes out.

    uvicorn --factory app:create_app

Set OPENAI_API_KEY, or OPENAI_BASE_URL, and it asks that provider; without them a fake one inside the process answers.
"""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx2
import openai
from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse, StreamingResponse
from openai.types.chat import ChatCompletionChunk
from pydantic import BaseModel, ConfigDict
from starlette.types import ASGIApp

from aigw_middleware import install
from aigw_middleware.fastapi import CurrentConsumer
from aigw_middleware.httpx2 import AsyncGatewayTransport
from aigw_middleware.testing import Answer, FakeProvider
from aigw_middleware.testing.clients import asgi_transport_class

CONFIG = Path(__file__).with_name("aigw.yaml")


class ChatCall(BaseModel):
    """What this service wants to know of a chat completion request; everything else is passed on."""

    model_config = ConfigDict(extra="allow")

    model: str
    messages: list[Any]
    stream: bool = False


def create_app(provider: ASGIApp | None = None) -> FastAPI:
    """Build the service. `provider`, an ASGI app, takes the place of the one that the environment names."""
    llm = language_model(provider)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        yield
        await llm.close()

    app = FastAPI(title="Chat", lifespan=lifespan)
    install(app, config=CONFIG)  # the one line: everything under `plugins:` now runs around this service

    @app.post("/v1/chat/completions")
    async def chat(call: ChatCall) -> Response:
        answer = await llm.chat.completions.create(
            model=call.model, messages=call.messages, stream=call.stream, extra_body=call.model_extra
        )
        if isinstance(answer, openai.AsyncStream):
            return StreamingResponse(server_sent_events(answer), media_type="text/event-stream")
        return Response(answer.to_json(indent=None), media_type="application/json")

    @app.get("/whoami")
    async def whoami(consumer: CurrentConsumer) -> dict[str, Any]:
        return {"name": consumer.name, "groups": sorted(consumer.groups), "metadata": dict(consumer.metadata)}

    @app.exception_handler(openai.APIStatusError)
    async def pass_error_on(request: Request, error: openai.APIStatusError) -> Response:
        names = ("content-type", "retry-after")
        headers = {name: error.response.headers[name] for name in names if name in error.response.headers}
        return Response(error.response.content, error.status_code, headers)

    @app.exception_handler(openai.APIConnectionError)
    async def unreachable(request: Request, error: openai.APIConnectionError) -> Response:
        message = {"message": "The language model cannot be reached.", "type": "server_error", "code": "no_upstream"}
        return JSONResponse({"error": message}, 502)

    return app


def language_model(provider: ASGIApp | None) -> openai.AsyncOpenAI:
    """The official client. Each call that it makes runs through the plug-ins under `outgoing:`."""
    if provider is None and not {"OPENAI_API_KEY", "OPENAI_BASE_URL"} & os.environ.keys():
        provider = FakeProvider(default=Answer(delay_between=0.03))
    inner = asgi_transport_class("httpx2")(provider) if provider else None
    return openai.AsyncOpenAI(
        http_client=httpx2.AsyncClient(transport=AsyncGatewayTransport(inner, config=CONFIG)),
        base_url="http://provider/v1" if provider else None,  # None: what the environment says
        api_key="none" if provider else None,
        max_retries=0,  # the callers retry, and only they know how long they want to wait
    )


async def server_sent_events(stream: openai.AsyncStream[ChatCompletionChunk]) -> AsyncIterator[str]:
    """The pieces of an answer as they arrive; when the client leaves, the provider is told to stop."""
    async with stream:
        async for chunk in stream:
            yield f"data: {chunk.to_json(indent=None)}\n\n"
    yield "data: [DONE]\n\n"
