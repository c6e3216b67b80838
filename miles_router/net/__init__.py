"""Sockets: how bytes come in from clients, go out to workers and come back.

Decisions are in `core`; this room does the I/O they ask for. Foreign exceptions are translated
once, in `tolerance`.
"""
