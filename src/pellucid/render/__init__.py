"""What a map looks like: the only place that normalises, resizes for display or colours.

Everything is drawn from tensors and from `panel.Panel`, the plain record of one image's map; explanations,
methods and their registry are not known here. `scale` turns evidence into [0, 1] and finds its top share,
`style` says how it is to be drawn, `heat` turns it into colours over pictures. `blocks` puts pictures,
words and colour bars in their places, `sheet` in grids of them, `paper` gives their sizes in print. Of
panels, `drawing` makes single pictures, `words` what is written beside them, `views` grids, `figure`
figures (by `canvas`, real text), `html` parts of pages, `layer` maps to lie over a page's photographs;
`metadata` what files hold of all that; `curves` draws the scores of an optimisation by its steps, `video`
films its mask.
"""
