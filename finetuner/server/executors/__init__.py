"""How a run is started and observed."""
