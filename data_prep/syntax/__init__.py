"""Syntax of captions: verbs, nouns, adjectives and their dependencies, for systems that read it (SHE-Net)."""
