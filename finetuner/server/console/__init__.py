"""The web pages: a list of runs, and a page a run, rendered on the server; scripts only add to them."""
