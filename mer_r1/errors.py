"""The one exception that reaches a user: a wrong input, named with its location and its fix."""


class InputError(ValueError):
    """A wrong input. The message is one line: the file, line or field, what is wrong, and how to fix it.

    The command line prints it and exits with status 2.
    """


def first_line(error: Exception) -> str:
    """The first line of what a library says that is not blank, for a message of one line; else the error's kind."""
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
