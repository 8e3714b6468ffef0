"""Requests in, a response or an upgrade out."""
