"""POST /generate on the wire: what a request asks, what an answer says, for the token cache."""
