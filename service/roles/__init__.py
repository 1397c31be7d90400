"""What each role of a process consists of, and what all of them stand on."""
