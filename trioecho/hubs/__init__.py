"""Hubs: remote calls, groups and fallback transports for SignalR's clients."""
