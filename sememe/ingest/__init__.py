"""The way in: what may be added, how it is read, cut, embedded and stored, and how indexes keep up."""
