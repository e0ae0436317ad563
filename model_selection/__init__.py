"""model_selection."""

if __name__ != "nonparam.model_selection":
    raise ImportError("this folder is part of a package: import nonparam.model_selection instead")
