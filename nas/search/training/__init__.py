"""`nas train`: one architecture trained by itself, in a folder of its own."""
