"""What a model looks at across a data set: by class, in clusters of maps, and proven by intervention."""
