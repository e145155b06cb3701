"""The error of a launch that cannot begin."""


class LaunchError(ValueError):
    """Nothing was started: the message names the thing, its value and the remedy.

    A `ValueError`, as accelerate raises for a command line that it cannot carry out.
    """
