"""Each algorithm in plain Python, short enough to read in class; the compiled cores are tested against it."""
