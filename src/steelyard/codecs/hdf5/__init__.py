"""HDF5 through h5py's low level."""
