"""In the researcher's kernel: magics, cards, ``%load_secure``; and the keeper beside it.

Nothing is imported here: inside and outside of a secure kernel need different parts.
"""
