"""Times imports in a process of its own: `python -m bench.startup MODULE[,MODULE] [CONFIGURATION]` prints ms of CPU.

With a configuration (a JSON file) a gateway is built from it after the import, and timed with it.
"""

import sys
import time


def main() -> None:
    """Import what is named, and nothing before it that it would have to import itself."""
    modules, *configuration = sys.argv[1:]
    names = modules.split(",")
    begun = time.process_time_ns()
    for name in names:
        __import__(name)
    if configuration:
        from aigw_middleware import Gateway

        async def service(scope: object, receive: object, send: object) -> None:
            """Is never called."""

        Gateway(service, configuration[0])
    print((time.process_time_ns() - begun) / 1e6)


if __name__ == "__main__":
    main()
