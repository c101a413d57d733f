"""The one exception that reaches a user: a wrong input, named with its location and its fix."""


class InputError(ValueError):
    """A wrong input. The message is one line: the file, line or field, what is wrong, and how to fix it.

    The command line prints it and exits with status 2.
    """


def first_line(error: Exception) -> str:
    """The first line of what a library says that is not blank, for a message of one line; else the error's kind.

    One that ends in a colon brings the next with it.
    """
    first, *others = [line.strip() for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
    return f"{first} {others[0]}" if others and first.endswith(":") else first
