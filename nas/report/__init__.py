"""The report of a run: plain values from its folder, then figures, then one page to look at."""
