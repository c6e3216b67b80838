"""What fills the terminal: views of the router, and what is asked or told in front of them."""
