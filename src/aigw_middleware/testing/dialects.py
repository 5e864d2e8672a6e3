"""Which dialect a request speaks, as its path and its headers tell."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from .anthropic_messages import CountTokensCall, MessagesCall
from .apis import ANTHROPIC, GEMINI, OPENAI, Api
from .call import Call
from .gemini import GeminiCountCall, GeminiEmbedCall, GenerateContentCall
from .openai_chat import ChatCall
from .openai_completions import CompletionCall
from .openai_embeddings import EmbeddingsCall
from .openai_responses import ResponsesCall

if TYPE_CHECKING:
    from .provider_hosts import ReceivedRequest

CALLS: Mapping[str, type[Call]] = {
    "/chat/completions": ChatCall,  # before `/completions`, in which it ends too
    "/completions": CompletionCall,
    "/responses": ResponsesCall,
    "/embeddings": EmbeddingsCall,
    "/messages": MessagesCall,
    "/messages/count_tokens": CountTokensCall,
    ":generateContent": GenerateContentCall,
    ":streamGenerateContent": GenerateContentCall,
    ":countTokens": GeminiCountCall,
    ":embedContent": GeminiEmbedCall,
    ":batchEmbedContents": GeminiEmbedCall,
}
"""What a path ends in."""


def call_at(path: str) -> type[Call] | None:
    """The dialect spoken at a path; None if nothing is asked of a model there."""
    return next((call for ending, call in CALLS.items() if path.endswith(ending)), None)


def api_of(request: "ReceivedRequest") -> Api:
    """Whose customs a request follows, OpenAI's if nothing speaks against it."""
    call = call_at(request.path)
    if call is not None:
        return call.api
    if request.header("anthropic-version") is not None:
        return ANTHROPIC
    if request.header("x-goog-api-key") is not None or request.path.endswith(("/v1beta/models", "/v1alpha/models")):
        return GEMINI
    return OPENAI
