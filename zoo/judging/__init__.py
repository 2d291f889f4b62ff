"""How good samples are: distances between two sets of features, each a pure function; one idea a file."""
