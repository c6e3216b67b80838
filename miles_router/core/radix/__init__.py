"""The radix tree of the token cache: token ids, indexed by the text they show."""
