from collections.abc import Iterator

import pytest

from tests.engines import StubPlace


@pytest.fixture
def place() -> Iterator[StubPlace]:
    """Where this test's engines are; checks at the end that none is left."""
    place = StubPlace()
    yield place
    place.close()
