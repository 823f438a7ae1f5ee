"""A library of the shop, shared by all its applications."""


def greeting(word: str, guest: str) -> str:
    """A line for a guest: `Welcome, Ada!`"""
    return f"{word}, {guest.strip() or 'guest'}!"
