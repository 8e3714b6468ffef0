"""The files that the package has for those who run it, each with what it is for: proxies, systemd, containers."""
