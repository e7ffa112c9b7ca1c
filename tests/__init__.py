"""The tests. Type checks draw which item of a list they look at: from numbers of their own, for tests watch the global
ones (`tests.support.leaks`)."""

import random

from beartype._check.code import codemain

codemain.getrandbits = random.Random(0).getrandbits  # type: ignore[attr-defined]
