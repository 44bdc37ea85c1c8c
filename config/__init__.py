"""Settings as typed values, and the data files that hold defaults and rules."""
