"""MovingShapes: short synthetic clips in which the order of the frames matters, with captions from a small grammar."""
