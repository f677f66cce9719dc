"""Which axes of every tensor of a pass hold the picture's rows and columns: followed, never guessed.

The input's axes are known: (N, C, H, W). Every operation that a model runs is shown to a `Follower`, which
says what becomes of them: a convolution keeps rows and columns, a transpose moves them, a reshape makes
tokens (row by row) of them, a mean takes them away. An operation that is not known leaves the axes unknown,
for `engine.tracing` to find out. Besides, every tensor knows through which layers the picture reached it.
"""
