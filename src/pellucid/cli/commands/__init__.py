"""What each command can be asked, and what it then does in a few lines.

Nothing here imports PyTorch before a command runs, so that help and completion come at once.
"""
