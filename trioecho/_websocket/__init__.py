"""One connection's life, from the accepted handshake to its record."""
