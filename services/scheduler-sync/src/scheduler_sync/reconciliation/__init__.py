"""Compares the links with OmegaAI, PowerServer's messages and its worklist; corrects what a second look confirms."""
