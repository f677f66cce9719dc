"""What a map looks like: the only place that normalises, resizes for display or colours.

`scale` turns evidence into [0, 1] and finds its top share, `heat` turns that into colours over pictures,
`sheet` sets pictures in labelled grids. Built on explanations: `views` is how one is shown by default,
`figure` draws it with axes and colour bars, `html` writes it as parts of pages; `curves` draws the scores of
an optimisation by its steps, `video` films its mask.
"""
