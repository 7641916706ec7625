"""Captions parsed into verbs, nouns, adjectives and what hangs on what, for systems that read syntax (SHE-Net)."""
