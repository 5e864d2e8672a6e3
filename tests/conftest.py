"""What every test shares: the asyncio backend, Hypothesis profiles, and the gate before tests that need a service."""

import os
import shutil

import pytest
from hypothesis import HealthCheck, settings

from aigw_middleware.llm.tokens import counter_for

# No deadline and no verdict on slow generation: a test never depends on the speed of the machine.
_ANY_SPEED = [HealthCheck.too_slow]
settings.register_profile("local", deadline=None, suppress_health_check=_ANY_SPEED)
settings.register_profile(
    "ci", deadline=None, suppress_health_check=_ANY_SPEED, derandomize=True, database=None, print_blob=True
)
settings.load_profile("ci" if os.environ.get("CI") else "local")


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    """The one event loop that the package supports."""
    return "asyncio"


@pytest.fixture(autouse=True)
def tokenizers() -> None:
    """Have what counts tokens loaded, as in a service that has served for a while: else the first counts are estimates."""
    for model in ("gpt-4o", "gpt-4"):
        counter_for(model).prepare()


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip a test marked `services` where there is no redis-server; with `AIGW_REQUIRE_SERVICES=1` fail it instead."""
    if item.get_closest_marker("services") is None or shutil.which("redis-server"):
        return
    if os.environ.get("AIGW_REQUIRE_SERVICES") == "1":
        pytest.fail("redis-server is not installed: run `make services`", pytrace=False)
    pytest.skip("needs redis-server: run `make services`")
