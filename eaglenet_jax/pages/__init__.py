"""Pages to read in a browser: one HTML file each, nothing loaded from elsewhere."""
