"""The server as a process: its first line, signals, log and exit status, for the command line and `trioecho.run`."""
