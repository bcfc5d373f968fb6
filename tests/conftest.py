"""Settings of all tests."""

from hypothesis import settings

# A test is never timed: the machine may be busy.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")
