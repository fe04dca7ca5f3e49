"""What a source that cannot become a table is answered with."""


class TableError(ValueError):
    """A source that is no table as it stands: the message says what was found, what was expected, what to do."""
