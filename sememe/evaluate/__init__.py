"""How good a collection is: measured on what is stored, by the same ways that searches take."""
