"""Readers of the datasets' annotation files, one module a dataset.

A new dataset is a module here with a function (folder, variant) → `annotations.Annotations`, a `DatasetSpec` in
data_prep/datasets.py, which names that function, and a config of the same name in configs/.
"""
