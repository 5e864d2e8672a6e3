"""OpenAI's embeddings: a small vector for each input, the same for the same text.

Source: OpenAI API reference, "Embeddings" (create embeddings; the embedding object).
"""

import base64
import hashlib
import math
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Self

from .apis import OPENAI, Api
from .call import Call, InvalidCallError, body_of, model_of, positive
from .composition import Composition
from .openai_completions import inputs_of

if TYPE_CHECKING:
    from .provider_hosts import ReceivedRequest

DIMENSIONS = 8  # unless the request says how many it wants
MOST_DIMENSIONS = 4096


@dataclass(frozen=True, slots=True)
class EmbeddingsCall(Call):
    """An embeddings request. Of an answer it gets delays and usage."""

    api: ClassVar[Api] = OPENAI

    as_base64: bool = False
    dimensions: int = DIMENSIONS

    @classmethod
    def read(cls, request: "ReceivedRequest") -> Self:
        """Understand a request. Raises InvalidCallError."""
        body = body_of(request)
        model = model_of(body)
        encoding = body.get("encoding_format") or "float"
        if encoding not in ("float", "base64"):
            raise InvalidCallError("'encoding_format' must be 'float' or 'base64'.", "encoding_format")
        return cls(
            model=model,
            messages=[{"role": "user", "content": text} for text in inputs_of(body, "input")],
            as_base64=encoding == "base64",
            dimensions=positive(body, "dimensions", MOST_DIMENSIONS) or DIMENSIONS,
        )

    def whole(self, composed: Composition) -> Mapping[str, Any]:
        """The list of embedding objects."""
        data = [
            {"object": "embedding", "index": index, "embedding": self._written(vector(text, self.dimensions))}
            for index, text in enumerate(self.texts)
        ]
        body = {"object": "list", "data": data, "model": self.model}
        if composed.usage is None:
            return body
        prompt = composed.usage.prompt_tokens
        return {**body, "usage": {"prompt_tokens": prompt, "total_tokens": prompt}}

    def _written(self, numbers: Sequence[float]) -> list[float] | str:
        if not self.as_base64:
            return list(numbers)
        return base64.b64encode(struct.pack(f"<{len(numbers)}f", *numbers)).decode()


def vector(text: str, dimensions: int) -> list[float]:
    """A vector of length one that follows from the text alone, in single precision."""
    digest = hashlib.shake_256(text.encode("utf-8", "replace")).digest(dimensions)
    raw = [byte - 127.5 for byte in digest]
    length = math.sqrt(sum(number * number for number in raw))
    single = struct.pack(f"<{dimensions}f", *(number / length for number in raw))
    return list(struct.unpack(f"<{dimensions}f", single))
