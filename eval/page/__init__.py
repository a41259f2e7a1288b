"""One HTML page of benchmark runs: it holds everything that it shows, and loads nothing."""
