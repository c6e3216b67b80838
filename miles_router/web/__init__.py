"""HTTP as clients see it: the guard, the relay's front door, and the router's own routes.

Data paths go straight from ASGI to `net.exchange`; everything else is Quart's. Decisions are in
`core`; a route translates, calls one of them, and answers.
"""
