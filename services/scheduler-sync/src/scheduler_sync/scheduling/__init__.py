"""The scheduling API: find, hold, book, move, cancel and search, in the manner of IHE ITI-115 to 118."""
