"""`aigw init [FILE]`: a starter configuration that works as it is, with a word on each part."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from .outcome import OK, USAGE, Failed

if TYPE_CHECKING:
    from ..registry import Registry
    from .terminal import Terminal

STARTER = """\
# What the gateway does around this service.
#
#   aigw check @FILE@      looks for problems
#   aigw explain @FILE@    shows what happens to a request, in which order, and why
#   aigw plugins           lists what else there is; `aigw plugins key-auth` shows the keys of one
#
# A running service reads this file again when it changes; what is wrong with it is said in the log and changes nothing.
version: 1

# 32 bytes or more, the same in every process; needed as soon as a store outlives the process. A new one:
#   python -c "import secrets; print(secrets.token_urlsafe(32))"
# secret: env:AIGW_SECRET

# Where counters live. Without this: in the memory of each process.
# stores: {default: "memory://"}

# Proxies in front of this service, whose X-Forwarded-For is believed.
# trusted_proxies: ["10.0.0.0/8"]

# Who may call. The keys below are for trying out: put `env:ALICE_KEY` or `file:/run/secrets/alice` in their place, or
# `sha256:` with the hexadecimal digest of the key, before anybody else can reach the service.
consumers:
  - {name: alice, groups: [staff], metadata: {team: search}, credentials: {key-auth: [alice-demo-key-change-me]}}
  - {name: bob, groups: [guests], credentials: {key-auth: [bob-demo-key-change-me]}}

# Names for requests, which rules can match; the first that matches counts.
routes:
  - {name: chat, path_prefix: /v1/chat, methods: [POST]}

# Around the service. The order here does not matter: plug-ins are sorted by stage and priority.
plugins:
  - name: cors # which web pages may call from a browser
    config: {allow_origins: ["https://app.example.com"]}

  - name: key-auth # a key in `Authorization: Bearer ...`, as OpenAI's clients send it, or in `x-api-key`
    config: {keys: [authorization, x-api-key], in_query: false}

  - name: key-rate-limit # by the header in which the service is told who calls
    config:
      limit_by_header: x-mse-consumer
      limit_keys:
        - {key: bob, query_per_minute: 60}
    # other settings for some requests: the first rule that matches is laid over `config`
    # rules:
    #   - {match: {route: [chat]}, config: {limit_keys: [{key: bob, query_per_minute: 6}]}}

  - name: ai-statistics # tokens and timing of every LLM call, also of streamed ones

  - name: model-mapper # callers name a purpose, this file names the model
    config: {model_mapping: {assistant: gpt-5-mini}}

  # - name: ai-prompt-decorator # what every conversation begins with
  #   config: {prepend: [{role: system, content: Answer in the language of the question.}]}

# Around the LLM calls that the service makes itself, if its client uses our transport. Same shape as `plugins`.
# outgoing:
#   - name: timeout
#     config: {first_byte: 30s, idle: 30s}
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("file", metavar="FILE", nargs="?", default="aigw.yaml", help="default: %(default)s")
    parser.add_argument("--force", action="store_true", help="overwrite a file that exists")


def run(arguments: argparse.Namespace, output: Terminal, registry: Registry | None) -> int:
    """Write the file. Raises Failed when it exists and is not to be overwritten, or cannot be written."""
    file = arguments.file
    if Path(file).suffix.lower() in (".json", ".toml"):
        raise Failed(USAGE, f"{file}: the starter file is YAML", "aigw init aigw.yaml", file=file)
    try:
        with Path(file).open("w" if arguments.force else "x", encoding="utf-8") as stream:
            stream.write(STARTER.replace("@FILE@", file))
    except FileExistsError:
        raise Failed(USAGE, f"{file} exists, and is left as it is", "--force overwrites it", file=file) from None
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise Failed(USAGE, f"{file}: {reason}", file=file) from None
    if arguments.json:
        output.json({"ok": True, "file": file})
        return OK
    output.line(f"{file} is written.", "bold green")
    output.line(f"Next: aigw check {file}, then install(app, config={file!r}) in the service.")
    return OK
