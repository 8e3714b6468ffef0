"""The attacks, a file for each theme: what they have in common is what they use up."""
