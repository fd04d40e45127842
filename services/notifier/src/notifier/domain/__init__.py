"""What is due to whom and when: plain Python, no framework, no I/O."""
