"""What the layers of each framework are, known to its live models and to its files alike; no framework is imported.

One package per framework, with the same modules in each as far as they are needed: `roles` has the role and the axes of
every parameter, `kinds` the kind and the settings of every class, `shapes` the shape that a layer gives. The modules
`roles` and `kinds` here hold what several frameworks share.
"""
