"""The errors a user can mend, and the exit code each of them means."""


class StarsmithError(Exception):
    """Something outside the code is at fault: an input, a setting, the disk. Shown without a traceback.

    The message is one or two sentences: what was found where, what was expected, what to do next.
    """

    exit_code = 1


class StoreFault(StarsmithError):
    """The object store did not do what was asked. What it holds is not known, and must not be taken for damaged."""


class Damage(StarsmithError):
    """A file of a workspace is missing, or is not the one that was written."""


class UsageError(StarsmithError):
    """The command line itself cannot be understood."""

    exit_code = 2
