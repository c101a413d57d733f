"""The one exception that reaches a user: a wrong input, named with its place and its fix."""


class InputError(ValueError):
    """A wrong input. The message is one line: the file, line or field, what is wrong, and how to mend it.

    The command line prints it and exits with status 2.
    """
