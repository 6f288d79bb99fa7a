"""One module a peer. Each has `version()`, and `load(model, inputs, threads, scratch)`, which returns (run, outputs): run()
does one inference on inputs that are already where the peer wants them; outputs() returns the last results as a list of
arrays in the model's order. What is converted ahead of time is converted in `prepare(model, inputs, scratch)`, untimed."""

ALL = ("ort", "openvino", "mnn", "ncnn", "iree")
