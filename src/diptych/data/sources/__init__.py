"""The room that brings a user's collection in: folders, files, tars, datasets, each opened as one kind of table.

`opening` finds out what a source is; `files`, `folder`, `tar` and `hub` read one kind each into a
`Raw`; `columns` chooses which of its columns is what; `conform` checks the rows.
"""

from diptych.data.sources.errors import TableError
from diptych.data.sources.opening import built_in_tables, open_table
from diptych.data.sources.splits import holdout, select_split

__all__ = ["TableError", "built_in_tables", "holdout", "open_table", "select_split"]
