"""The tasks that come with Diptych: one card (YAML) each, found by its file's name; see `diptych.evaluation.card`."""
