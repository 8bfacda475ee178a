"""The files of Keras: their configs, their layouts in HDF5, and the layers that they describe."""
