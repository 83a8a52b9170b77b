"""One file for each format: from what is on disk to a `Raw`, checked before memory is taken."""
