"""What a map looks like: the only place that normalises, resizes for display or colours.

Everything is drawn from tensors and from `panel.Panel`, the plain record of one image's map; explanations,
methods and their registry are not known here. `scale` turns evidence into [0, 1] and finds its top share,
`heat` turns that into colours over pictures, `sheet` sets pictures in labelled grids. Of panels, `drawing`
makes single pictures, `words` what is written beside them, `views` grids, `figure` figures with axes and
colour bars, `html` parts of pages, `layer` maps to lie over a page's photographs; `curves` draws the scores
of an optimisation by its steps, `video` films its mask.
"""
