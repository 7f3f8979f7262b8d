"""One module for each checkpoint layout; each is a table and a recogniser."""
