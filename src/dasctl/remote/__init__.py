"""The helper: shipped to a node as it is, standard library only, Python 3.9; and the words that both ends share."""
