"""Readers of the datasets' annotation files, one module a dataset."""
