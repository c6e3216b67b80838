"""The terminal UI: it sees immutable snapshots and sends commands; it never touches the router."""
