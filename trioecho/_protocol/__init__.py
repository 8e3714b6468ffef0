"""RFC 6455 without I/O and without Trio: frames, masking, the decoder, the ways to end, the record."""
