"""Writers of annotation files, as data sets and annotation programs read them."""
