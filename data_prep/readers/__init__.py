"""One module a dataset: annotation files → `VideoEntry` list."""
