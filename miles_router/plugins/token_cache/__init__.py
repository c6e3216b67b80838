"""The token cache around `/generate`: text goes out as known ids, and answers are kept.

`middleware` takes part in a request, `prepared` decides what is sent, `capture` lets the answer
through and `keeping` turns it into stored turns.
"""
